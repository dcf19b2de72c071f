"""The command line. Each command imports the libraries that it needs when it runs, so that `--help` is fast."""

from __future__ import annotations

import os
import sys

from samovar.cli.commands import cli
from samovar.cli.exit_codes import EXIT_CODES, CommandExit, report_error


def main() -> None:
    """Run the command line. Report an error without a traceback, which could contain a secret."""
    exit_code = 0
    try:
        cli(prog_name="samovar", standalone_mode=False)
    except CommandExit as ended:
        exit_code = ended.exit_code
    except BrokenPipeError:
        # The reader of the pipe has closed it. Python must not try to flush standard output again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except BaseException as error:  # noqa: BLE001 (the only place that converts all exceptions to messages)
        exit_code = report_error(error)
    sys.exit(exit_code)


__all__ = ["EXIT_CODES", "cli", "main"]
