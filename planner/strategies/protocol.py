"""The Protocol that each warming strategy implements, and the types that it uses.

To add a strategy, write a module in this package with one class that has all members of `Strategy`, and add the class
to `STRATEGIES` in `planner/strategies/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

from pydantic import BaseModel, ConfigDict

from planner.engine.outcome import Usage
from planner.engine.setup import Setup
from planner.errors import PlannerError
from planner.measurements import Measurements
from planner.prices import PriceFields, Prices
from planner.windows import Window


@dataclass(frozen=True)
class CommandOption:
    """An option of the command line that only one strategy needs."""

    name: str  # such as "every", for `--every`
    kind: Callable[[str], Any]  # parses the value, such as `float`
    default: Any
    help: str


@dataclass(frozen=True)
class Parameters:
    """The options of the command line from which strategies build their examples."""

    environments: int
    windows: tuple[Window, ...]
    own: Mapping[str, Any] = field(default_factory=dict)  # values of `CommandOption`s by name; those given


class Strategy(Protocol):
    """One way to keep the worker warm. An object of the class holds the options that a user has chosen.

    All members are required. Arguments are positional, so that a class may name an argument that it ignores `_`.
    `StrategyOptions` implements `file_type` and `dump` for a class whose fields are its options.
    """

    key: ClassVar[str]  # names the strategy in a strategies file and in Terraform's variable `warming`
    title: ClassVar[str]  # names the strategy in tables, pictures and docs/warming.md
    summary: ClassVar[str]  # describes the strategy in a phrase, for `--help`
    cost_part: ClassVar[str]  # names the part of the cost that the strategy adds to
    prices: ClassVar[type[PriceFields] | None]  # declares the prices that only this strategy needs
    command_options: ClassVar[tuple[CommandOption, ...]]  # declares the command-line options that only it needs
    terraform_off: ClassVar[str]  # the attribute of `warming` that turns the strategy off; "" if it is off by default

    @classmethod
    def file_type(cls) -> Any:
        """Return the type of the strategy's value in a strategies file, for pydantic. Off must become None."""

    def dump(self) -> Any:
        """Return the strategy's value for a strategies file, as JSON types."""

    @classmethod
    def build_examples(cls, parameters: Parameters, /) -> dict[str, Self]:
        """Return examples of the strategy by name. The planner also combines the first one with other strategies.

        Raises:
            PlannerError: If an option of the command line is not valid.
        """

    def check(self, others: Sequence[Strategy], account_limit: int, field: str, /) -> None:
        """Check rules that the options' types cannot express. `others` are the strategies that are on at the same time.

        Raises:
            PlannerError: If the strategy cannot be simulated. Its field starts with `field`.
        """

    def set_up(self, setup: Setup, /) -> None:
        """Add the strategy's events and environments to a simulation."""

    def compute_cost(self, usage: Usage, measured: Measurements, prices: Prices, /) -> float:
        """Return the USD that the strategy adds to its part of the cost, for the whole simulated time.

        Raises:
            PlannerError: If a price is missing.
        """

    def render_terraform(self) -> str:
        """Return the attribute of Terraform's variable `warming` that turns the strategy on with these options."""


class StrategyOptions(BaseModel):
    """Base class of a strategy whose fields are its options, as an object in a strategies file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @classmethod
    def file_type(cls) -> Any:
        """Return the class itself: pydantic validates the options by its fields."""
        return cls

    def dump(self) -> Any:
        """Return the options as an object."""
        return self.model_dump(mode="json")


def check_environments(environments: int, *, account_limit: int, field: str) -> None:
    """Check that a strategy does not want more environments than the account may run at a time.

    Raises:
        PlannerError: If it does.
    """
    if environments > account_limit:
        problem = f"{environments} environments are above the account's limit of {account_limit}"
        raise PlannerError(f"{field}.environments", problem)
