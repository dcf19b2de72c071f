"""Where the code will run: runtime, architecture, and the tools at hand to prepare for it."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from local.package.manifest import PackagingError

Target = Literal["aws", "local"]

ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "arm64": "arm64", "aarch64": "arm64"}
GNU_NAMES = {"x86_64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True)
class Platform:
    """A Python of one minor version on one architecture; `target` says whose machine it is."""

    target: Target
    runtime: str
    architecture: str

    @property
    def version(self) -> str:
        """The runtime's Python version: `3.13`."""
        return self.runtime.removeprefix("python")

    @property
    def wheel_options(self) -> list[str]:
        """What uv needs to know to choose wheels for this platform."""
        if self.target == "local":
            return []
        # Amazon Linux 2023, from python3.12 on, has glibc 2.34; Amazon Linux 2 before it has 2.26.
        glibc = "manylinux_2_34" if self._minor >= 12 else "manylinux_2_17"
        return ["--python-version", self.version, "--python-platform", f"{GNU_NAMES[self.architecture]}-{glibc}"]

    @property
    def compression(self) -> int:
        """The zlib level of zips; 0 stores. On AWS small zips cold-start and upload sooner.

        The local cloud unpacks layers for every environment, and stored ones take half the time to unpack.
        """
        return 6 if self.target == "aws" else 0

    @cached_property
    def interpreter(self) -> str | None:
        """A Python of the runtime's minor version, which compiles bytecode for it; None if there is none here."""
        if self.version == f"{sys.version_info.major}.{sys.version_info.minor}":
            return sys.executable
        found = shutil.which(self.runtime)
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        return found if found and _answer([found, "-c", code]) == self.version else None

    @cached_property
    def strip(self) -> str | None:
        """A `strip` that reads this architecture's libraries; None if there is none here."""
        own = ARCHITECTURES.get(platform.machine().lower()) == self.architecture and sys.platform == "linux"
        names = [f"{GNU_NAMES[self.architecture]}-linux-gnu-strip", "llvm-strip", *(["strip"] if own else [])]
        return next(filter(None, map(shutil.which, names)), None)

    @property
    def _minor(self) -> int:
        return int(self.version.split(".")[1])


def platform_of(target: Target, *, runtime: str, architecture: str) -> Platform:
    """The platform to build for: the local cloud's is always this machine and the running Python.

    Raises:
        PackagingError: runtime or architecture is none that AWS Lambda offers.
    """
    if target == "local":
        runtime = f"python{sys.version_info.major}.{sys.version_info.minor}"
        architecture = platform.machine().lower()
    if not runtime.removeprefix("python3.").isdecimal():
        raise PackagingError(f"runtime must look like python3.13, not {runtime!r}")
    if architecture not in ARCHITECTURES:
        raise PackagingError(f"architecture must be x86_64 or arm64, not {architecture!r}")
    return Platform(target=target, runtime=runtime, architecture=ARCHITECTURES[architecture])


def _answer(command: list[str]) -> str | None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
