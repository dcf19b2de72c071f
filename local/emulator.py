"""The emulator's life: MiniStack in an environment of its own, one process group per local cloud.

Nothing of it is worth keeping: its state is in memory, and goes with the process.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError
from uv import find_uv_bin

from local import process
from local.errors import CommandError

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / ".samovar" / "emulator"
OWN = ENVIRONMENT / "own"  # what the emulator needs for itself
RUNTIME_REQUIREMENTS = ROOT / "requirements" / "artifact.txt"
OWN_REQUIREMENTS = ROOT / "requirements" / "emulator.txt"

# Functions run in the emulator's environment, which therefore holds what Lambda's runtime holds and nothing else; a
# package that a layer lacks is missing here too. The path to the rest is this process's own: they do not inherit it.
_RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from ministack.app import main; main()"

HOST = "127.0.0.1"
DEFAULT_PORT = 4566
REGION = "us-east-1"
# Made up: the emulator takes this key for its account's root user. Functions get credentials of their roles.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
SERVICES = ("apigateway", "dynamodb", "iam", "kms", "lambda", "logs", "monitoring", "s3", "scheduler", "sqs", "sts")

_READY_WITHIN_SECONDS = 30
_LOG_LINES_SHOWN = 15


class Emulator(BaseModel):
    """An emulator that was started, as `emulator.json` in the folder of its local cloud says."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started: str  # the mark that tells this process from a later one of the same id
    port: int
    source_digest: str  # what its environment was made of

    @property
    def url(self) -> str:
        """Where it answers, for every service."""
        return f"http://{HOST}:{self.port}"

    @property
    def is_alive(self) -> bool:
        """Whether its process is running."""
        return process.find_start_time(self.pid) == self.started


def access(url: str) -> dict[str, str]:
    """The environment of a tool that is to use the emulator at `url` as root, and nothing of the user's AWS."""
    return {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": HOST,
        "no_proxy": HOST,
    }


def source_digest() -> str:
    """A mark of what the environment is made of: the requirements and this Python."""
    requirements = RUNTIME_REQUIREMENTS.read_bytes() + OWN_REQUIREMENTS.read_bytes()
    return hashlib.sha256(requirements + sys.version.encode() + sys.base_prefix.encode()).hexdigest()


def make_environment() -> None:
    """Make the emulator's environment, of this Python, unless it is there.

    Raises:
        CommandError: when a package cannot be had.
    """
    ENVIRONMENT.parent.mkdir(exist_ok=True)
    with (ENVIRONMENT.parent / "emulator.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_made():
            _make_environment()


def _is_made() -> bool:
    stamp = ENVIRONMENT / "made-of"
    return stamp.is_file() and stamp.read_text(encoding="ascii") == source_digest()


def _make_environment() -> None:
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    python = str(ENVIRONMENT / "bin" / "python")
    _uv("venv", "--python", sys.executable, str(ENVIRONMENT))
    install = ("pip", "install", "--python", python, "--require-hashes")
    _uv(*install, "-r", str(RUNTIME_REQUIREMENTS))
    _uv(*install, "--target", str(OWN), "-r", str(OWN_REQUIREMENTS))
    (ENVIRONMENT / "made-of").write_text(source_digest(), encoding="ascii")


def _uv(*arguments: str) -> None:
    done = subprocess.run([find_uv_bin(), "--quiet", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(f"The emulator's environment cannot be made:\n{done.stderr.strip()}")


def find(folder: Path) -> Emulator | None:
    """The emulator that was last started for the local cloud in `folder`, alive or not; None if there is none."""
    try:
        return Emulator.model_validate_json((folder / "emulator.json").read_bytes())
    except (OSError, ValidationError):
        return None


def start(folder: Path, *, port: int | None) -> Emulator:
    """Start an emulator without any state, at `port` if that is free, else at a free one; returns when it answers.

    Raises:
        CommandError: when it does not come up.
    """
    for name in ("tmp", "state"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    chosen = _free_port(port)
    pid = process.launch(
        [str(ENVIRONMENT / "bin" / "python"), "-c", _RUN, str(OWN)],
        environment=_environment(folder, chosen),
        folder=folder / "tmp",
        log=log_file(folder),
    )
    emulator = Emulator(pid=pid, started=process.find_start_time(pid) or "", port=chosen, source_digest=source_digest())
    (folder / "emulator.json").write_text(emulator.model_dump_json(indent=2), encoding="utf-8")
    _wait_until_ready(emulator, folder)
    return emulator


def log_file(folder: Path) -> Path:
    """Where the emulator of the local cloud in `folder` writes its log."""
    return folder / "emulator.log"


def _environment(folder: Path, port: int) -> dict[str, str]:
    """All that the emulator, and so the functions, see of the environment: nothing of the user's.

    Temporary files of functions, their models among them, go below the local cloud's folder.
    """
    temporary = str(folder / "tmp")
    return {
        "PATH": os.defpath,
        "HOME": temporary,
        "TMPDIR": temporary,
        "PYTHONPATH": str(folder / "python"),  # there is no such folder; tests make one, to let things go wrong
        "STATE_DIR": str(folder / "state"),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "BIND_HOST": HOST,
        "GATEWAY_PORT": str(port),
        "MINISTACK_REGION": REGION,
        "SERVICES": ",".join(SERVICES),
        "AUTH": "true",  # enforce IAM on what functions call
        "IOT_MTLS_ENABLED": "0",  # or it opens another port
    }


def _free_port(wanted: int | None) -> int:
    for port in (wanted, 0):
        if port is None:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise CommandError("No port is free.")


def _wait_until_ready(emulator: Emulator, folder: Path) -> None:
    patience = time.monotonic() + _READY_WITHIN_SECONDS
    while time.monotonic() < patience:
        if not emulator.is_alive:
            break
        with suppress(httpx.TransportError):
            # Not through a proxy, whatever the environment says.
            if httpx.get(f"{emulator.url}/_ministack/health", timeout=2, trust_env=False).is_success:
                return
        time.sleep(0.1)
    raise CommandError(f"The emulator does not come up. The end of {log_file(folder)}:\n{_log_end(folder)}")


def _log_end(folder: Path) -> str:
    lines = log_file(folder).read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_LOG_LINES_SHOWN:])


def stop(folder: Path) -> None:
    """End the emulator of the local cloud in `folder` and its functions, and remove their files."""
    emulator = find(folder)
    if emulator:
        process.kill_group(emulator.pid, started=emulator.started)
    (folder / "emulator.json").unlink(missing_ok=True)
    for name in ("tmp", "state"):
        shutil.rmtree(folder / name, ignore_errors=True)
