"""Mermaid, the script that draws diagrams in the browser: fetched once with npm, verified, and kept for later builds.

Material for MkDocs would load it from another host whenever somebody opens a page.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path

from local.docs.pages import ROOT

VERSION = "11.17.2"  # of the major version that Material for MkDocs expects
INTEGRITY = "sha512-V6K3C8EBdEsPFZXSKMJe6ppQOENxuHARr9GvHX4hh47lAbhMRD9qf4oEK7LoaRQxULMa80/qt5gHO73aCleBBg=="
SCRIPT = ROOT / ".samovar" / f"mermaid-{VERSION}.min.js"

_IN_THE_PACKAGE = "package/dist/mermaid.min.js"


class MermaidMissing(RuntimeError):
    """The script cannot be had; the message says why, and what to do."""


def fetch() -> None:
    """Put the script at `SCRIPT`, unless it is there.

    Raises:
        MermaidMissing: If there is no npm, if npm cannot fetch the package, or if the package is another one.
    """
    if SCRIPT.is_file():
        return
    with tempfile.TemporaryDirectory() as folder:
        package = _pack(Path(folder))
        if not _is_genuine(package):
            raise MermaidMissing(f"The package {package.name} does not have the digest in {Path(__file__).name}.")
        SCRIPT.parent.mkdir(parents=True, exist_ok=True)
        SCRIPT.write_bytes(_extract(package))


def _pack(folder: Path) -> Path:
    command = ["npm", "pack", "--silent", "--pack-destination", str(folder), f"mermaid@{VERSION}"]
    try:
        subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise MermaidMissing("There is no npm on the PATH. Install Node.js, which includes it.") from None
    except subprocess.CalledProcessError as error:
        raise MermaidMissing(f"npm cannot fetch mermaid {VERSION}: {error.stderr.strip()}") from None
    return next(folder.glob("*.tgz"))


def _is_genuine(package: Path) -> bool:
    algorithm, _, digest = INTEGRITY.partition("-")
    return hashlib.new(algorithm, package.read_bytes()).digest() == base64.b64decode(digest)


def _extract(package: Path) -> bytes:
    with tarfile.open(package) as archive:
        script = archive.extractfile(_IN_THE_PACKAGE)
        if script is None:
            raise MermaidMissing(f"The package {package.name} has no file {_IN_THE_PACKAGE}.")
        return script.read()
