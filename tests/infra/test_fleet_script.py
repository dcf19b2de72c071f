"""What a machine of the fleet runs when it begins: rendered by Terraform, run here in a folder with other commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from local import terraform

TEMPLATE = terraform.SOURCE / "fleet.sh.tftpl"
COMMANDS = ("dnf", "python3.13", "aws", "unzip", "useradd", "systemctl", "shutdown", "nproc", "rm")
VARIABLES = {
    "bucket": "samovar-test",
    "region": "eu-west-2",
    "python": "python3.13",
    "code": {"layer": "artifacts/layer-worker.zip", "function": "artifacts/worker.zip"},
    "settings": {"JOBS_TABLE": "samovar-test-jobs", "MODEL_KEY": "models/a $HOME `id` 50%.tar"},
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("console")
    expression = (
        f"jsonencode(templatefile({json.dumps(str(TEMPLATE))}, jsondecode({json.dumps(json.dumps(VARIABLES))})))"
    )
    ran = subprocess.run(
        [terraform.require_terraform(), "console"], input=expression, cwd=folder, env=terraform.environment(),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    script: str = json.loads(json.loads(ran.stdout))
    return script


def run(script: str, folder: Path, *, failing: str = "") -> tuple[int, list[str]]:
    """Run it with `folder` for the root, and commands that only say how they are called; its status and the calls."""
    for name in ("bin", "etc/systemd/system", "opt", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    calls = folder / "calls"
    for name in COMMANDS:
        says = "echo 2" if name == "nproc" else "true"
        ends = "exit 1" if name == failing else "exit 0"
        command = folder / "bin" / name
        command.write_text(f'#!/bin/sh\necho "{name} $*" >> {calls}\n{says}\n{ends}\n')
        command.chmod(0o755)
    moved = re.sub(r"(?<= )/(etc|opt|tmp)/", rf"{folder}/\1/", script)
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    ran = subprocess.run(["bash"], input=moved, env=environment, text=True, capture_output=True, check=False)
    return ran.returncode, calls.read_text().splitlines()


def test_machine_installs_both_artifacts_and_polls_on_each_core(rendered: str, tmp_path: Path) -> None:
    status, calls = run(rendered, tmp_path)
    assert status == 0
    fetched = {call.split()[5] for call in calls if call.startswith("aws s3 cp --region eu-west-2 ")}
    assert fetched == {"s3://samovar-test/artifacts/layer-worker.zip", "s3://samovar-test/artifacts/worker.zip"}
    assert [call for call in calls if call.startswith("systemctl enable")] == [
        f"systemctl enable --now samovar-worker@{core}" for core in (1, 2)
    ]
    assert not [call for call in calls if call.startswith("shutdown")]


def test_settings_reach_the_service_as_they_are(rendered: str, tmp_path: Path) -> None:
    """Nothing in them is for the shell; what the service is given stands in a file that systemd reads."""
    run(rendered, tmp_path)
    settings = dict(line.split("=", 1) for line in (tmp_path / "etc/samovar.env").read_text().splitlines())
    assert settings.items() >= VARIABLES["settings"].items()
    assert settings["PYTHONPATH"] == "/opt/samovar/function:/opt/samovar/layer/python"
    unit = (tmp_path / "etc/systemd/system/samovar-worker@.service").read_text()
    assert "ExecStart=/usr/bin/python3.13 -m functions.worker.poll\n" in unit


@pytest.mark.parametrize("failing", ["dnf", "python3.13", "aws", "unzip", "systemctl"])
def test_machine_that_cannot_install_gives_itself_up(rendered: str, tmp_path: Path, failing: str) -> None:
    """It would be counted as one that works."""
    status, calls = run(rendered, tmp_path, failing=failing)
    assert status != 0
    assert calls[-1].startswith("shutdown --poweroff")
