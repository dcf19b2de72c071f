"""MiniStack as the emulator of a local cloud: its process, its files and the packages that functions see."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from local import process
from local.connection import open_client
from local.emulators import RunningEmulator, ministack
from local.emulators.ministack import MiniStack
from local.emulators.running import HOST
from local.errors import CommandError

EMULATOR = MiniStack()


@pytest.fixture(scope="module")
def packages() -> None:
    """Return the virtual environment of MiniStack."""
    EMULATOR.install()


@pytest.fixture
def folder(packages: None, tmp_path: Path) -> Iterator[Path]:
    """Return a folder for a local cloud."""
    yield tmp_path
    EMULATOR.stop(tmp_path)


def test_ministack_answers_and_leaves_only_its_log(folder: Path) -> None:
    running = EMULATOR.start(folder, port=None)
    assert EMULATOR.is_healthy(running.url)
    assert httpx.get(f"{running.url}/_ministack/health", trust_env=False).json()["auth"] == "enabled"
    assert RunningEmulator.read(folder) == running
    EMULATOR.stop(folder)
    assert not running.is_alive
    assert not EMULATOR.is_healthy(running.url)
    assert [path.name for path in folder.iterdir()] == ["emulator.log"]


def test_a_wanted_port_that_is_taken_is_avoided(folder: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        assert EMULATOR.start(folder, port=port).port != port


def test_ministack_listens_only_on_the_loopback_address(folder: Path) -> None:
    running = EMULATOR.start(folder, port=None)
    listening = Path("/proc/net/tcp").read_text(encoding="ascii")
    assert f" 0100007F:{running.port:04X} 00000000:0000 0A" in listening
    assert f" 00000000:{running.port:04X} 00000000:0000 0A" not in listening


def test_ministack_sees_nothing_of_the_users_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the user's")
    running = EMULATOR.start(folder, port=None)
    seen = _read_environment(running)
    assert "the user's" not in seen
    assert f"TMPDIR={EMULATOR.get_temporary_folder(folder)}" in seen
    assert f"PYTHONPATH={EMULATOR.get_python_folder(folder)}" in seen
    assert "LAMBDA_WARM_TTL_SECONDS" not in seen


def test_the_lifetime_of_idle_environments_can_be_chosen(folder: Path) -> None:
    assert "LAMBDA_WARM_TTL_SECONDS=20" in _read_environment(EMULATOR.start(folder, port=None, idle_seconds=20))


def _read_environment(running: RunningEmulator) -> str:
    return Path(f"/proc/{running.pid}/environ").read_text(encoding="utf-8")


def test_ministack_makes_signing_keys(folder: Path) -> None:
    running = EMULATOR.start(folder, port=None)
    kms = open_client(EMULATOR, "kms", url=running.url)
    key = kms.create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    kms.close()
    assert key


def test_a_start_that_fails_shows_the_log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ministack, "_PROGRAM", "raise SystemExit('broken for this test')")
    with pytest.raises(CommandError, match="broken for this test"):
        EMULATOR.start(folder, port=None)


def test_stopping_where_nothing_runs_is_not_an_error(tmp_path: Path) -> None:
    EMULATOR.stop(tmp_path)


def test_the_record_of_an_ended_process_does_not_end_another_process(tmp_path: Path) -> None:
    other = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        record = {"name": "ministack", "pid": other.pid, "started": "long ago", "port": 1, "source_digest": "x"}
        (tmp_path / "emulator.json").write_text(json.dumps(record), encoding="utf-8")
        EMULATOR.stop(tmp_path)
        assert process.find_start_time(other.pid)
    finally:
        other.kill()
        other.wait()


def test_functions_see_the_packages_of_lambda_and_none_of_the_emulator(packages: None) -> None:
    python = str(ministack.VIRTUAL_ENVIRONMENT / "bin" / "python")
    code = "import sys; from importlib.util import find_spec; print([name for name in sys.argv[1:] if find_spec(name)])"
    done = subprocess.run(
        [python, "-c", code, "boto3", "cryptography", "ministack"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['boto3']"


def test_warnings_and_errors_are_read_from_its_log() -> None:
    log = (
        "2026-11-05 10:00:00 INFO gateway: ready\n"
        "2026-11-05 10:00:01 ERROR lambda: init failed\nTraceback\n  line\n"
        "[12] a line of a function\n"
        "2026-11-05 10:00:02 WARNING sqs: slow\n"
    )
    entries = list(EMULATOR.parse_log(log))
    assert [entry.text for entry in entries] == ["ERROR lambda: init failed\nTraceback\n  line", "WARNING sqs: slow"]
    assert [entry.time for entry in entries] == [1_793_872_801_000, 1_793_872_802_000]


@pytest.mark.parametrize(
    ("errors", "is_lost"), [("Alias already exists: live", True), ("Error: creating queue", False)]
)
def test_a_lost_answer_is_told_from_other_errors_of_terraform(errors: str, is_lost: bool) -> None:
    assert EMULATOR.is_lost_answer(errors) is is_lost
