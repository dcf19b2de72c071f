"""The options that every benchmark has."""

from __future__ import annotations

import argparse
from pathlib import Path


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of the benchmark `name`, with the common options; the benchmark adds its own."""
    made = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=description)
    add_common_options(made)
    return made


def add_common_options(to: argparse.ArgumentParser) -> None:
    """Add `--smallest` and `--folder`."""
    to.add_argument(
        "--smallest",
        action="store_true",
        help="run the least that shows that the benchmark works: no target is judged, and no results are kept",
    )
    to.add_argument(
        "--folder",
        type=Path,
        help="use the local cloud that is up in this folder, with its own settings, and leave it as it was "
        "(default: start one and stop it)",
    )


def forward(options: argparse.Namespace) -> list[str]:
    """Return the common options as arguments for a benchmark."""
    arguments = ["--smallest"] if options.smallest else []
    return [*arguments, "--folder", str(options.folder)] if options.folder else arguments
