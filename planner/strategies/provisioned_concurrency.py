"""The strategy provisioned concurrency: Lambda keeps environments ready."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from planner.engine.outcome import Usage
from planner.engine.setup import EventOrder, Setup
from planner.engine.simulation import Simulation
from planner.measurements import Measurements
from planner.prices import PerArchitecture, PriceFields, Prices, select_architecture
from planner.strategies.protocol import CommandOption, Parameters, Strategy, StrategyOptions, check_environments
from planner.terraform import quote, render_cron, render_object
from planner.windows import Window, check_overlaps, find_open_spans

OPEN_SECONDS, BUSY_SECONDS = "provisioned_open_seconds", "provisioned_busy_seconds"


class ProvisionedPrices(PriceFields):
    """The prices of provisioned environments, for being ready and for running jobs."""

    provisioned_idle_gb_second: PerArchitecture
    provisioned_gb_second: PerArchitecture


class ProvisionedConcurrency(StrategyOptions):
    """Environments that are ready while a window is open. Without windows, they are always ready."""

    key: ClassVar[str] = "provisioned"
    title: ClassVar[str] = "provisioned concurrency"
    summary: ClassVar[str] = "Lambda keeps environments ready in the office hours"
    cost_part: ClassVar[str] = "provisioned"
    prices: ClassVar[type[PriceFields] | None] = ProvisionedPrices
    command_options: ClassVar[tuple[CommandOption, ...]] = ()
    terraform_off: ClassVar[str] = ""

    environments: int = Field(default=1, ge=1)
    windows: tuple[Window, ...] = ()

    @classmethod
    def build_examples(cls, parameters: Parameters) -> dict[str, Self]:
        """Return environments in the office hours, and environments around the clock."""
        environments = parameters.environments
        return {
            cls.title: cls(environments=environments, windows=parameters.windows),
            "always on": cls(environments=environments),
        }

    def check(self, _: Sequence[Strategy], account_limit: int, field: str) -> None:
        """Check the number of environments and the windows.

        Raises:
            PlannerError: If the number is above the account's limit, or two windows overlap.
        """
        check_environments(self.environments, account_limit=account_limit, field=field)
        check_overlaps(self.windows, field=f"{field}.windows")

    def set_up(self, setup: Setup) -> None:
        """Add the environments, and the times when they come and go."""
        spans = find_open_spans(self.windows, began=setup.traffic.began, seconds=setup.traffic.seconds)
        open_seconds = self.environments * sum(end - start for start, end in spans)
        environments = _Environments(self.environments, open_seconds, setup.usage)
        setup.add_capacity(environments)
        setup.add_events(EventOrder.OPEN, np.array([start for start, _ in spans]), environments.open)
        setup.add_events(EventOrder.CLOSE, np.array([end for _, end in spans]), environments.close)

    def compute_cost(self, usage: Usage, measured: Measurements, prices: Prices) -> float:
        """Return the cost of the open windows, and of the jobs that ran in them.

        Raises:
            PlannerError: If the prices lack the architecture.
        """
        own, architecture = ProvisionedPrices.select_from(prices), measured.architecture
        idle = select_architecture(own.provisioned_idle_gb_second, architecture, field="provisioned_idle_gb_second")
        busy = select_architecture(own.provisioned_gb_second, architecture, field="provisioned_gb_second")
        return measured.memory_gb * (usage.amounts[OPEN_SECONDS] * idle + usage.amounts[BUSY_SECONDS] * busy)

    def render_terraform(self) -> str:
        """Return the attribute `provisioned`, with a cron expression for each end of a window."""
        if not self.windows:
            return f"provisioned = {{ environments = {self.environments} }}"
        windows = [f"      window-{number} = {_render(window)}" for number, window in enumerate(self.windows, start=1)]
        opening = ["provisioned = {", f"    environments = {self.environments}", "    windows = {"]
        return "\n".join([*opening, *windows, "    }", "  }"])


def _render(window: Window) -> str:
    start, end = (render_cron(str(at.minute), str(at.hour), window) for at in (window.start, window.end))
    return render_object({"start": start, "end": end, "timezone": quote(window.timezone)})


class _Environments:
    """The provisioned environments. Each window has new ones, which load the model before the window opens."""

    def __init__(self, size: int, open_seconds: float, usage: Usage) -> None:
        self.idle: list[int] = []
        self.is_lambda = True
        self._size, self._open_seconds, self._usage = size, open_seconds, usage
        self._opened: list[int] = []  # environments of the open window
        self._leaving: set[int] = set()  # environments that go away when they have finished their jobs
        self._next = 0

    def start(self, _: Simulation, first_number: int) -> None:
        """Note the first number. The first window opens by an event."""
        self._next = first_number

    def open(self, simulation: Simulation, at: float) -> None:
        """Add the environments of a window, and serve the jobs that wait."""
        self._opened = list(range(self._next, self._next + self._size))
        self._next += self._size
        self.idle += self._opened
        self._usage.downloads += self._size
        simulation.serve_backlog(at)

    def close(self, _simulation: Simulation, _at: float) -> None:
        """Remove the idle environments. A busy one goes away when it has finished its jobs."""
        self._leaving |= set(self._opened) - set(self.idle)
        self.idle.clear()
        self._opened = []

    def release(self, _: float, environment: int) -> None:
        """Take back an environment, unless its window has closed."""
        if environment in self._leaving:
            self._leaving.remove(environment)
        else:
            self.idle.append(environment)

    def finish(self, _: float, *, busy_seconds: float) -> None:
        """Add the time of the open windows to the usage."""
        self._usage.amounts[OPEN_SECONDS] = self._open_seconds
        self._usage.amounts[BUSY_SECONDS] = busy_seconds
        self._usage.wasted_seconds += max(self._open_seconds - busy_seconds, 0.0)
