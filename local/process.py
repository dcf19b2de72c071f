"""Processes that outlive the command that started them.

A process is known by its id and its start time, because the system gives the ids of ended processes to new ones.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

# An intermediate process starts the command and ends at once. The command is then no child of this process, and leaves
# no zombie behind when it ends.
_LAUNCHER = """
import subprocess, sys
with open(sys.argv[1], "wb") as log:
    print(subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True).pid)
"""
_ENDS_WITHIN_SECONDS = 3


def launch(command: list[str], *, environment: Mapping[str, str], folder: Path, log: Path) -> int:
    """Start `command` in `folder`, in a process group of its own, and return its process id.

    It gets `environment` and nothing of this process's environment. Its output goes to `log`.
    """
    answer = subprocess.run(
        [sys.executable, "-I", "-c", _LAUNCHER, str(log), *command],
        env=dict(environment),
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return int(answer.stdout)


def find_start_time(pid: int) -> str | None:
    """Return the start time of a process, in a form to compare, or None if there is no such process or it has ended."""
    if not Path("/proc/self/stat").exists():
        return _ask_ps_for_start_time(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the program's name before it may hold any character
    return None if state in "ZX" else fields[18]


def _ask_ps_for_start_time(pid: int) -> str | None:
    answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def kill_group(pid: int, *, started: str) -> None:
    """Kill the process `pid` that started at `started` and all children in its group, and wait until they have ended.

    A later process that only has the same id is left alone.
    """
    if find_start_time(pid) not in {started, None}:
        return
    # The system gives the id of a group to no other while a member lives. If the leader has ended, the members are
    # therefore its children.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    deadline = time.monotonic() + _ENDS_WITHIN_SECONDS
    while _is_group_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)


def _is_group_alive(pid: int) -> bool:
    """Return whether a member of the group runs. A member that has ended may stay listed for a while."""
    if not Path("/proc/self/stat").exists():
        return _is_group(pid)
    return any(group == pid and state not in "ZX" for state, group in _list_processes())


def _is_group(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _list_processes() -> Iterator[tuple[str, int]]:
    """Yield the state and the group of every process of this machine."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, group, *_ = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            yield state, int(group)
