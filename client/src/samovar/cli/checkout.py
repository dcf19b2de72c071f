"""Access to the service's own code, for commands that run in a checkout of the service.

`samovar admin` and `samovar plan` use the packages `local` and `planner` of the checkout. Only the service knows how
it stores clients, and only Terraform's outputs know where.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from local.client_admin import ClientAdmin

_SERVICE_PACKAGES = {"local", "shared"}


def open_client_admin(*, local: bool, folder: Path | None) -> ClientAdmin:
    """Return the clients of the deployment in `terraform/`, or of the local cloud in `folder`, for administration.

    Raises:
        ClickException: If this is not a checkout, or if a package that the checkout's code needs is missing.
    """
    root = _find_checkout()
    with _import_from(root):
        from local.client_admin import ClientAdmin
    return ClientAdmin.open((folder or root / ".samovar").resolve() if local else None)


def run_planner(arguments: list[str]) -> int:
    """Run the checkout's planner, and return its exit code.

    Raises:
        ClickException: If this is not a checkout, or if a package that the planner needs is missing.
    """
    with _import_from(_find_checkout()):
        from planner import main
    try:
        return main(arguments, prog="samovar plan")
    except SystemExit as ended:  # argparse raises this for `--help` and for wrong arguments
        return int(ended.code or 0)


@contextmanager
def _import_from(root: Path) -> Iterator[None]:
    """Import packages from the checkout at `root`. Convert a missing package to a ClickException."""
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"The package {error.name} is missing. Run .venv/bin/samovar of the checkout instead."
        raise click.ClickException(message) from None


def _find_checkout() -> Path:
    """Return the nearest checkout of the service: the current folder or one above it."""
    current = Path.cwd()
    for folder in (current, *current.parents):
        if (folder / "local" / "__init__.py").is_file() and (folder / "terraform" / "outputs.tf").is_file():
            return folder
    raise click.ClickException(f"{current} is not in a checkout of the service. Run this command in one.")


@contextmanager
def convert_errors() -> Iterator[None]:
    """Convert an exception of the service's packages to a ClickException with the same message."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.split(".")[0] in _SERVICE_PACKAGES:
            raise click.ClickException(str(error)) from None
        raise
