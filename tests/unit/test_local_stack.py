"""`stack.json`: only its owner may read it, and it is never incomplete."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from local import process
from local.emulators import emulator
from local.errors import NotRunning
from local.stack import FILE, Stack


def _stack(**changes: object) -> Stack:
    values = {
        "api_url": "http://127.0.0.1:1/x",
        "aws_endpoint_url": "http://127.0.0.1:1",
        "region": "us-east-1",
        "client_id": "c_x",
        "client_secret": "sk_hidden",
        "webhook_secret": "whsec_hidden",
        "outputs": {"jobs_table": "jobs"},
        "emulator_name": emulator().name,
        "pid": os.getpid(),
        "port": 1,
        "started": process.find_start_time(os.getpid()),
        "source_digest": "d",
    }
    return Stack.model_validate({**values, **changes})


def test_a_written_stack_can_be_loaded(tmp_path: Path) -> None:
    _stack().write(tmp_path)
    assert Stack.load(tmp_path) == _stack()


def test_only_its_owner_may_read_it_even_if_everyone_could_read_the_former_file(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{}", encoding="utf-8")
    (tmp_path / FILE).chmod(0o644)
    _stack().write(tmp_path)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_the_representation_holds_no_secret() -> None:
    assert "hidden" not in repr(_stack())


def test_the_error_without_a_local_cloud_names_the_command_that_starts_one(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="Start one with `make up`"):
        Stack.load(tmp_path)


def test_the_error_after_the_emulator_has_ended_names_its_log(tmp_path: Path) -> None:
    _stack(started="another process of this id").write(tmp_path)
    with pytest.raises(NotRunning, match=r"emulator .* has ended.*emulator\.log"):
        Stack.load(tmp_path)


@pytest.mark.parametrize("incomplete", ["", "{", '{"pid": 1}', "\ufffd"])
def test_an_incomplete_file_is_ignored(tmp_path: Path, incomplete: str) -> None:
    (tmp_path / FILE).write_text(incomplete, encoding="utf-8")
    assert Stack.read(tmp_path) is None


def test_tools_see_the_emulator_and_nothing_of_the_users_aws() -> None:
    environment = _stack().aws_environment
    assert environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert environment["AWS_CONFIG_FILE"] == environment["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull
