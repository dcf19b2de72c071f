"""The command line. What a command needs is imported when it runs: `samovar --help` waits for nothing."""

from __future__ import annotations

import os
import sys

from samovar.cli.commands import cli
from samovar.cli.exits import EXIT_STATUSES, Stop, explained


def main() -> None:
    """Run the command line; what it can explain it says in a line, without a traceback that could hold a secret."""
    status: int = 0
    try:
        cli(prog_name="samovar", standalone_mode=False)
    except Stop as stop:
        status = stop.status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read has enough
    except BaseException as error:  # noqa: BLE001 (the last resort, and the only place where errors become words)
        status = explained(error)
    sys.exit(status)


__all__ = ["EXIT_STATUSES", "cli", "main"]
