"""The strategy EC2 fleet: instances poll the queue, and more of them do while many jobs wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from pydantic import Field, model_validator

from planner.engine.outcome import Usage
from planner.engine.setup import Setup
from planner.engine.simulation import Simulation
from planner.errors import PlannerError
from planner.measurements import Measurements
from planner.prices import Price, PriceFields, Prices
from planner.strategies.protocol import CommandOption, Parameters, Strategy, StrategyOptions
from planner.terraform import quote

QUIET_MINUTES = 15
POLLS_A_SECOND = 1  # of a slot: when there is nothing to do, it polls both queues every two seconds
INSTANCE_SECONDS = "instance_seconds"


class FleetPrices(PriceFields):
    """The prices of an hour of each instance type."""

    instance_hour: dict[str, Price]


class Fleet(StrategyOptions):
    """Instances that poll the queue, each with one worker per slot."""

    key: ClassVar[str] = "fleet"
    title: ClassVar[str] = "EC2 fleet"
    summary: ClassVar[str] = "EC2 instances poll the queue, more of them while many jobs wait"
    cost_part: ClassVar[str] = "fleet"
    prices: ClassVar[type[PriceFields] | None] = FleetPrices
    command_options: ClassVar[tuple[CommandOption, ...]] = ()
    terraform_off: ClassVar[str] = ""

    min: int = Field(default=1, ge=0, le=100)
    max: int = Field(default=4, ge=1, le=100)
    instance_type: str = "c7g.large"
    slots: int = Field(default=2, ge=1, le=256)
    boot_seconds: float = Field(default=90, ge=0, le=3_600, allow_inf_nan=False)
    backlog_per_instance: int = Field(default=20, ge=1)
    beside: bool = False  # True: Lambda takes jobs from the queue, too

    @model_validator(mode="after")
    def _check_bounds(self) -> Fleet:
        if self.max < self.min:
            raise ValueError(f"max: {self.max} is less than min, {self.min}")
        if self.min == 0 and not self.beside:
            raise ValueError("min: without an instance and without `beside`, nothing polls the queue")
        return self

    @classmethod
    def build_examples(cls, _: Parameters) -> dict[str, Self]:
        """Return a fleet with the default options."""
        return {cls.title: cls()}

    def check(self, _others: Sequence[Strategy], _account_limit: int, _field: str) -> None:
        """Accept all options: their own bounds suffice, and instances do not count against Lambda's limits."""

    def set_up(self, setup: Setup) -> None:
        """Add the instances, which are scaled once a minute."""
        instances = _Instances(self, setup.usage)
        setup.add_capacity(instances)
        setup.add_minute_handler(instances.scale)
        if not self.beside:
            setup.is_lambda_polling = False

    def compute_cost(self, usage: Usage, _: Measurements, prices: Prices) -> float:
        """Return the cost of the instances and of their polls.

        Raises:
            PlannerError: If the prices lack the instance type.
        """
        hours = FleetPrices.select_from(prices).instance_hour
        if self.instance_type not in hours:
            raise PlannerError("fleet.instance_type", f"the prices have no {self.instance_type!r}")
        seconds = usage.amounts[INSTANCE_SECONDS]
        polls = seconds * self.slots * POLLS_A_SECOND
        return seconds / 3600 * hours[self.instance_type] + polls * prices.sqs_request

    def render_terraform(self) -> str:
        """Return the attribute `fleet`, with places to fill in the network's ids."""
        return "\n".join(
            [
                "fleet = {",
                f"    min = {self.min}, max = {self.max}, instance_type = {quote(self.instance_type)}",
                f"    backlog_per_instance = {self.backlog_per_instance}",
                '    subnet_ids = ["subnet-…"], security_group_ids = ["sg-…"]',
                "  }",
            ]
        )


class _Instances:
    """The instances of a fleet, and their slots. Each slot is an environment that runs one batch at a time."""

    def __init__(self, fleet: Fleet, usage: Usage) -> None:
        self.idle: list[int] = []
        self.is_lambda = False
        self._fleet, self._usage = fleet, usage
        self._instances: dict[int, float] = {}  # first slot → the time from which the instance costs
        self._leaving: set[int] = set()  # slots that go away when they have finished their jobs
        self._quiet_minutes = 0
        self._next_slot = 0

    def start(self, simulation: Simulation, first_number: int) -> None:
        """Add the minimum of instances, ready at once."""
        self._next_slot = first_number
        for _ in range(self._fleet.min):
            self._add(simulation, 0.0, boot_seconds=0.0)

    def release(self, _: float, slot: int) -> None:
        """Take back a slot, unless its instance is being removed."""
        if slot in self._leaving:
            self._leaving.remove(slot)
        else:
            self.idle.append(slot)

    def scale(self, simulation: Simulation, at: float) -> None:
        """Add an instance if the backlog is too large for those that run. Remove one after a quiet time."""
        count, backlog = len(self._instances), simulation.backlog_size
        self._quiet_minutes = 0 if backlog else self._quiet_minutes + 1
        if backlog > self._fleet.backlog_per_instance * count and count < self._fleet.max:
            self._add(simulation, at, boot_seconds=self._fleet.boot_seconds)
        elif self._quiet_minutes >= QUIET_MINUTES and count > self._fleet.min:
            self._quiet_minutes = 0
            self._remove_newest(at)

    def _add(self, simulation: Simulation, at: float, *, boot_seconds: float) -> None:
        first, self._next_slot = self._next_slot, self._next_slot + self._fleet.slots
        self._instances[first] = at
        self._usage.downloads += 1
        for slot in range(first, self._next_slot):
            simulation.release_at(at + boot_seconds, slot)

    def _remove_newest(self, at: float) -> None:
        """Remove the newest instance. Its busy slots finish their jobs first."""
        first, since = self._instances.popitem()
        self._usage.amounts[INSTANCE_SECONDS] += at - since
        slots = set(range(first, first + self._fleet.slots))
        self._leaving |= slots - set(self.idle)
        self.idle[:] = [slot for slot in self.idle if slot not in slots]

    def finish(self, end: float, *, busy_seconds: float) -> None:
        """Add the instances' time until the traffic's end to the usage."""
        self._usage.amounts[INSTANCE_SECONDS] += sum(end - since for since in self._instances.values() if since < end)
        ready_seconds = self._usage.amounts[INSTANCE_SECONDS] * self._fleet.slots
        self._usage.wasted_seconds += max(ready_seconds - busy_seconds, 0.0)
