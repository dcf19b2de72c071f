"""The strategy on-token: issuing a token starts a warm-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from pydantic import Field

from planner.engine.outcome import Usage
from planner.engine.setup import EventOrder, Setup
from planner.engine.simulation import Simulation
from planner.measurements import Measurements
from planner.prices import PriceFields, Prices
from planner.strategies.protocol import CommandOption, Parameters, Strategy, StrategyOptions, check_environments


class OnToken(StrategyOptions):
    """Warm-ups that tokens start, at most one per cooldown. Jobs wait for a warm-up that is under way."""

    key: ClassVar[str] = "on_token"
    title: ClassVar[str] = "on-token"
    summary: ClassVar[str] = "a token starts a warm-up, at most one per cooldown"
    cost_part: ClassVar[str] = "pings"
    prices: ClassVar[type[PriceFields] | None] = None
    command_options: ClassVar[tuple[CommandOption, ...]] = ()
    terraform_off: ClassVar[str] = "on_token = { environments = 0 }"

    environments: int = Field(default=1, ge=1)
    cooldown_seconds: float = Field(default=120, ge=0, allow_inf_nan=False)
    assigns_jobs: bool = True  # a job that is submitted during a warm-up is assigned to the warm-up

    @classmethod
    def build_examples(cls, _: Parameters) -> dict[str, Self]:
        """Return the strategy with its default options."""
        return {cls.title: cls()}

    def check(self, _: Sequence[Strategy], account_limit: int, field: str) -> None:
        """Check the number of environments.

        Raises:
            PlannerError: If it is above the account's limit.
        """
        check_environments(self.environments, account_limit=account_limit, field=field)

    def set_up(self, setup: Setup) -> None:
        """Handle the tokens of the traffic."""
        setup.add_events(EventOrder.TOKEN, setup.traffic.tokens, self._handle_token)
        if not self.assigns_jobs:
            setup.is_assigning_jobs = False

    def _handle_token(self, simulation: Simulation, at: float) -> None:
        """Start a warm-up if the last one is older than the cooldown."""
        if at - simulation.warm_ups.started_at >= self.cooldown_seconds:
            simulation.start_warm_up(at, self.environments)

    def compute_cost(self, _usage: Usage, _measured: Measurements, _prices: Prices) -> float:
        """Return 0: a token's warm-up costs nothing besides its pings, which `planner.costs` counts for all."""
        return 0.0

    def render_terraform(self) -> str:
        """Return the attribute `on_token`."""
        options = f"environments = {self.environments}, cooldown_seconds = {self.cooldown_seconds:g}"
        return f"on_token = {{ {options} }}"
