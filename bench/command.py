"""The options that every benchmark has."""

from __future__ import annotations

import argparse
from pathlib import Path


def build_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of the benchmark `name` with the common options."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=description)
    add_common_options(parser)
    return parser


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add `--smallest` and `--folder`."""
    parser.add_argument(
        "--smallest",
        action="store_true",
        help="run the smallest size that shows that the benchmark works; judge no target and write no results",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="use the local cloud that runs in this folder, with its settings, and leave it as it was "
        "(default: start one and stop it)",
    )


def forward(options: argparse.Namespace) -> list[str]:
    """Return the common options as arguments for a benchmark."""
    arguments = ["--smallest"] if options.smallest else []
    return [*arguments, "--folder", str(options.folder)] if options.folder else arguments
