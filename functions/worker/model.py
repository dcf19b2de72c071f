"""The model's artifact: fetched from S3, verified, unpacked in `/tmp`, and loaded once per environment."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from shared.aws.blobs import Blobs
from shared.aws.client import Missing
from shared.errors import ModelError
from shared.log import logger

if TYPE_CHECKING:
    from functions.worker.pipeline import Pipeline


_BUFFER_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Artifact:
    """A packaged pipeline: an uncompressed tar archive of the files that `Language.to_disk` writes.

    `size` is in bytes. `sha256` is the hash of the archive in hexadecimal digits.
    """

    key: str
    sha256: str
    size: int


@dataclass
class ModelCache:
    """The model of an environment. Its files in `folder` may outlive the process."""

    blobs: Blobs
    artifact: Artifact
    folder: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    load_ms: int = 0  # time that loading took, once the model is loaded
    _pipeline: Pipeline | None = None

    @property
    def is_loaded(self) -> bool:
        """Return whether `pipeline()` returns at once."""
        return self._pipeline is not None

    def load(self) -> tuple[Pipeline, int]:
        """Return the loaded model, and the milliseconds that this call spent on loading it.

        Raises:
            ModelError: If the artifact does not match its description, does not fit into `folder`, or does not load.
            Transient: If S3 is throttled or unreachable.
        """
        was_loaded = self.is_loaded
        return self.pipeline(), 0 if was_loaded else self.load_ms

    def pipeline(self) -> Pipeline:
        """Return the loaded model. The first call fetches it while it imports spaCy.

        Raises:
            ModelError: If the artifact does not match its description, does not fit into `folder`, or does not load.
            Transient: If S3 is throttled or unreachable.
        """
        if self._pipeline is None:
            started = time.perf_counter()
            self._pipeline = self._load()
            self.load_ms = round((time.perf_counter() - started) * 1000)
            logger.info("Model loaded", load_ms=self.load_ms)
        return self._pipeline

    def _load(self) -> Pipeline:
        with ThreadPoolExecutor(max_workers=1) as executor:
            unpacked = executor.submit(self._find_or_unpack)
            from functions.worker import pipeline

            return _load_from(unpacked, pipeline.load)

    def _find_or_unpack(self) -> Path:
        """Return the folder of the unpacked artifact. If it exists, it is complete: it gets its name last."""
        target = self.folder / f"model-{self.artifact.sha256[:32]}"
        if target.is_dir():
            return target
        try:
            with _lock(target.with_suffix(".lock")):
                if not target.is_dir():  # else another environment with the same /tmp has just unpacked it
                    self._place(target)
        except Missing:
            raise ModelError(f"There is no artifact of {self.artifact.size} bytes at {self.artifact.key}") from None
        except (OSError, tarfile.TarError) as error:
            raise ModelError(f"The artifact cannot be unpacked in {self.folder}: {error}") from error
        return target

    def _place(self, target: Path) -> None:
        """Unpack the artifact under a temporary name, then rename it."""
        part = target.with_suffix(".part")
        if part.exists():  # a process that was killed left it, and it would fill /tmp
            shutil.rmtree(part)
        try:
            self._fetch(part)
            part.rename(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _fetch(self, path: Path) -> None:
        """Unpack the artifact into `path` while it arrives, so that the archive itself needs no room."""
        broken: Exception | None = None
        with closing(self.blobs.stream(self.artifact.key, size=self.artifact.size)) as parts:
            stream = _HashedStream(parts)
            try:
                _unpack(stream, path)
            except (tarfile.TarError, ValueError) as error:  # a number in a header of tar may be malformed
                broken = error
            stream.read_rest()
        if stream.sha256 != self.artifact.sha256:
            raise ModelError(f"The artifact's SHA-256 is {stream.sha256}, not {self.artifact.sha256}")
        if broken:
            raise tarfile.ReadError(str(broken)) from broken


class _HashedStream:
    """A file to read from, made of parts that arrive in order. It hashes them on the way."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._rest = memoryview(b"")
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, or none at the end."""
        if not self._rest:
            part = next(self._parts, b"")
            self._hash.update(part)
            self._rest = memoryview(part)
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)

    def read_rest(self) -> None:
        """Read to the end, for the hash."""
        for part in self._parts:
            self._hash.update(part)

    @property
    def sha256(self) -> str:
        """Return the hash of all bytes that were read, in hexadecimal digits."""
        return self._hash.hexdigest()


def _unpack(archive: _HashedStream, target: Path) -> None:
    target.mkdir()
    stream = cast("IO[bytes]", archive)  # tarfile only reads in this mode
    with tarfile.open(fileobj=stream, mode="r|", bufsize=_BUFFER_BYTES) as tar:
        # By default it copies 16 kB at a time, and waits for the importing thread after each of them.
        tar.copybufsize = _BUFFER_BYTES  # type: ignore[attr-defined]
        tar.extractall(target, filter="data")


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Run the block while no other thread or process holds the lock file `path`. A killed process releases the lock."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _load_from(unpacked: Future[Path], load: Callable[[Path], Pipeline]) -> Pipeline:
    path = unpacked.result()
    try:
        return load(path)
    except Exception as error:  # a pipeline may raise any exception while it loads
        raise ModelError(f"The model does not load: {error}") from error
