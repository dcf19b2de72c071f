"""Progress for people: one line per step, which says what is done and for how long, and stays when it is done.

On a terminal the lines of running steps are alive; elsewhere a line is printed when a step begins and one when it ends.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from local.errors import Problem
from local.package import PackagingError
from local.terraform import TerraformMissing

EXPLAINED = (Problem, PackagingError, TerraformMissing)
INTERRUPTED = 130  # the exit status that shells give to Ctrl-C


class Step:
    """A step under way."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""
        self._spinner = Spinner("dots", style="cyan")
        self._began = time.monotonic()

    def say(self, detail: str) -> None:
        """Show what the step is at; the next detail replaces it."""
        self.detail = detail

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def row(self) -> tuple[Spinner, Text]:
        """Its line while it runs."""
        line = Text.assemble(self.title, (f"  {duration(self.seconds)}", "cyan"), (f"  {self.detail}", "dim"))
        return self._spinner, line


class Steps:
    """The lines of one command; `with Steps() as steps: with steps.step("Building"): …`, from any thread."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._running: list[Step] = []
        self._live = Live(get_renderable=self._lines, console=self.console, transient=True, refresh_per_second=8)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show a step while the block runs, and how it ended."""
        step = Step(title)
        if not self.console.is_terminal:
            self.console.print(f"· {title} …", markup=False, soft_wrap=True)
        self._running.append(step)
        ended = ("✗", "red")
        try:
            yield step
            ended = ("✓", "green")
        finally:
            self._running.remove(step)
            self._live.refresh()  # or the line printed next would be followed by this step's last one
            self._line(*ended, title, duration(step.seconds))

    def note(self, text: str) -> None:
        """A line that is not a step."""
        self._line("·", "yellow", text)

    def _line(self, mark: str, style: str, text: str, seconds: str = "") -> None:
        line = Text.assemble((mark, style), f" {text}", (f"  {seconds}" if seconds else "", "dim"))
        self.console.print(line, soft_wrap=True)

    def _lines(self) -> Table:
        table = Table.grid(padding=(0, 1, 0, 0))
        for step in list(self._running):
            table.add_row(*step.row())
        return table


def duration(seconds: float) -> str:
    """Seconds as people read them: `40 ms`, `2.4 s`, `12 s`, `1 min 32 s`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def run(command: Callable[[], None]) -> int:
    """Run a command; what it can explain is printed without a traceback. Returns the exit status."""
    try:
        command()
    except EXPLAINED as error:
        console = Console(stderr=True, highlight=False)
        console.print(Text.assemble(("✗ ", "bold red"), str(error)), soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return INTERRUPTED
    return 0
