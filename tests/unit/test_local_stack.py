"""`stack.json`: for its owner alone, and never half a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from local import emulator, process
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
        "pid": os.getpid(),
        "port": 1,
        "started": process.find_start_time(os.getpid()),
        "source_digest": "m",
    }
    return Stack.model_validate({**values, **changes})


def test_what_is_written_is_read_again(tmp_path: Path):
    _stack().write(tmp_path)
    assert Stack.load(tmp_path) == _stack()


def test_only_its_owner_may_read_it_even_over_a_file_that_all_could(tmp_path: Path):
    (tmp_path / FILE).write_text("{}", encoding="utf-8")
    (tmp_path / FILE).chmod(0o644)
    _stack().write(tmp_path)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_the_secret_is_not_shown_in_passing():
    assert "hidden" not in repr(_stack())


def test_without_one_the_way_up_is_named(tmp_path: Path):
    with pytest.raises(NotRunning, match="`make up` starts one"):
        Stack.load(tmp_path)


def test_a_dead_emulator_is_told_from_none(tmp_path: Path):
    _stack(started="another process of this id").write(tmp_path)
    with pytest.raises(NotRunning, match=r"emulator .* is gone.*emulator\.log"):
        Stack.load(tmp_path)


@pytest.mark.parametrize("torn", ["", "{", '{"pid": 1}', "\ufffd"])
def test_a_torn_file_counts_as_none(tmp_path: Path, torn: str):
    (tmp_path / FILE).write_text(torn, encoding="utf-8")
    assert Stack.read(tmp_path) is None


def test_tools_get_the_emulator_and_nothing_of_the_users_aws():
    access = emulator.access("http://127.0.0.1:1")
    assert access["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert access["AWS_CONFIG_FILE"] == access["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull
