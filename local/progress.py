"""The progress of a command at a terminal: one line per step, with its duration and its outcome.

On a terminal the lines of running steps are updated in place. Elsewhere a step prints a line when it begins and another
when it ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text


class Step:
    """A running step of a command."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""
        self._spinner = Spinner("dots", style="cyan")
        self._began = time.monotonic()

    def show_detail(self, detail: str) -> None:
        """Show `detail` beside the title, until the next detail replaces it."""
        self.detail = detail

    @property
    def seconds(self) -> float:
        """Return the seconds since the step began."""
        return time.monotonic() - self._began

    def render(self) -> tuple[Spinner, Text]:
        """Return the line of the step while it runs, in two columns."""
        duration = format_duration(self.seconds)
        return self._spinner, Text.assemble(self.title, (f"  {duration}", "cyan"), (f"  {self.detail}", "dim"))


class ProgressDisplay:
    """The progress lines of one command. Steps may be shown from any thread.

    Use it as `with ProgressDisplay() as progress: with progress.step("Building"): …`.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._running: list[Step] = []
        self._live = Live(get_renderable=self._render, console=self.console, transient=True, refresh_per_second=8)

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
        """Show a step while the block runs, then show whether it succeeded and how long it took."""
        step = Step(title)
        if not self.console.is_terminal:
            self.console.print(f"· {title} …", markup=False, soft_wrap=True)
        self._running.append(step)
        outcome = ("✗", "red")
        try:
            yield step
            outcome = ("✓", "green")
        finally:
            self._running.remove(step)
            self._live.refresh()  # otherwise the last state of this step would stay below the line printed next
            self._print_line(*outcome, title, format_duration(step.seconds))

    def note(self, text: str) -> None:
        """Print a line that is not about a step."""
        self._print_line("·", "yellow", text)

    def _print_line(self, mark: str, style: str, text: str, duration: str = "") -> None:
        line = Text.assemble((mark, style), f" {text}", (f"  {duration}" if duration else "", "dim"))
        self.console.print(line, soft_wrap=True)

    def _render(self) -> Table:
        table = Table.grid(padding=(0, 1, 0, 0))
        for step in list(self._running):
            table.add_row(*step.render())
        return table


def format_duration(seconds: float) -> str:
    """Return seconds in words: `40 ms`, `2.4 s`, `12 s`, `1 min 32 s`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
