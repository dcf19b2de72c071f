"""Applies the project's Terraform to a local cloud, through python-terraform."""

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

from local import emulator, terraform
from local.errors import AlreadyExists, CommandError

Report = Callable[[str], None]

_FOREIGN = re.compile("AWS_|TF_VAR_|TF_CLI_ARGS|TF_WORKSPACE|TF_DATA_DIR")  # the user's, for other clouds
_PARALLELISM = 40  # most of the time the provider waits
_ENDS_WITHIN_SECONDS = 10
_ERRORS_SHOWN = 5_000  # characters


class LocalTerraform(Terraform):  # type: ignore[misc] # it ships no types
    """python-terraform with an environment of its own, and with output that can be read while it comes.

    As it comes, Terraform would get this process's environment, and show nothing before the end.
    """

    def __init__(self, working: Path, *, environment: Mapping[str, str], logs: Path, report: Report) -> None:
        super().__init__(working_dir=str(working))
        self._environment = dict(environment)
        self._logs = logs
        self._report = report

    def cmd(self, cmd: str, *args: str, **options: Any) -> tuple[int, str, str]:
        """Run a command of Terraform; its options as python-terraform takes them. Status, output and errors."""
        command = self.generate_cmd_string(cmd, *args, **options)
        log_file = _log_file(self._logs, cmd)
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
            return status, _content(log), _content(errors)

    def _follow(self, running: subprocess.Popen[bytes], log: Path) -> int:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return running.wait(timeout=0.5)
            output = log.read_text(encoding="utf-8", errors="replace")
            if planned := re.search(r"^Plan: (\d+) to add, (\d+) to change, (\d+) to destroy", output, re.MULTILINE):
                done = len(re.findall(r"^\S+: (?:Creation|Modifications|Destruction) complete", output, re.MULTILINE))
                self._report(f"{done} of {sum(map(int, planned.groups()))} resources")


def _end(running: subprocess.Popen[bytes]) -> None:
    """Ask Terraform to end, so that its providers do and remove their sockets; insist when it takes its time."""
    running.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        running.wait(_ENDS_WITHIN_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def _content(file: Any) -> str:
    file.seek(0)
    return str(file.read())


def prepare(folder: Path) -> Path:
    """Lay out the working directory of a local cloud and initialise it.

    Raises:
        CommandError, TerraformMissing: when there is no Terraform, or no provider.
    """
    working = terraform.prepare(folder)
    terraform.init(working)
    return working


def apply(folder: Path, working: Path, *, url: str, variables: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Apply to the emulator at `url` and return the outputs.

    Raises:
        AlreadyExists, CommandError: with Terraform's own words, when it fails.
    """
    # A file, so that later commands in this directory find the same values.
    (working / "local.auto.tfvars.json").write_text(json.dumps(variables, indent=2), encoding="utf-8")
    commands = of(folder, working, url=url, report=report)
    status, output, errors = commands.apply(skip_plan=True, var=None, parallelism=_PARALLELISM)
    if status:
        words = _error_lines(errors or output)
        kind = AlreadyExists if "already exists" in words else CommandError
        raise kind(f"Terraform failed:\n{words}\nAll of it: {_log_file(folder, 'apply')}")
    return outputs(commands)


def outputs(commands: LocalTerraform) -> dict[str, Any]:
    """The outputs of what was applied, by name."""
    found = commands.output()
    return {name: output["value"] for name, output in (found or {}).items()}


def of(folder: Path, working: Path, *, url: str, report: Report = lambda _: None) -> LocalTerraform:
    """The commands of Terraform for the local cloud in `folder`."""
    inherited = terraform.build_environment()
    own = {name: value for name, value in inherited.items() if not _FOREIGN.match(name)}
    environment = {**own, **emulator.access(url)}
    return LocalTerraform(working, environment=environment, logs=folder, report=report)


def has_changes(commands: LocalTerraform) -> tuple[bool, str]:
    """Whether a plan would change anything, and the plan.

    Raises:
        CommandError: with Terraform's own words, when it fails.
    """
    status, output, errors = commands.plan(detailed_exitcode=IsFlagged, var=None)
    if status == 1:
        raise CommandError(f"Terraform failed:\n{_error_lines(errors or output)}")
    return status != 0, output


def _log_file(folder: Path, command: str) -> Path:
    """Where the output of the last such command for the local cloud in `folder` is."""
    return folder / f"terraform-{command}.log"


def _error_lines(errors: str) -> str:
    """From Terraform's first error on, without the frames it draws around them."""
    lines = [re.sub("^[│╷╵] ?", "", line).rstrip() for line in errors.splitlines()]
    first = next((number for number, line in enumerate(lines) if line.startswith("Error")), 0)
    return "\n".join(line for line in lines[first:] if line)[:_ERRORS_SHOWN]
