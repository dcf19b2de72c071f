"""The strategy SnapStart: environments start from a snapshot with the model loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator

from planner.engine.outcome import Usage
from planner.engine.setup import Setup
from planner.errors import PlannerError
from planner.measurements import Measurements
from planner.prices import Price, PriceFields, Prices
from planner.strategies.protocol import CommandOption, Parameters, Strategy, StrategyOptions
from planner.strategies.provisioned_concurrency import ProvisionedConcurrency


class SnapStartPrices(PriceFields):
    """The prices of keeping a snapshot, and of starting an environment from it."""

    snapstart_cache_gb_second: Price
    snapstart_restore_gb: Price


class SnapStart(StrategyOptions):
    """Environments that start from a snapshot. The strategy has no options: a strategies file says `true`."""

    key: ClassVar[str] = "snapstart"
    title: ClassVar[str] = "SnapStart"
    summary: ClassVar[str] = "environments start from a snapshot with the model loaded"
    cost_part: ClassVar[str] = "snapstart"
    prices: ClassVar[type[PriceFields] | None] = SnapStartPrices
    command_options: ClassVar[tuple[CommandOption, ...]] = ()
    terraform_off: ClassVar[str] = ""

    @classmethod
    def file_type(cls) -> Any:
        """Return a Boolean that becomes the strategy, or None."""
        return Annotated[bool, AfterValidator(lambda is_on: cls() if is_on else None)]

    def dump(self) -> Any:
        """Return True."""
        return True

    @classmethod
    def build_examples(cls, _: Parameters) -> dict[str, Self]:
        """Return the strategy."""
        return {cls.title: cls()}

    def check(self, others: Sequence[Strategy], _: int, field: str) -> None:
        """Check that provisioned concurrency is off.

        Raises:
            PlannerError: If it is on.
        """
        if any(isinstance(other, ProvisionedConcurrency) for other in others):
            raise PlannerError(field, "Lambda does not allow it together with provisioned concurrency; choose one")

    def set_up(self, setup: Setup) -> None:
        """Let environments start from a snapshot."""
        setup.has_snapshots = True

    def compute_cost(self, usage: Usage, measured: Measurements, prices: Prices) -> float:
        """Return the cost of the snapshot and of its restores."""
        own = SnapStartPrices.select_from(prices)
        cached = usage.seconds * own.snapstart_cache_gb_second  # AWS charges at least 3 h, less than a month
        return measured.memory_gb * (cached + usage.cold_starts * own.snapstart_restore_gb)

    def render_terraform(self) -> str:
        """Return the attribute `snapstart`."""
        return "snapstart = true"
