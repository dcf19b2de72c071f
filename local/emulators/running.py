"""Emulator processes: start one, record it in `emulator.json`, and end it.

Every emulator that is one process can build its `start` and `stop` from these functions.
"""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from local import process
from local.errors import CommandError

HOST = "127.0.0.1"
FILE = "emulator.json"
LOG = "emulator.log"

_READY_WITHIN_SECONDS = 30
_LOG_LINES_SHOWN = 15


class RunningEmulator(BaseModel):
    """An emulator that was started. `emulator.json` in the folder of its local cloud records it."""

    model_config = ConfigDict(frozen=True)

    name: str  # as in `EMULATORS`
    pid: int
    started: str  # tells this process from a later one with the same id
    port: int
    source_digest: str  # of the installed packages

    @property
    def url(self) -> str:
        """Return the URL at which every AWS service of the emulator answers."""
        return f"http://{HOST}:{self.port}"

    @property
    def is_alive(self) -> bool:
        """Return whether the process still runs."""
        return process.find_start_time(self.pid) == self.started

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the emulator that was last started for the local cloud in `folder`, alive or not; None if none was."""
        try:
            return cls.model_validate_json((folder / FILE).read_bytes())
        except (OSError, ValidationError):
            return None

    def write(self, folder: Path) -> None:
        """Record the emulator in `folder`."""
        (folder / FILE).write_text(self.model_dump_json(indent=2), encoding="utf-8")


def start_process(
    name: str,
    command: list[str],
    *,
    folder: Path,
    working_folder: Path,
    environment: Mapping[str, str],
    port: int,
    source_digest: str,
    is_healthy: Callable[[str], bool],
) -> RunningEmulator:
    """Start `command`, record it in `folder` and return when `is_healthy` accepts its URL.

    The process gets `environment` and nothing of this process's environment. Its output goes to `emulator.log`.

    Raises:
        CommandError: If the emulator ends or does not answer within 30 seconds. The message shows the end of its log.
    """
    pid = process.launch(command, environment=environment, folder=working_folder, log=get_log_file(folder))
    started = process.find_start_time(pid) or ""
    running = RunningEmulator(name=name, pid=pid, started=started, port=port, source_digest=source_digest)
    running.write(folder)
    _wait_until_healthy(running, folder, is_healthy)
    return running


def stop_process(folder: Path, *, remove: Iterable[Path]) -> None:
    """End the emulator of the local cloud in `folder` with its children, and remove its record and some folders."""
    if running := RunningEmulator.read(folder):
        process.kill_group(running.pid, started=running.started)
    (folder / FILE).unlink(missing_ok=True)
    for path in remove:
        shutil.rmtree(path, ignore_errors=True)


def get_log_file(folder: Path) -> Path:
    """Return the path of the log that the emulator of the local cloud in `folder` writes."""
    return folder / LOG


def choose_port(wanted: int | None) -> int:
    """Return the port `wanted` if it is free, else any free port.

    Raises:
        CommandError: If no port is free.
    """
    for port in (wanted, 0):
        if port is None:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise CommandError(f"No port of {HOST} is free for the emulator. End some programs that listen there.")


def _wait_until_healthy(running: RunningEmulator, folder: Path, is_healthy: Callable[[str], bool]) -> None:
    deadline = time.monotonic() + _READY_WITHIN_SECONDS
    while running.is_alive and time.monotonic() < deadline:
        if is_healthy(running.url):
            return
        time.sleep(0.1)
    raise CommandError(
        f"The emulator does not start. Read its log, {get_log_file(folder)}, then try again."
        f" The log ends with:\n{_read_log_end(folder)}"
    )


def _read_log_end(folder: Path) -> str:
    lines = get_log_file(folder).read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_LOG_LINES_SHOWN:])
