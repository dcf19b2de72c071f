"""The tests' side of the faults: says what is to go wrong, and reads what did."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

HOOKS = Path(__file__).with_name("sitecustomize.py")


def install(cloud: Path) -> None:
    """Let every process of the local cloud in the folder `cloud` import the hooks, from its start on."""
    (cloud / "python").mkdir(parents=True, exist_ok=True)
    shutil.copy(HOOKS, cloud / "python")


def is_installed(cloud: Path) -> bool:
    """Whether they are, as they are now."""
    installed = cloud / "python" / HOOKS.name
    return installed.is_file() and installed.read_bytes() == HOOKS.read_bytes()


def uninstall(cloud: Path) -> None:
    """Leave nothing of them."""
    shutil.rmtree(cloud / "python", ignore_errors=True)


class Faults:
    """What goes wrong in the local cloud in a folder."""

    def __init__(self, cloud: Path) -> None:
        self._folder = cloud / "tmp" / "faults"

    def clear(self) -> None:
        """Nothing more goes wrong, and whoever hangs goes on."""
        hanging = list(self._folder.glob("*.taken"))
        shutil.rmtree(self._folder, ignore_errors=True)
        if hanging:
            time.sleep(0.3)  # for them to see it

    def mark(
        self,
        name: str,
        *has: str,
        act: Literal["kill", "hang", "note"],
        when: Literal["before", "after"] = "before",
        operation: str,
        function: str = "worker",
        delay: float = 0,
    ) -> None:
        """Have `act` done at the call whose text has all of `has`."""
        mark = {"function": function, "operation": operation, "has": has, "when": when, "act": act, "delay": delay}
        self._write(f"{name}.mark", mark)

    def happened(self, name: str, act: str | None = None, *, seconds: float = 60) -> dict[str, Any]:
        """The log's line about the mark being met, or about that act there; waits for that."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for line in self.log(name):
                if act in {None, line.get("act")}:
                    return line
            time.sleep(0.1)
        pytest.fail(f"{name}: nobody came there within {seconds} s")

    def release(self, name: str) -> None:
        """Let who hangs at a mark go on."""
        (self._folder / f"{name}.taken").unlink()

    @contextmanager
    def storm(self, *, rate: float, lasting: float) -> Iterator[None]:
        """Let calls fail."""
        self._write("storm.json", {"rate": rate, "lasting": lasting})
        try:
            yield
        finally:
            (self._folder / "storm.json").unlink()

    def log(self, name: str | None = None) -> Sequence[dict[str, Any]]:
        """What was done, at a mark or at all."""
        try:
            lines = (self._folder / "log").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [line for line in map(json.loads, lines) if name in {None, line.get("name")}]

    def _write(self, name: str, content: Any) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        new = self._folder / f"{name}.new"
        new.write_text(json.dumps(content), encoding="utf-8")
        new.rename(self._folder / name)
