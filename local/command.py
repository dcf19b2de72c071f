"""The exit of every command: an exit status, and errors without a traceback if a user can act on them."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from local.errors import CommandError

_INTERRUPTED = 130  # the exit status that shells give to Ctrl-C


def run(command: Callable[[], None]) -> int:
    """Run `command` and return its exit status: 0, 1 after a CommandError, which is printed, or 130 after Ctrl-C."""
    try:
        command()
    except CommandError as error:
        console = Console(stderr=True, highlight=False)
        console.print(Text.assemble(("✗ ", "bold red"), str(error)), soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return _INTERRUPTED
    return 0
