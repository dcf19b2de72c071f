"""Processes that outlive the command that started them, known by id and start time: ids are given again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

# Started by a process in between, which ends at once: so it is nobody's child here and leaves no zombie behind.
_LAUNCH = """
import subprocess, sys
with open(sys.argv[1], "wb") as log:
    print(subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True).pid)
"""
_GONE_WITHIN_SECONDS = 3


def launch(command: list[str], *, environment: Mapping[str, str], folder: Path, log: Path) -> int:
    """Start `command` in a process group of its own, with this environment and no other. Returns its id."""
    answer = subprocess.run(
        [sys.executable, "-I", "-c", _LAUNCH, str(log), *command],
        env=dict(environment),
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return int(answer.stdout)


def start_time(pid: int) -> str | None:
    """When the process started, as a mark to compare; None when there is no such process or it has ended."""
    if not Path("/proc/self/stat").exists():
        return _start_time_from_ps(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return None if state in "ZX" else fields[18]


def _start_time_from_ps(pid: int) -> str | None:
    answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def kill_group(pid: int, *, started: str) -> None:
    """End the process and every child in its group, at once; a process that only got the same id is left alone."""
    if start_time(pid) not in {started, None}:
        return
    # While members of the group live, its id is given to no other: without a leader, they are the children.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    patience = time.monotonic() + _GONE_WITHIN_SECONDS
    while _group_lives(pid) and time.monotonic() < patience:
        time.sleep(0.02)


def _group_lives(pid: int) -> bool:
    """Whether a member of the group runs: one that has ended may stay listed for a while."""
    if not Path("/proc/self/stat").exists():
        return _is_group(pid)
    return any(group == pid and state not in "ZX" for state, group in _processes())


def _is_group(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _processes() -> Iterator[tuple[str, int]]:
    """State and group of every process here."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, group, *_ = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            yield state, int(group)
