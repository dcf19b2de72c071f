"""Terraform for a local cloud: its errors, its progress, and the environment that it sees."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from local import apply, cloud
from local.connection import build_aws_environment
from local.emulators import RunningEmulator, emulator
from local.errors import AlreadyExists, CommandError
from local.progress import ProgressDisplay

FAILING = """\
#!/bin/sh
echo "Plan: 2 to add, 0 to change, 0 to destroy."
echo "aws_sqs_queue.jobs: Creation complete after 1s"
sleep 1.2
printf '\\nError: creating queue\\n\\n  with aws_sqs_queue.jobs,\\n' >&2
exit 1
"""
PRINTING = """\
#!/bin/sh
env | sort
"""
RUNNING = RunningEmulator(name=emulator().name, pid=1, started="", port=1, source_digest="x")


def _terraform(folder: Path, script: str, *, report: apply.Report = lambda _: None) -> apply.LocalTerraform:
    program = folder / "terraform-stand-in"
    program.write_text(script, encoding="utf-8")
    program.chmod(0o755)
    environment = build_aws_environment(emulator(), "http://127.0.0.1:1")
    commands = apply.open_terraform(folder, folder, aws_environment=environment, report=report)
    commands.terraform_bin_path = str(program)
    return commands


def test_a_failure_shows_terraforms_error_and_names_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    commands = _terraform(tmp_path, FAILING, report=said.append)
    monkeypatch.setattr(apply, "open_terraform", lambda *_, **__: commands)
    with pytest.raises(CommandError) as caught:
        apply.apply(tmp_path, tmp_path, running=RUNNING, variables={"a": 1}, report=said.append)
    assert "Error: creating queue\n  with aws_sqs_queue.jobs," in str(caught.value)
    assert str(tmp_path / "terraform-apply.log") in str(caught.value)
    assert not isinstance(caught.value, AlreadyExists)
    assert said[-1] == "1 of 2 resources"


def test_a_local_cloud_starts_again_once_after_a_lost_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator closed a connection before it answered, and the provider repeated the request."""
    commands = _terraform(tmp_path, FAILING.replace("Error: creating queue", "Error: Alias already exists: live"))
    monkeypatch.setattr(apply, "open_terraform", lambda *_, **__: commands)
    starts = []

    def start(*_: object, **__: object) -> None:
        starts.append(1)
        apply.apply(tmp_path, tmp_path, running=RUNNING, variables={}, report=lambda _: None)

    monkeypatch.setattr(cloud, "_start", start)
    monkeypatch.setattr(cloud, "_find_usable", lambda *_: None)
    with ProgressDisplay(Console(quiet=True)) as progress, pytest.raises(AlreadyExists):
        cloud.up(tmp_path / "cloud", progress=progress)
    assert len(starts) == 2


def test_terraform_sees_the_emulator_and_not_the_users_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the user's")
    monkeypatch.setenv("TF_VAR_environment", "production")
    monkeypatch.setenv("TF_WORKSPACE", "production")
    _, seen, _ = _terraform(tmp_path, PRINTING).cmd("version")
    assert "AWS_ENDPOINT_URL=http://127.0.0.1:1\n" in seen
    assert "production" not in seen
    assert "the user's" not in seen
