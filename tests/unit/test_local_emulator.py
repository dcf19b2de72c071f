"""The emulator's life: own port, own files, nothing of the user's environment, nothing left behind."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from local import emulator, process
from local.errors import CommandError
from local.stack import aws_client


@pytest.fixture(scope="module")
def environment() -> None:
    """The emulator's environment."""
    emulator.make_environment()


@pytest.fixture
def folder(environment: None, tmp_path: Path):
    """A folder for a local cloud."""
    yield tmp_path
    emulator.stop(tmp_path)


def test_it_answers_and_leaves_nothing_but_its_log(folder: Path):
    running = emulator.start(folder, port=None)
    assert httpx.get(f"{running.url}/_ministack/health", trust_env=False).json()["auth"] == "enabled"
    assert emulator.find(folder) == running
    emulator.stop(folder)
    assert not running.is_alive
    assert [path.name for path in folder.iterdir()] == ["emulator.log"]


def test_a_wanted_port_that_is_taken_is_avoided(folder: Path):
    with socket.create_server((emulator.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        assert emulator.start(folder, port=port).port != port


def test_it_listens_on_this_machine_alone(folder: Path):
    running = emulator.start(folder, port=None)
    listening = Path("/proc/net/tcp").read_text(encoding="ascii")
    assert f" 0100007F:{running.port:04X} 00000000:0000 0A" in listening
    assert f" 00000000:{running.port:04X} 00000000:0000 0A" not in listening


def test_it_sees_nothing_of_the_users_environment(folder: Path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the user's")
    running = emulator.start(folder, port=None)
    seen = Path(f"/proc/{running.pid}/environ").read_text(encoding="utf-8")
    assert "the user's" not in seen
    assert f"TMPDIR={folder / 'tmp'}" in seen


def test_it_signs(folder: Path):
    running = emulator.start(folder, port=None)
    kms = aws_client("kms", url=running.url)
    key = kms.create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    kms.close()
    assert key


def test_one_that_does_not_come_up_shows_its_log(folder: Path, monkeypatch):
    monkeypatch.setattr(emulator, "_RUN", "raise SystemExit('broken for this test')")
    with pytest.raises(CommandError, match="broken for this test"):
        emulator.start(folder, port=None)


def test_stopping_where_nothing_runs_is_no_error(tmp_path: Path):
    emulator.stop(tmp_path)


def test_a_record_of_a_process_that_is_gone_harms_no_other(tmp_path: Path):
    other = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        record = {"pid": other.pid, "started": "long ago", "port": 1, "source_digest": "x"}
        (tmp_path / "emulator.json").write_text(json.dumps(record), encoding="utf-8")
        emulator.stop(tmp_path)
        assert process.find_start_time(other.pid)
    finally:
        other.kill()
        other.wait()


def test_functions_see_what_lambda_has_and_nothing_of_the_emulator(environment: None):
    python = str(emulator.ENVIRONMENT / "bin" / "python")
    code = "import sys; from importlib.util import find_spec; print([name for name in sys.argv[1:] if find_spec(name)])"
    done = subprocess.run(
        [python, "-c", code, "boto3", "cryptography", "ministack"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['boto3']"
