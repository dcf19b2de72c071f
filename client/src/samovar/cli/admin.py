"""`samovar admin`: works where the service is deployed from, a checkout, with the checkout's own code.

What a client is in its table is the service's business; so is where Terraform says that the table is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from local.registry import Registry


def registry(*, local: bool, folder: Path | None) -> Registry:
    """The clients of the deployment whose state the checkout's `terraform/` has, or of a local cloud.

    Raises:
        ClickException: outside a checkout, or without what the checkout's code needs.
    """
    root = _checkout()
    with _importing(root):
        from local.registry import Registry
    return Registry.open((folder or root / ".samovar").resolve() if local else None)


def plan(arguments: list[str]) -> int:
    """Run the checkout's planner; its exit status.

    Raises:
        ClickException: outside a checkout, or without what the planner needs.
    """
    with _importing(_checkout()):
        from planner import main
    try:
        return main(arguments, prog="samovar plan")
    except SystemExit as ended:  # how argparse leaves
        return int(ended.code or 0)


@contextmanager
def _importing(root: Path) -> Iterator[None]:
    """Find the checkout's packages, and say so when they lack something."""
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        yield
    except ModuleNotFoundError as error:
        hint = f"{error.name} is missing: run the checkout's .venv/bin/samovar."
        raise click.ClickException(hint) from None


def _checkout() -> Path:
    """The nearest folder, from here upwards, that is a checkout of the service."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "local" / "registry.py").is_file() and (folder / "terraform" / "outputs.tf").is_file():
            return folder
    raise click.ClickException("Run this within a checkout of the service: Terraform's outputs are there.")


@contextmanager
def explained() -> Iterator[None]:
    """Turn what the checkout's code can explain into a message."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.split(".")[0] in {"local", "shared"}:
            raise click.ClickException(str(error)) from None
        raise
