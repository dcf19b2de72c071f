"""System packages of the project's tools: install one if that needs no question, else say how to install it."""

from __future__ import annotations

import os
import shutil
import subprocess

from local.errors import CommandError
from local.progress import ProgressDisplay


def require_command(command: str, *, package: str, progress: ProgressDisplay) -> None:
    """Install the Debian package `package` if the program `command` is missing and this process may install it.

    Raises:
        CommandError: If the program is missing and cannot be installed from here.
    """
    if shutil.which(command):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise CommandError(f"`{command}` is missing. Install it (Debian, Ubuntu: `sudo apt-get install {package}`).")
    with progress.step(f"Installing the system package {package}"):
        if not _install(package):
            raise CommandError(
                f"`{command}` is missing, and `apt-get install {package}` failed. Run that to see why, then try again."
            )


def _install(package: str) -> bool:
    """Install a package, if necessary after fetching the package lists, which may be missing or stale."""
    install = ["apt-get", "install", "-y", "--no-install-recommends", package]
    return _run(install) or (_run(["apt-get", "update"]) and _run(install))


def _run(command: list[str]) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0
