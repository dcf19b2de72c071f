"""The model: artifact in S3 → verified → unpacked in `/tmp` → loaded, once per environment."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from shared import aws
from shared.errors import ModelError
from shared.log import logger

if TYPE_CHECKING:
    from functions.worker.pipeline import Pipeline


class Blobs(Protocol):
    """Where the artifact is."""

    def download(self, key: str, path: Path, *, size: int) -> None:
        """Write the object at `key`, of `size` bytes, to `path`."""


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
        work = Path(tempfile.mkdtemp(prefix="model-", suffix=".part", dir=self.folder))
        try:
            self._fetch(work / "artifact.tar")
            _unpack(work / "artifact.tar", work / "model")
            _name(work / "model", target)
        except aws.Missing:
            raise ModelError(f"There is no artifact of {self.artifact.size} bytes at {self.artifact.key}") from None
        except (OSError, tarfile.TarError) as error:
            raise ModelError(f"The artifact cannot be unpacked in {self.folder}: {error}") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return target

    def _fetch(self, path: Path) -> None:
        self.blobs.download(self.artifact.key, path, size=self.artifact.size)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != self.artifact.sha256:
            raise ModelError(f"The artifact's SHA-256 is {digest}, not {self.artifact.sha256}")


def _unpack(archive: Path, target: Path) -> None:
    with tarfile.open(archive, "r:") as tar:
        tar.extractall(target, filter="data")
    archive.unlink()


def _name(folder: Path, target: Path) -> None:
    try:
        folder.rename(target)
    except OSError:
        if not target.is_dir():  # else another environment with this /tmp was faster, with the same bytes
            raise


def _loaded(load: Callable[[Path], Pipeline], unpacked: Future[Path]) -> Pipeline:
    path = unpacked.result()
    try:
        return load(path)
    except Exception as error:  # a pipeline may raise anything while it loads
        raise ModelError(f"The model does not load: {error}") from error
