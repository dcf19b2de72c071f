"""Terraform commands for a local cloud, run through python-terraform."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from python_terraform import IsFlagged, Terraform

from local import terraform
from local.connection import build_aws_environment
from local.emulators import RunningEmulator, emulator
from local.errors import AlreadyExists, CommandError

Report = Callable[[str], None]

_USERS_VARIABLES = re.compile("AWS_|TF_VAR_|TF_CLI_ARGS|TF_WORKSPACE|TF_DATA_DIR")  # they are about other clouds
_PARALLELISM = 40  # the provider spends most of its time waiting
_ENDS_WITHIN_SECONDS = 10
_ERROR_CHARACTERS_SHOWN = 5_000


class LocalTerraform(Terraform):  # type: ignore[misc] # python-terraform ships no types
    """The commands of python-terraform, with their own environment and with output that can be read as it comes.

    Without this class, Terraform would get the environment of this process and show no output before its end.
    """

    def __init__(
        self, working_folder: Path, *, environment: Mapping[str, str], log_folder: Path, report: Report
    ) -> None:
        super().__init__(working_dir=str(working_folder))
        self._environment = dict(environment)
        self._log_folder = log_folder
        self._report = report

    def cmd(self, cmd: str, *args: str, **options: Any) -> tuple[int, str, str]:
        """Run a command of Terraform, with options as python-terraform takes them. Return status, output and errors."""
        command = self.generate_cmd_string(cmd, *args, **options)
        log_file = _get_log_file(self._log_folder, cmd)
        with log_file.open("w+", encoding="utf-8") as log, log_file.with_suffix(".errors").open("w+") as errors:
            running = subprocess.Popen(
                command,
                cwd=self.working_dir,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=errors,
                start_new_session=True,
            )
            try:
                status = self._follow(running, log_file)
            except BaseException:
                _end(running)
                raise
            return status, _read(log), _read(errors)

    def _follow(self, running: subprocess.Popen[bytes], log: Path) -> int:
        """Report how many resources are done until Terraform ends, and return its status."""
        while True:
            with suppress(subprocess.TimeoutExpired):
                return running.wait(timeout=0.5)
            output = log.read_text(encoding="utf-8", errors="replace")
            if planned := re.search(r"^Plan: (\d+) to add, (\d+) to change, (\d+) to destroy", output, re.MULTILINE):
                done = len(re.findall(r"^\S+: (?:Creation|Modifications|Destruction) complete", output, re.MULTILINE))
                self._report(f"{done} of {sum(map(int, planned.groups()))} resources")


def _end(running: subprocess.Popen[bytes]) -> None:
    """Interrupt Terraform, so that its providers remove their sockets, and kill it if it does not end soon."""
    running.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        running.wait(_ENDS_WITHIN_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def _read(file: Any) -> str:
    file.seek(0)
    return str(file.read())


def prepare(folder: Path) -> Path:
    """Make and initialise the working folder of Terraform for the local cloud in `folder`, and return it.

    Raises:
        TerraformMissing: If Terraform or its AWS provider is missing.
    """
    working_folder = terraform.prepare(folder)
    terraform.init(working_folder)
    return working_folder


def apply(
    folder: Path, working_folder: Path, *, running: RunningEmulator, variables: Mapping[str, Any], report: Report
) -> dict[str, Any]:
    """Apply Terraform to the running emulator and return the outputs.

    Raises:
        AlreadyExists: If Terraform failed because the emulator lost an answer. Starting from empty state may help.
        CommandError: If Terraform failed for any other reason. The message shows Terraform's error.
    """
    chosen = emulator(running.name)
    # Later commands in this folder find the same values in the file.
    (working_folder / "local.auto.tfvars.json").write_text(json.dumps(variables, indent=2), encoding="utf-8")
    environment = build_aws_environment(chosen, running.url)
    commands = open_terraform(folder, working_folder, aws_environment=environment, report=report)
    status, output, errors = commands.apply(skip_plan=True, var=None, parallelism=_PARALLELISM)
    if status:
        reason = _extract_errors(errors or output)
        kind = AlreadyExists if chosen.is_lost_answer(reason) else CommandError
        raise kind(f"Terraform failed:\n{reason}\nIts whole output is in {_get_log_file(folder, 'apply')}.")
    return read_outputs(commands)


def read_outputs(commands: LocalTerraform) -> dict[str, Any]:
    """Return the outputs of the last apply, by name."""
    found = commands.output()
    return {name: output["value"] for name, output in (found or {}).items()}


def open_terraform(
    folder: Path, working_folder: Path, *, aws_environment: Mapping[str, str], report: Report = lambda _: None
) -> LocalTerraform:
    """Return the Terraform commands of the local cloud in `folder`. They see `aws_environment`, not the user's AWS."""
    inherited = terraform.build_environment()
    own = {name: value for name, value in inherited.items() if not _USERS_VARIABLES.match(name)}
    environment = {**own, **aws_environment}
    return LocalTerraform(working_folder, environment=environment, log_folder=folder, report=report)


def plan_changes(commands: LocalTerraform) -> tuple[bool, str]:
    """Return whether a plan would change anything, and the text of the plan.

    Raises:
        CommandError: If Terraform fails. The message shows Terraform's error.
    """
    status, output, errors = commands.plan(detailed_exitcode=IsFlagged, var=None)
    if status == 1:
        raise CommandError(f"Terraform cannot make a plan:\n{_extract_errors(errors or output)}")
    return status != 0, output


def _get_log_file(folder: Path, command: str) -> Path:
    """Return the file with the output of the last such command for the local cloud in `folder`."""
    return folder / f"terraform-{command}.log"


def _extract_errors(output: str) -> str:
    """Return Terraform's output from its first error on, without the frames around errors."""
    lines = [re.sub("^[│╷╵] ?", "", line).rstrip() for line in output.splitlines()]
    first = next((number for number, line in enumerate(lines) if line.startswith("Error")), 0)
    return "\n".join(line for line in lines[first:] if line)[:_ERROR_CHARACTERS_SHOWN]
