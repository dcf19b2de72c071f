"""MiniStack, an emulator in Python, and everything in which it differs from AWS and from other emulators.

No other module of `local/` names MiniStack or depends on one of its peculiarities.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from uv import find_uv_bin

from local.emulators.log import LogEntry
from local.emulators.running import HOST, RunningEmulator, choose_port, start_process, stop_process
from local.errors import CommandError
from local.package.platform import Target
from local.paths import GENERATED, ROOT

VIRTUAL_ENVIRONMENT = GENERATED / "emulator"
OWN_PACKAGES = VIRTUAL_ENVIRONMENT / "own"
RUNTIME_REQUIREMENTS = ROOT / "requirements" / "artifact.txt"
OWN_REQUIREMENTS = ROOT / "requirements" / "emulator.txt"

# MiniStack runs functions in its own virtual environment and ignores their `runtime`. That environment therefore holds
# only the packages of Lambda's runtime, so a package that a layer lacks is missing here too. MiniStack's own packages
# are in another folder. Only MiniStack's process has that folder on its path: functions do not inherit the path.
_PROGRAM = "import sys; sys.path.insert(0, sys.argv.pop(1)); from ministack.app import main; main()"

SERVICES = ("apigateway", "dynamodb", "iam", "kms", "lambda", "logs", "monitoring", "s3", "scheduler", "sqs", "sts")
API_ID = "samovar"

# A warning or an error of MiniStack's log: its time, then everything up to the next line that begins with a time.
_LOG_ENTRY = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) ((?:WARNING|ERROR|CRITICAL) (?s:.*?))(?=^[\d\[]|\Z)", re.MULTILINE
)


class MiniStack:
    """MiniStack in a virtual environment of its own. Its state is in memory and ends with the process."""

    name = "ministack"
    default_port = 4566
    region = "us-east-1"
    # MiniStack takes this made-up key for the key of its account's root user. Functions get credentials of their roles.
    credentials: Mapping[str, str] = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    # Functions run under MiniStack's own Python.
    build_target: Target = "local"
    # The tag pins the id of an API, so that its URL is known before Terraform makes it.
    # MiniStack authorizes a batch by the name of the batch call.
    terraform_variables: Mapping[str, Any] = {
        "tags": {"ms-custom-id": API_ID},
        "emulator_actions": {
            "sqs:SendMessage": ["sqs:SendMessageBatch"],
            "sqs:DeleteMessage": ["sqs:DeleteMessageBatch"],
        },
    }

    def compute_source_digest(self) -> str:
        """Return a digest of the two requirements files and of this Python."""
        requirements = RUNTIME_REQUIREMENTS.read_bytes() + OWN_REQUIREMENTS.read_bytes()
        return hashlib.sha256(requirements + sys.version.encode() + sys.base_prefix.encode()).hexdigest()

    def install(self) -> None:
        """Make the virtual environment, unless it exists.

        Raises:
            CommandError: If a package cannot be installed.
        """
        VIRTUAL_ENVIRONMENT.parent.mkdir(exist_ok=True)
        with (VIRTUAL_ENVIRONMENT.parent / "emulator.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._is_installed():
                self._install()

    def _is_installed(self) -> bool:
        stamp = _get_stamp()
        return stamp.is_file() and stamp.read_text(encoding="ascii") == self.compute_source_digest()

    def _install(self) -> None:
        shutil.rmtree(VIRTUAL_ENVIRONMENT, ignore_errors=True)
        _run_uv("venv", "--python", sys.executable, str(VIRTUAL_ENVIRONMENT))
        install = ("pip", "install", "--python", str(_get_python()), "--require-hashes")
        _run_uv(*install, "-r", str(RUNTIME_REQUIREMENTS))
        _run_uv(*install, "--target", str(OWN_PACKAGES), "-r", str(OWN_REQUIREMENTS))
        _get_stamp().write_text(self.compute_source_digest(), encoding="ascii")

    def start(self, folder: Path, *, port: int | None, idle_seconds: int | None = None) -> RunningEmulator:
        """Start MiniStack in `folder` without state, and return when it answers.

        Raises:
            CommandError: If MiniStack does not start. The message shows the end of its log.
        """
        for path in (self.get_temporary_folder(folder), _get_state_folder(folder)):
            path.mkdir(parents=True, exist_ok=True)
        chosen = choose_port(port)
        return start_process(
            self.name,
            [str(_get_python()), "-c", _PROGRAM, str(OWN_PACKAGES)],
            folder=folder,
            working_folder=self.get_temporary_folder(folder),
            environment=self._build_environment(folder, port=chosen, idle_seconds=idle_seconds),
            port=chosen,
            source_digest=self.compute_source_digest(),
            is_healthy=self.is_healthy,
        )

    def _build_environment(self, folder: Path, *, port: int, idle_seconds: int | None) -> dict[str, str]:
        """Return the whole environment of MiniStack. Functions inherit it, so it holds nothing of the user's."""
        temporary = str(self.get_temporary_folder(folder))
        lifetime = {} if idle_seconds is None else {"LAMBDA_WARM_TTL_SECONDS": str(idle_seconds)}
        return {
            "PATH": os.defpath,
            "HOME": temporary,
            "TMPDIR": temporary,  # functions keep their models here
            "PYTHONPATH": str(self.get_python_folder(folder)),
            "STATE_DIR": str(_get_state_folder(folder)),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "BIND_HOST": HOST,
            "GATEWAY_PORT": str(port),
            "MINISTACK_REGION": self.region,
            "SERVICES": ",".join(SERVICES),
            "AUTH": "true",  # enforce IAM on the calls of functions
            "IOT_MTLS_ENABLED": "0",  # otherwise MiniStack opens another port
            **lifetime,
        }

    def stop(self, folder: Path) -> None:
        """End the MiniStack in `folder` with its functions, and remove its files except its log."""
        stop_process(folder, remove=(self.get_temporary_folder(folder), _get_state_folder(folder)))

    def is_healthy(self, url: str) -> bool:
        """Return whether the MiniStack at `url` answers."""
        try:
            # A proxy that the user's environment names cannot reach this machine's loopback address.
            return httpx.get(f"{url}/_ministack/health", timeout=2, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def build_api_url(self, url: str) -> str:
        """Return the URL of the project's HTTP API. The host `*.execute-api.localhost` does not resolve everywhere."""
        return f"{url}/_aws/execute-api/{API_ID}"

    def parse_log(self, log: str) -> Iterator[LogEntry]:
        """Yield the warnings and errors in the text of MiniStack's log. Its times are in UTC, to the second."""
        for found in _LOG_ENTRY.finditer(log):
            moment = datetime.fromisoformat(f"{found[1]}+00:00")
            yield LogEntry(int(moment.timestamp() * 1000), found[2].rstrip())

    def is_lost_answer(self, errors: str) -> bool:
        """Return whether a resource already exists that Terraform wanted to create in an empty emulator.

        On a busy machine MiniStack sometimes closes a connection before it answers. Terraform's provider then repeats
        the request, and the resource that the first request created is in no state.
        """
        return "already exists" in errors

    def get_temporary_folder(self, folder: Path) -> Path:
        """Return the folder of temporary files. Without one, MiniStack leaves folders in the shared one."""
        return folder / "tmp"

    def get_python_folder(self, folder: Path) -> Path:
        """Return the folder on the Python path of MiniStack and its functions. It exists only if a test made it."""
        return folder / "python"


def _get_python() -> Path:
    return VIRTUAL_ENVIRONMENT / "bin" / "python"


def _get_stamp() -> Path:
    """Return the file that holds the digest of the installed packages."""
    return VIRTUAL_ENVIRONMENT / "source-digest"


def _get_state_folder(folder: Path) -> Path:
    return folder / "state"


def _run_uv(*arguments: str) -> None:
    done = subprocess.run([find_uv_bin(), "--quiet", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(
            "The emulator's virtual environment cannot be made. Check that the package index can be reached."
            f"\n{done.stderr.strip()}"
        )
