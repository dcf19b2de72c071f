"""The model: artifact in S3 → verified → unpacked in `/tmp` → loaded, once per environment."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, cast

from shared import aws
from shared.errors import ModelError
from shared.log import logger

if TYPE_CHECKING:
    from functions.worker.pipeline import Pipeline


_BUFFER_BYTES = 1024 * 1024


class Blobs(Protocol):
    """Where the artifact is."""

    def parts(self, key: str, *, size: int) -> Generator[bytes, None, None]:
        """The object at `key`, of `size` bytes, in order."""


@dataclass(frozen=True)
class Artifact:
    """A packaged pipeline: an uncompressed tar whose top level is what `Language.to_disk` writes."""

    key: str
    sha256: str
    size: int


@dataclass
class ModelCache:
    """One environment's model. `folder` outlives the process where the service lets it."""

    blobs: Blobs
    artifact: Artifact
    folder: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    load_ms: int = 0
    _pipeline: Pipeline | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether `pipeline()` returns at once."""
        return self._pipeline is not None

    def pipeline(self) -> Pipeline:
        """The loaded model; the first call fetches it while spaCy is imported, later ones return at once.

        Raises:
            ModelError: when the artifact is not what was promised, does not fit, or does not load.
            Transient: when S3 is busy or away.
        """
        if self._pipeline is None:
            began = time.perf_counter()
            self._pipeline = self._load()
            self.load_ms = round((time.perf_counter() - began) * 1000)
            logger.info("Model loaded", load_ms=self.load_ms)
        return self._pipeline

    def _load(self) -> Pipeline:
        with ThreadPoolExecutor(max_workers=1) as executor:
            unpacked = executor.submit(self._unpacked)
            from functions.worker import pipeline

            return _loaded(pipeline.load, unpacked)

    def _unpacked(self) -> Path:
        """The folder of the unpacked artifact. Whole when it exists: it gets its name last."""
        target = self.folder / f"model-{self.artifact.sha256[:32]}"
        if target.is_dir():
            return target
        try:
            with _alone(target.with_suffix(".lock")):
                if not target.is_dir():  # else another environment with this /tmp was faster
                    self._place(target)
        except aws.Missing:
            raise ModelError(f"There is no artifact of {self.artifact.size} bytes at {self.artifact.key}") from None
        except (OSError, tarfile.TarError) as error:
            raise ModelError(f"The artifact cannot be unpacked in {self.folder}: {error}") from error
        return target

    def _place(self, target: Path) -> None:
        part = target.with_suffix(".part")
        if part.exists():  # of a process that was killed: it would fill /tmp
            shutil.rmtree(part)
        try:
            self._fetch(part)
            part.rename(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _fetch(self, path: Path) -> None:
        """Unpack the artifact into `path` while it arrives: it is nowhere as a whole, and read once."""
        broken: Exception | None = None
        with closing(self.blobs.parts(self.artifact.key, size=self.artifact.size)) as parts:
            arriving = _Arriving(parts)
            try:
                _unpack(arriving, path)
            except (tarfile.TarError, ValueError) as error:  # tarfile's headers may hold numbers that are none
                broken = error
            arriving.finish()
        if arriving.sha256 != self.artifact.sha256:
            raise ModelError(f"The artifact's SHA-256 is {arriving.sha256}, not {self.artifact.sha256}")
        if broken:
            raise tarfile.ReadError(str(broken)) from broken


class _Arriving:
    """What arrives in parts as a file to read from, hashed on the way."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._rest = memoryview(b"")
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """At most `size` bytes, none at the end."""
        if not self._rest:
            part = next(self._parts, b"")
            self._hash.update(part)
            self._rest = memoryview(part)
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)

    def finish(self) -> None:
        """Read what is left, for the hash."""
        for part in self._parts:
            self._hash.update(part)

    @property
    def sha256(self) -> str:
        """Of all that was read."""
        return self._hash.hexdigest()


def _unpack(archive: _Arriving, target: Path) -> None:
    target.mkdir()
    stream = cast("IO[bytes]", archive)  # in this mode it is only read
    with tarfile.open(fileobj=stream, mode="r|", bufsize=_BUFFER_BYTES) as tar:
        # Or it copies 16 kB at a time, and after each waits for the thread that imports.
        tar.copybufsize = _BUFFER_BYTES  # type: ignore[attr-defined]
        tar.extractall(target, filter="data")


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Run the block while no other thread or process does under `lock`; the end of a process gives it back."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _loaded(load: Callable[[Path], Pipeline], unpacked: Future[Path]) -> Pipeline:
    path = unpacked.result()
    try:
        return load(path)
    except Exception as error:  # a pipeline may raise anything while it loads
        raise ModelError(f"The model does not load: {error}") from error
