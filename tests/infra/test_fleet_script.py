"""The boot script of a machine of the fleet. Terraform renders it, and bash runs it with stubs of its commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local import terraform

TEMPLATE = terraform.SOURCE / "fleet.sh.tftpl"
COMMANDS = ("dnf", "python3.13", "aws", "unzip", "useradd", "systemctl", "shutdown", "nproc", "rm")
SETTINGS = {"JOBS_TABLE": "samovar-test-jobs", "MODEL_KEY": "models/a $HOME `id` 50%.tar"}
VARIABLES: dict[str, Any] = {
    "bucket": "samovar-test",
    "region": "eu-west-2",
    "python": "python3.13",
    "code": {"layer": "artifacts/layer-worker.zip", "function": "artifacts/worker.zip"},
    "settings": SETTINGS,
}


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the script as Terraform renders it."""
    folder = tmp_path_factory.mktemp("console")
    expression = (
        f"jsonencode(templatefile({json.dumps(str(TEMPLATE))}, jsondecode({json.dumps(json.dumps(VARIABLES))})))"
    )
    answer = subprocess.run(
        [terraform.require_terraform(), "console"], input=expression, cwd=folder, env=terraform.build_environment(),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    script: str = json.loads(json.loads(answer.stdout))
    return script


def run(script: str, folder: Path, *, failing: str = "") -> tuple[int, list[str]]:
    """Run the script with `folder` in place of the root folder. Return its exit status and the calls of its commands.

    Each command is a stub that only records its call. The command `failing` fails.
    """
    for name in ("bin", "etc/systemd/system", "opt", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    calls = folder / "calls"
    for name in COMMANDS:
        output = "echo 2" if name == "nproc" else "true"
        end = "exit 1" if name == failing else "exit 0"
        stub = folder / "bin" / name
        stub.write_text(f'#!/bin/sh\necho "{name} $*" >> {calls}\n{output}\n{end}\n')
        stub.chmod(0o755)
    moved = re.sub(r"(?<= )/(etc|opt|tmp)/", rf"{folder}/\1/", script)
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    ran = subprocess.run(["bash"], input=moved, env=environment, text=True, capture_output=True, check=False)
    return ran.returncode, calls.read_text().splitlines()


def test_machine_installs_both_artifacts_and_starts_a_poller_for_each_core(script: str, tmp_path: Path) -> None:
    status, calls = run(script, tmp_path)
    assert status == 0
    fetched = {call.split()[5] for call in calls if call.startswith("aws s3 cp --region eu-west-2 ")}
    assert fetched == {"s3://samovar-test/artifacts/layer-worker.zip", "s3://samovar-test/artifacts/worker.zip"}
    assert [call for call in calls if call.startswith("systemctl enable")] == [
        f"systemctl enable --now samovar-worker@{core}" for core in (1, 2)
    ]
    assert not [call for call in calls if call.startswith("shutdown")]


def test_settings_reach_the_service_unchanged(script: str, tmp_path: Path) -> None:
    """The shell expands nothing in them. They are in a file that systemd reads."""
    run(script, tmp_path)
    settings = dict(line.split("=", 1) for line in (tmp_path / "etc/samovar.env").read_text().splitlines())
    assert settings.items() >= SETTINGS.items()
    assert settings["PYTHONPATH"] == "/opt/samovar/function:/opt/samovar/layer/python"
    unit = (tmp_path / "etc/systemd/system/samovar-worker@.service").read_text()
    assert "ExecStart=/usr/bin/python3.13 -m functions.worker.poll\n" in unit


@pytest.mark.parametrize("failing", ["dnf", "python3.13", "aws", "unzip", "systemctl"])
def test_machine_that_cannot_install_shuts_down(script: str, tmp_path: Path, failing: str) -> None:
    """Otherwise it would count as a machine in service."""
    status, calls = run(script, tmp_path, failing=failing)
    assert status != 0
    assert calls[-1].startswith("shutdown --poweroff")
