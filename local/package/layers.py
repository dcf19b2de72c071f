"""Layers: the wheels of a requirements file, without the files that no function needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from local.package.archive import compile_bytecode, strip_libraries, write_zip
from local.package.manifest import Artifact, PackagingError
from local.package.platform import Platform

Report = Callable[[str], None]

LAYERS = ("api", "worker")

# Distributions that a requirements file names and a layer leaves out.
LEFT_OUT = frozenset(
    {
        # Needed by spacy.cli, which functions/worker/pipeline.py replaces: for parsing options and for colours,
        "annotated-doc", "click", "colorama", "markdown-it-py", "mdurl", "pygments", "rich", "shellingham", "typer",
        # for downloads of models and projects (h11 stays, because the other layer needs it),
        "anyio", "certifi", "charset-normalizer", "cloudpathlib", "httpcore", "httpx", "idna", "requests",
        "smart-open", "urllib3", "weasel",
        # and for templates of training configurations.
        "jinja2", "markupsafe",
        # Needed for the logs of training runs.
        "spacy-loggers",
        # Needed for building spaCy.
        "setuptools",
    }
)  # fmt: skip

UNNEEDED_SUFFIXES = frozenset(
    (
        *(".c", ".cc", ".cpp", ".f", ".f90", ".h", ".hh", ".hpp", ".pxd", ".pxi", ".pyx"),  # sources of libraries
        *(".a", ".exe", ".lib", ".pth", ".pyi"),  # for linkers, Windows, virtual environments and type checkers
    )
)
UNNEEDED_FOLDERS = frozenset({"tests", "__pycache__"})
UNNEEDED = (
    "bin",
    "numpy/_core/include",
    "numpy/_core/lib",
    "numpy/_pyinstaller",
    "numpy/f2py",  # a Fortran compiler's front end
    "spacy/cli",
    "wrapt-stubs",
)
KEPT_METADATA = frozenset({"METADATA", "entry_points.txt"})  # spaCy finds its components by entry points


def make_layer(requirements: Path, file: Path, *, work: Path, platform: Platform, report: Report) -> Artifact:
    """Make a layer's zip from a requirements file. `work` is an empty folder for temporary files.

    Raises:
        PackagingError: If a requirement has no wheel for the platform, or cannot be downloaded.
    """
    packages = work / "layer" / "python"
    _install(requirements, packages, work=work, platform=platform, report=report)
    _remove_unneeded(packages)
    if not strip_libraries(packages, platform=platform):
        report(f"  {file.stem}: larger than needed, because there is no strip for {platform.architecture} (binutils)")
    if not compile_bytecode(work / "layer", installed_at="/opt", platform=platform):
        report(
            f"  {file.stem}: without bytecode, so cold starts are slower, because there is no {platform.runtime} here"
        )
    report(f"  {file.stem}: packing")
    return write_zip(work / "layer", file, level=platform.compression)


def _install(requirements: Path, packages: Path, *, work: Path, platform: Platform, report: Report) -> None:
    wanted = [(name, text) for name, text in read_requirements(requirements) if name not in LEFT_OUT]
    filtered = work / "requirements.txt"
    report(f"  layer-{requirements.stem}: installing {len(wanted)} packages")
    filtered.write_text("".join(text for _, text in wanted))
    # The file lists every package that is needed. Without --no-deps, the packages left out would come back.
    options = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:", *platform.wheel_options]
    install = [_find_uv(), "pip", "install", "--python", sys.executable, *options]
    command = [*install, "--target", str(packages), "-r", str(filtered)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackagingError(
            f"Cannot install {requirements.name} for {platform.runtime}. Check that the package index can be reached"
            f" and that the file is current (`make lock`).\n{done.stderr.strip()}"
        )


def read_requirements(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the entries of a compiled requirements file: the name of the distribution, and its lines with hashes."""
    for entry in re.split(r"^(?=[A-Za-z0-9])", file.read_text(), flags=re.MULTILINE):
        if found := re.match(r"([A-Za-z0-9._-]+)(\[[^]]*\])?==", entry):
            yield re.sub(r"[-_.]+", "-", found[1]).lower(), entry


def _find_uv() -> str:
    try:
        from uv import find_uv_bin
    except ImportError:
        raise PackagingError("uv is missing. Install requirements/dev.txt.") from None
    return find_uv_bin()


def _remove_unneeded(packages: Path) -> None:
    for path in sorted(packages.rglob("*")):
        if not path.exists() or not is_unneeded(path.relative_to(packages)):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def is_unneeded(path: Path) -> bool:
    """Return whether no function needs this file or folder of an installed package. Its path begins in the layer."""
    if path.as_posix() in UNNEEDED or path.name in UNNEEDED_FOLDERS or path.name == ".lock":
        return True
    if path.parts[0].endswith(".dist-info"):
        return len(path.parts) > 1 and path.name not in KEPT_METADATA
    return path.suffix in UNNEEDED_SUFFIXES
