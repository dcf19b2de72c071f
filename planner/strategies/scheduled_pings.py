"""The strategy scheduled pings: a schedule starts a warm-up every few minutes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from planner.engine.outcome import Usage
from planner.engine.setup import EventOrder, Setup
from planner.engine.simulation import Simulation
from planner.measurements import Measurements
from planner.options import check_seconds
from planner.prices import Price, PriceFields, Prices
from planner.strategies.protocol import CommandOption, Parameters, Strategy, StrategyOptions, check_environments
from planner.terraform import list_crons, quote, render_object
from planner.windows import Window, check_overlaps, find_open_spans

EVERY_SECONDS = 240
SCHEDULED_WARM_UPS = "scheduled_warm_ups"


class SchedulePrices(PriceFields):
    """The price of EventBridge Scheduler, for one invocation."""

    schedule: Price


class ScheduledPings(StrategyOptions):
    """Warm-ups at regular times while a window is open. Without windows, they go on all the time."""

    key: ClassVar[str] = "schedule"
    title: ClassVar[str] = "scheduled pings"
    summary: ClassVar[str] = "a schedule starts a warm-up every few minutes of the office hours"
    cost_part: ClassVar[str] = "pings"
    prices: ClassVar[type[PriceFields] | None] = SchedulePrices
    command_options: ClassVar[tuple[CommandOption, ...]] = (
        CommandOption("every", float, EVERY_SECONDS, "seconds between two scheduled warm-ups"),
    )
    terraform_off: ClassVar[str] = ""

    environments: int = Field(default=1, ge=1)
    every_seconds: float = Field(default=EVERY_SECONDS, ge=1, allow_inf_nan=False)
    windows: tuple[Window, ...] = ()

    @classmethod
    def build_examples(cls, parameters: Parameters) -> dict[str, Self]:
        """Return pings in the office hours.

        Raises:
            PlannerError: If `--every` is not valid.
        """
        every = check_seconds("every", parameters.own.get("every", EVERY_SECONDS), least=1, below=1e9)
        chosen = cls(environments=parameters.environments, every_seconds=every, windows=parameters.windows)
        return {cls.title: chosen}

    def check(self, _: Sequence[Strategy], account_limit: int, field: str) -> None:
        """Check the number of environments and the windows.

        Raises:
            PlannerError: If the number is above the account's limit, or two windows overlap.
        """
        check_environments(self.environments, account_limit=account_limit, field=field)
        check_overlaps(self.windows, field=f"{field}.windows")

    def set_up(self, setup: Setup) -> None:
        """Add the times of the schedule."""
        spans = find_open_spans(self.windows, began=setup.traffic.began, seconds=setup.traffic.seconds)
        times = [np.arange(start, end, self.every_seconds) for start, end in spans]
        setup.add_events(EventOrder.PING, np.concatenate([*times, np.zeros(0)]), self._start_warm_up)

    def _start_warm_up(self, simulation: Simulation, at: float) -> None:
        simulation.usage.amounts[SCHEDULED_WARM_UPS] += 1
        simulation.start_warm_up(at, self.environments)

    def compute_cost(self, usage: Usage, _: Measurements, prices: Prices) -> float:
        """Return the cost of the schedule and of the janitor's invokes. `planner.costs` adds that of the pings."""
        schedule = SchedulePrices.select_from(prices).schedule
        return usage.amounts[SCHEDULED_WARM_UPS] * (schedule + prices.lambda_request)

    def render_terraform(self) -> str:
        """Return the attribute `schedule`, with the interval in whole minutes, EventBridge's smallest unit."""
        every = max(round(self.every_seconds / 60), 1)
        rate = f"rate({every} minute{'s' if every > 1 else ''})"
        expressions = [(cron, window.timezone) for window in self.windows for cron in list_crons(window, every)]
        lines = [
            f"    pings-{number} = {self._render_schedule(expression, timezone)}"
            for number, (expression, timezone) in enumerate(expressions or [(quote(rate), "UTC")], start=1)
        ]
        return "\n".join(["schedule = {", *lines, "  }"])

    def _render_schedule(self, expression: str, timezone: str) -> str:
        attributes = {"expression": expression, "timezone": quote(timezone), "environments": str(self.environments)}
        return render_object(attributes)
