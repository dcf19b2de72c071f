"""Processes of a local cloud: they outlive their command, and are ended with their children."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import process

PARENT = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).wait()"


@pytest.fixture
def group(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """Start a process with a child."""
    pid = process.launch([sys.executable, "-c", PARENT], environment={}, folder=tmp_path, log=tmp_path / "log")
    started = process.find_start_time(pid) or ""
    yield pid, started
    process.kill_group(pid, started=started)


def _list_members(group: int) -> list[int]:
    pids = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    return [pid for pid in pids if _find_group(pid) == group]


def _find_group(pid: int) -> int | None:
    try:
        return os.getpgid(pid) if process.find_start_time(pid) else None
    except ProcessLookupError:
        return None


def _wait_for_child(pid: int) -> int:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        children = [member for member in _list_members(pid) if member != pid]
        if children:
            return children[0]
        time.sleep(0.02)
    raise AssertionError("The process has started no child")


def test_killing_a_process_ends_its_children(group: tuple[int, str]) -> None:
    pid, started = group
    child = _wait_for_child(pid)
    process.kill_group(pid, started=started)
    assert process.find_start_time(pid) is None
    assert process.find_start_time(child) is None


def test_killing_a_process_that_has_ended_ends_its_children(group: tuple[int, str]) -> None:
    pid, started = group
    child = _wait_for_child(pid)
    os.kill(pid, 9)
    process.kill_group(pid, started=started)
    assert process.find_start_time(child) is None


def test_a_process_that_only_has_the_same_id_is_not_killed(group: tuple[int, str]) -> None:
    pid, started = group
    process.kill_group(pid, started=f"{started}0")
    assert process.find_start_time(pid) == started


def test_killing_twice_is_not_an_error(group: tuple[int, str]) -> None:
    pid, started = group
    process.kill_group(pid, started=started)
    process.kill_group(pid, started=started)


def test_a_process_sees_only_the_given_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_USER", "x")
    log = tmp_path / "log"
    command = [sys.executable, "-c", "import os; print(sorted(os.environ.items()), flush=True)"]
    process.launch(command, environment={"ONLY": "this"}, folder=tmp_path, log=log)
    deadline = time.monotonic() + 10
    while not log.read_text(encoding="utf-8").endswith("\n") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "SECRET_OF_THE_USER" not in log.read_text(encoding="utf-8")
    assert "('ONLY', 'this')" in log.read_text(encoding="utf-8")
