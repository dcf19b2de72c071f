"""The build cache: a build folder that remembers the digest of the inputs of each of its files."""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from pydantic import BaseModel

from local.package.layers import Report
from local.package.manifest import MEGABYTE, Entry

WORK_PREFIX = ".work-"

EntryType = TypeVar("EntryType", bound=Entry)


class CachedFile(BaseModel):
    """A file of the build folder and the digest of the inputs that it was made from."""

    key: str  # the digest
    entry: dict[str, str | int]  # the fields of its Entry


class BuildCache:
    """A build folder. It makes a file only if the file is missing or its inputs have changed."""

    def __init__(self, output: Path, *, report: Report) -> None:
        self._output = output
        self._report = report
        self._index = output / "inputs.json"
        self._before = self._read_index()
        for leftover in output.glob(f"{WORK_PREFIX}*"):  # of a build that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        self._now: dict[str, CachedFile] = {}

    def get_or_make(
        self, name: str, *, key: str, kind: type[EntryType], make: Callable[[Path], EntryType]
    ) -> EntryType:
        """Return the file called `name` if it was made from the same `key`, else make it with `make`.

        `make` gets an empty folder, writes the file into it and returns its entry.
        """
        cached = self._before.get(name)
        if cached is None or cached.key != key or not self._has(cached):
            cached = CachedFile(key=key, entry=self._make(name, make).model_dump())
        self._now[name] = cached
        self._write_index({**self._before, **self._now})
        return kind.model_validate(cached.entry)

    def close(self) -> None:
        """Remove the files of earlier builds that this build did not ask for."""
        files = {cached.entry["file"] for cached in self._now.values()}
        for cached in self._before.values():
            if cached.entry["file"] not in files:
                (self._output / str(cached.entry["file"])).unlink(missing_ok=True)
        self._write_index(self._now)

    def _make(self, name: str, make: Callable[[Path], EntryType]) -> EntryType:
        began = time.monotonic()
        with TemporaryDirectory(dir=self._output, prefix=WORK_PREFIX) as work:
            entry = make(Path(work))
            (Path(work) / entry.file).replace(self._output / entry.file)
        self._report(f"{name}: {entry.size / MEGABYTE:.1f} MB in {time.monotonic() - began:.1f} s")
        return entry

    def _has(self, cached: CachedFile) -> bool:
        file = self._output / str(cached.entry["file"])
        return file.is_file() and file.stat().st_size == cached.entry["size"]

    def _write_index(self, files: dict[str, CachedFile]) -> None:
        write_atomically(
            self._index, json.dumps({name: cached.model_dump() for name, cached in files.items()}, indent=2)
        )

    def _read_index(self) -> dict[str, CachedFile]:
        try:
            found = json.loads(self._index.read_text()).items()
            return {name: CachedFile.model_validate(cached) for name, cached in found}
        except (OSError, ValueError, AttributeError):
            return {}  # missing or incomplete: build everything


@contextmanager
def lock(output: Path, *, report: Report) -> Iterator[None]:
    """Hold the build folder for one build at a time. A build that waited finds the files of the one before it."""
    with (output / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("  waiting until another build has ended")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_atomically(file: Path, text: str) -> None:
    """Write a file so that readers see either its former content or all of the new one."""
    new = file.with_name(file.name + ".new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)
