"""`python3 local/environment.py`: makes the environment `.venv`, or brings it up to date with its requirements.

Runs under the system's Python, before anything is installed, so it uses the standard library alone.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
UV = ENVIRONMENT / "bin" / "uv"
REQUIREMENTS = ROOT / "requirements" / "dev.txt"
CLIENT = ROOT / "client"  # the project's own package, which `.venv/bin/samovar` runs from its sources
STAMP = ENVIRONMENT / "requirements.txt"  # what was installed last
OLDEST = (3, 11)


def main() -> int:
    """Do what is to be done; says so only when there is something."""
    if sys.version_info < OLDEST:
        return _fail(f"Python {'.'.join(map(str, OLDEST))} or later is needed; this is {sys.version.split()[0]}.")
    (ROOT / ".samovar").mkdir(exist_ok=True)
    with (ROOT / ".samovar" / "environment.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return 0 if _is_current() else _bring_up_to_date()


def _is_current() -> bool:
    return UV.exists() and STAMP.is_file() and STAMP.read_bytes() == _wanted() and _is_usable()


def _wanted() -> bytes:
    """Everything that decides what is installed."""
    return REQUIREMENTS.read_bytes() + (CLIENT / "pyproject.toml").read_bytes()


def _is_usable() -> bool:
    """Whether the environment has a Python, recent enough: the one it was made of may be gone."""
    code = f"import sys; sys.exit(sys.version_info < {OLDEST})"
    try:
        return subprocess.run([str(PYTHON), "-I", "-c", code], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _bring_up_to_date() -> int:
    began = time.monotonic()
    print(f"· Preparing the environment .venv with Python {sys.version.split()[0]}: takes about 15 s …", flush=True)
    if not _is_usable() and not _can_make_environments():
        return _fail(
            "Python's `venv` is incomplete here: install it (Debian, Ubuntu: `sudo apt-get install python3-venv`)."
        )
    try:
        _make()
    except subprocess.CalledProcessError as error:
        return _fail(f"The environment cannot be made:\n{error.stderr.strip()}")
    print(f"✓ Preparing the environment .venv  {time.monotonic() - began:.0f} s", flush=True)
    return 0


def _can_make_environments() -> bool:
    if importlib.util.find_spec("ensurepip"):
        return True
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    for command in (["update"], ["install", "-y", "--no-install-recommends", package]):
        subprocess.run(["apt-get", *command], capture_output=True, check=False)
    importlib.invalidate_caches()
    return importlib.util.find_spec("ensurepip") is not None


def _make() -> None:
    """Pip installs uv, and uv the rest, exactly: much quicker, and it removes what is not required any more."""
    if not _is_usable():
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        venv.create(ENVIRONMENT, with_pip=True, symlinks=True)
    STAMP.unlink(missing_ok=True)
    if not UV.exists():
        alone = ENVIRONMENT / "uv.txt"
        alone.write_text(_pinned("uv"), encoding="utf-8")
        _run(PYTHON, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", alone)
    _run(UV, "pip", "sync", "--quiet", "--python", PYTHON, "--require-hashes", REQUIREMENTS)
    # `sync` has removed it. uv builds with the backend that it brings along: nothing is fetched.
    _run(UV, "pip", "install", "--quiet", "--python", PYTHON, "--no-deps", "--offline", "--editable", CLIENT)
    STAMP.write_bytes(_wanted())


def _pinned(name: str) -> str:
    """The lines of the requirements that pin a package, with its hashes."""
    found = re.search(rf"^{name}==(?:.*\\\n)*.*", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE)
    return found[0] if found else ""


def _run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)


def _fail(reason: str) -> int:
    print(f"✗ {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
