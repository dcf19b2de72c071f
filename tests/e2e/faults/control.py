"""The tests' side of the faults: it says which faults happen in the functions, and reads which did."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from local.emulators import emulator
from tests.e2e.polling import poll

HOOKS = Path(__file__).with_name("sitecustomize.py")


def install(cloud: Path) -> None:
    """Let every process of the local cloud in the folder `cloud` import the hooks when it starts."""
    folder = emulator().get_python_folder(cloud)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(HOOKS, folder)


def is_installed(cloud: Path) -> bool:
    """Return whether the hooks are installed in their present version."""
    installed = emulator().get_python_folder(cloud) / HOOKS.name
    return installed.is_file() and installed.read_bytes() == HOOKS.read_bytes()


def uninstall(cloud: Path) -> None:
    """Remove the hooks."""
    shutil.rmtree(emulator().get_python_folder(cloud), ignore_errors=True)


class Faults:
    """The faults in a local cloud. A fault has a name, and happens at the first call to AWS that it describes."""

    def __init__(self, cloud: Path) -> None:
        """Use the local cloud in the folder `cloud`."""
        self._folder = emulator().get_temporary_folder(cloud) / "faults"

    def clear(self) -> None:
        """Remove all faults. Processes that hang continue."""
        hanging = list(self._folder.glob("*.taken"))
        shutil.rmtree(self._folder, ignore_errors=True)
        if hanging:
            time.sleep(0.3)  # until they have seen it

    def inject(
        self,
        name: str,
        *texts: str,
        act: Literal["kill", "hang"],
        when: Literal["before", "after"] = "before",
        operation: str,
        function: str = "worker",
        delay: float = 0,
    ) -> None:
        """Kill or hang the process of a function at a call to AWS, once.

        Args:
            name: The name of the fault.
            texts: The texts that the call must contain.
            act: `kill` ends the process with SIGKILL, `hang` stops it until `release`.
            when: Whether that happens before the call is sent or after it is answered.
            operation: The operation of AWS, such as `PutItem`.
            function: The name of the function.
            delay: Seconds between the call and the death of the process.
        """
        self._write_fault(name, texts, function=function, operation=operation, act=act, when=when, delay=delay)

    def record_calls(self, name: str, *texts: str, operation: str, function: str = "worker") -> None:
        """Record every call of `operation` by a function that contains all of `texts`. `log` returns them."""
        self._write_fault(name, texts, function=function, operation=operation, act="record", when="before", delay=0)

    def _write_fault(self, name: str, texts: Sequence[str], **fault: str | float) -> None:
        self._write(f"{name}.fault", {**fault, "texts": texts})

    def wait_for(self, name: str, act: str | None = None, *, seconds: float = 60) -> dict[str, Any]:
        """Return the first line of the log about a fault. Wait for it for `seconds`, then fail the test.

        With `act`, wait for a line with this act. A process that has hung logs `continue`.
        """

        def find_lines() -> list[dict[str, Any]]:
            return [line for line in self.log(name) if act in {None, line.get("act")}]

        return poll(find_lines, bool, seconds=seconds, pause=0.1)[0]

    def release(self, name: str) -> None:
        """Let the process that hangs at a fault continue."""
        (self._folder / f"{name}.taken").unlink()

    @contextmanager
    def fail_calls(self, *, rate: float, lasting: float) -> Iterator[None]:
        """Let calls of all functions to AWS fail at random during the block.

        Args:
            rate: The share of the calls that fail.
            lasting: The share of those calls that fail at each try of the SDK. The others fail at one try.
        """
        self._write("failures.json", {"rate": rate, "lasting": lasting})
        try:
            yield
        finally:
            (self._folder / "failures.json").unlink()

    def log(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the lines of the log, in order. With `name`, return those about one fault."""
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
