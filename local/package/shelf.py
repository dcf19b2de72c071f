"""The build directory: which files are there, what each was made from, and making the others."""

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

WORK = ".work-"

EntryType = TypeVar("EntryType", bound=Entry)


class Kept(BaseModel):
    """What a file was made from, and what came of it."""

    key: str
    entry: dict[str, str | int]


class Shelf:
    """The build directory with the memory of what its files were made from."""

    def __init__(self, output: Path, *, report: Report) -> None:
        self._output = output
        self._report = report
        self._memory = output / "inputs.json"
        self._before = self._remembered()
        for left in output.glob(f"{WORK}*"):  # by a build that was killed
            shutil.rmtree(left, ignore_errors=True)
        self._now: dict[str, Kept] = {}

    def take(self, name: str, *, key: str, kind: type[EntryType], make: Callable[[Path], EntryType]) -> EntryType:
        """The file called `name`, made by `make` in an empty folder unless it is there, made from the same `key`."""
        kept = self._before.get(name)
        if kept is None or kept.key != key or not self._has(kept):
            kept = Kept(key=key, entry=self._make(name, make).model_dump())
        self._now[name] = kept
        self._remember({**self._before, **self._now})
        return kind.model_validate(kept.entry)

    def close(self) -> None:
        """Remembers what is there now and removes what an earlier build left."""
        files = {kept.entry["file"] for kept in self._now.values()}
        for kept in self._before.values():
            if kept.entry["file"] not in files:
                (self._output / str(kept.entry["file"])).unlink(missing_ok=True)
        self._remember(self._now)

    def _make(self, name: str, make: Callable[[Path], EntryType]) -> EntryType:
        began = time.monotonic()
        with TemporaryDirectory(dir=self._output, prefix=WORK) as work:
            entry = make(Path(work))
            (Path(work) / entry.file).replace(self._output / entry.file)
        self._report(f"{name}: {entry.size / MEGABYTE:.1f} MB in {time.monotonic() - began:.1f} s")
        return entry

    def _has(self, kept: Kept) -> bool:
        file = self._output / str(kept.entry["file"])
        return file.is_file() and file.stat().st_size == kept.entry["size"]

    def _remember(self, shelf: dict[str, Kept]) -> None:
        write(self._memory, json.dumps({name: kept.model_dump() for name, kept in shelf.items()}, indent=2))

    def _remembered(self) -> dict[str, Kept]:
        try:
            return {name: Kept.model_validate(kept) for name, kept in json.loads(self._memory.read_text()).items()}
        except (OSError, ValueError, AttributeError):
            return {}  # none yet, or torn: build everything


@contextmanager
def alone(output: Path) -> Iterator[None]:
    """Holds the directory for one build at a time; the next one then finds everything made."""
    with (output / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write(file: Path, text: str) -> None:
    """Writes a file so that readers see all of it or what was there before."""
    new = file.with_name(file.name + ".new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)
