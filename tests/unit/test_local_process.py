"""Processes of the local cloud: started detached, known by start time, ended with their children."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from local import process

PARENT = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).wait()"


@pytest.fixture
def launched(tmp_path: Path):
    """A process with a child."""
    pid = process.launch([sys.executable, "-c", PARENT], environment={}, folder=tmp_path, log=tmp_path / "log")
    started = process.start_time(pid)
    yield pid, started
    process.kill_group(pid, started=started)


def _members(group: int) -> list[int]:
    pids = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    return [pid for pid in pids if _group_of(pid) == group]


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid) if process.start_time(pid) else None
    except ProcessLookupError:
        return None


def _wait_for_child(pid: int) -> int:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        children = [member for member in _members(pid) if member != pid]
        if children:
            return children[0]
        time.sleep(0.02)
    raise AssertionError("no child")


def test_killing_ends_the_children_too(launched):
    pid, started = launched
    child = _wait_for_child(pid)
    process.kill_group(pid, started=started)
    assert process.start_time(pid) is None
    assert process.start_time(child) is None


def test_children_of_a_process_that_died_are_ended(launched):
    pid, started = launched
    child = _wait_for_child(pid)
    os.kill(pid, 9)
    process.kill_group(pid, started=started)
    assert process.start_time(child) is None


def test_a_process_that_only_has_the_same_id_is_left_alone(launched):
    pid, started = launched
    process.kill_group(pid, started=f"{started}0")
    assert process.start_time(pid) == started


def test_a_process_that_is_gone_is_no_error(launched):
    pid, started = launched
    process.kill_group(pid, started=started)
    process.kill_group(pid, started=started)


def test_a_launched_process_sees_only_the_given_environment(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_USER", "x")
    log = tmp_path / "log"
    command = [sys.executable, "-c", "import os; print(sorted(os.environ.items()), flush=True)"]
    process.launch(command, environment={"ONLY": "this"}, folder=tmp_path, log=log)
    until = time.monotonic() + 10
    while not log.read_text(encoding="utf-8").endswith("\n") and time.monotonic() < until:
        time.sleep(0.02)
    assert "SECRET_OF_THE_USER" not in log.read_text(encoding="utf-8")
    assert "('ONLY', 'this')" in log.read_text(encoding="utf-8")
