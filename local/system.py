"""System packages that the project's tools need: installed where that is possible without asking, else named."""

from __future__ import annotations

import os
import shutil
import subprocess

from local.errors import Problem
from local.steps import Steps


def require(command: str, *, package: str, steps: Steps) -> None:
    """Make sure that `command` is there; `package` is its Debian package.

    Raises:
        Problem: it is missing and cannot be installed here.
    """
    if shutil.which(command):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Problem(f"`{command}` is missing: install it (Debian, Ubuntu: `sudo apt-get install {package}`).")
    with steps.step(f"Installing the system package {package}"):
        if not _install(package):
            raise Problem(f"`{command}` is missing, and `apt-get install {package}` failed.")


def _install(package: str) -> bool:
    """A fresh machine may have no package lists yet, or stale ones: the second try fetches them first."""
    install = ["apt-get", "install", "-y", "--no-install-recommends", package]
    return _succeeds(install) or (_succeeds(["apt-get", "update"]) and _succeeds(install))


def _succeeds(command: list[str]) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0
