"""The platform that will run the code, and the tools of this machine that prepare for it."""

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
    """A minor version of Python on an architecture: of AWS Lambda if `target` is `aws`, of this machine if `local`."""

    target: Target
    runtime: str
    architecture: str

    @property
    def version(self) -> str:
        """Return the Python version of the runtime, such as `3.13`."""
        return self.runtime.removeprefix("python")

    @property
    def wheel_options(self) -> list[str]:
        """Return the options with which uv chooses wheels for this platform."""
        if self.target == "local":
            return []
        # Amazon Linux 2023, from python3.12 on, has glibc 2.34; Amazon Linux 2 before it has 2.26.
        glibc = "manylinux_2_34" if self._minor >= 12 else "manylinux_2_17"
        return ["--python-version", self.version, "--python-platform", f"{GNU_NAMES[self.architecture]}-{glibc}"]

    @property
    def compression(self) -> int:
        """Return the zlib level of zips. 0 stores without compressing.

        On AWS, smaller zips are uploaded sooner and start sooner. On this machine each Lambda execution environment may
        unzip its layers, which takes half the time if they are stored.
        """
        return 6 if self.target == "aws" else 0

    @cached_property
    def interpreter(self) -> str | None:
        """Return a Python of the runtime's minor version, which compiles bytecode, or None if this machine has none."""
        if self.version == f"{sys.version_info.major}.{sys.version_info.minor}":
            return sys.executable
        found = shutil.which(self.runtime)
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        return found if found and _read_output([found, "-c", code]) == self.version else None

    @cached_property
    def strip(self) -> str | None:
        """Return a `strip` that reads libraries of this architecture, or None if this machine has none."""
        own = ARCHITECTURES.get(platform.machine().lower()) == self.architecture and sys.platform == "linux"
        names = [f"{GNU_NAMES[self.architecture]}-linux-gnu-strip", "llvm-strip", *(["strip"] if own else [])]
        return next(filter(None, map(shutil.which, names)), None)

    @property
    def _minor(self) -> int:
        return int(self.version.split(".")[1])


def choose_platform(target: Target, *, runtime: str, architecture: str) -> Platform:
    """Return the platform to build for. For the target `local` it is this machine with the running Python.

    Raises:
        PackagingError: If AWS Lambda has no such runtime or architecture.
    """
    if target == "local":
        runtime = f"python{sys.version_info.major}.{sys.version_info.minor}"
        architecture = platform.machine().lower()
    if not runtime.removeprefix("python3.").isdecimal():
        raise PackagingError(f"RUNTIME: the runtime must look like python3.13, not {runtime!r}")
    if architecture not in ARCHITECTURES:
        raise PackagingError(f"ARCHITECTURE: the architecture must be x86_64 or arm64, not {architecture!r}")
    return Platform(target=target, runtime=runtime, architecture=ARCHITECTURES[architecture])


def _read_output(command: list[str]) -> str | None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
