"""`python3 local/environment.py`: make the virtual environment `.venv`, or bring it up to date with its requirements.

The system's Python runs this file before any package is installed, so it imports the standard library only.
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
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
UV = ENVIRONMENT / "bin" / "uv"
REQUIREMENTS = ROOT / "requirements" / "dev.txt"
CLIENT = ROOT / "client"  # `.venv/bin/samovar` runs this package from its sources
STAMP = ENVIRONMENT / "requirements.txt"  # the contents of the requirements that were installed last
OLDEST = (3, 11)


def main() -> int:
    """Prepare the virtual environment and return an exit status. Print nothing if it is up to date."""
    if sys.version_info < OLDEST:
        return _fail(
            f"Samovar needs Python {'.'.join(map(str, OLDEST))} or later, but this is {sys.version.split()[0]}."
            " Install a later one."
        )
    (ROOT / ".samovar").mkdir(exist_ok=True)
    with (ROOT / ".samovar" / "environment.lock").open("w") as lock:
        _take(lock)
        return 0 if _is_current() else _bring_up_to_date()


def _take(lock: TextIO) -> None:
    """Take the lock. Say so if another command holds it, because preparing takes seconds."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("· Another command is preparing .venv. Waiting until it ends …", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)


def _is_current() -> bool:
    return UV.exists() and STAMP.is_file() and STAMP.read_bytes() == _read_requirements() and _is_usable()


def _read_requirements() -> bytes:
    """Return the contents of all files that decide which packages are installed."""
    return REQUIREMENTS.read_bytes() + (CLIENT / "pyproject.toml").read_bytes()


def _is_usable() -> bool:
    """Return whether the virtual environment has a recent Python. Its original Python may have been removed."""
    code = f"import sys; sys.exit(sys.version_info < {OLDEST})"
    try:
        return subprocess.run([str(PYTHON), "-I", "-c", code], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _bring_up_to_date() -> int:
    began = time.monotonic()
    print(f"· Preparing .venv with Python {sys.version.split()[0]}: this takes about 15 s …", flush=True)
    if not _is_usable() and not _require_venv():
        return _fail(
            "Python's module `venv` is incomplete. Install it (Debian, Ubuntu: `sudo apt-get install python3-venv`)."
        )
    try:
        _make()
    except subprocess.CalledProcessError as error:
        return _fail(
            ".venv cannot be prepared. Check that the package index can be reached, then try again."
            f"\n{error.stderr.strip()}"
        )
    print(f"✓ Preparing .venv  {time.monotonic() - began:.0f} s", flush=True)
    return 0


def _require_venv() -> bool:
    """Complete the module `venv` if this process may install packages. Return whether `venv` is complete."""
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
    """Install uv with pip, and the requirements with uv, which is faster and removes packages that are not required."""
    if not _is_usable():
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        venv.create(ENVIRONMENT, with_pip=True, symlinks=True)
    STAMP.unlink(missing_ok=True)
    if not UV.exists():
        only_uv = ENVIRONMENT / "uv.txt"
        only_uv.write_text(_extract_pin("uv"), encoding="utf-8")
        _run(PYTHON, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", only_uv)
    _run(UV, "pip", "sync", "--quiet", "--python", PYTHON, "--require-hashes", REQUIREMENTS)
    # `sync` has removed the client. uv builds it with its own build backend, so nothing is fetched.
    _run(UV, "pip", "install", "--quiet", "--python", PYTHON, "--no-deps", "--offline", "--editable", CLIENT)
    STAMP.write_bytes(_read_requirements())


def _extract_pin(name: str) -> str:
    """Return the lines of the requirements that pin a package, with its hashes."""
    found = re.search(rf"^{name}==(?:.*\\\n)*.*", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE)
    return found[0] if found else ""


def _run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)


def _fail(reason: str) -> int:
    print(f"✗ {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
