"""The strategies of warming, each off or on by itself, in the names of Terraform's variable `warming`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from planner import documents
from planner.errors import PlannerError
from planner.windows import Window, refuse_overlaps

Name = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,100}$")]  # one line of a table


class _Switch(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class OnToken(_Switch):
    """D: a token begins a round of pings, at most one per cooldown; jobs wait for a warm-up that is under way."""

    environments: int = Field(default=1, ge=1)
    cooldown_seconds: float = Field(default=120, ge=0, allow_inf_nan=False)
    closes_race: bool = True  # a job that is sent meanwhile is left to the environment that is warming up


class Schedule(_Switch):
    """B: rounds of pings, one every so many seconds while a window is open (always, without windows)."""

    environments: int = Field(default=1, ge=1)
    every_seconds: float = Field(default=240, ge=1, allow_inf_nan=False)
    windows: tuple[Window, ...] = ()


class Provisioned(_Switch):
    """A: environments that are ready while a window is open; without windows, around the clock."""

    environments: int = Field(default=1, ge=1)
    windows: tuple[Window, ...] = ()


class Fleet(_Switch):
    """C: instances that poll the queue, each with a worker per slot; with `beside`, the Lambda mapping polls, too."""

    min: int = Field(default=1, ge=0, le=100)
    max: int = Field(default=4, ge=1, le=100)
    instance_type: str = "c7g.large"
    slots: int = Field(default=2, ge=1, le=256)
    boot_seconds: float = Field(default=90, ge=0, le=3_600, allow_inf_nan=False)
    backlog_per_instance: int = Field(default=20, ge=1)
    beside: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Fleet:
        if self.max < self.min:
            raise ValueError(f"max: {self.max} is less than min, {self.min}")
        if self.min == 0 and not self.beside:
            raise ValueError("min: without an instance and without `beside` nothing would poll the queue")
        return self


class Strategy(_Switch):
    """One deployment's switches."""

    name: Name
    on_token: OnToken | None = None
    schedule: Schedule | None = None
    provisioned: Provisioned | None = None
    fleet: Fleet | None = None
    snapstart: bool = False

    @model_validator(mode="after")
    def _compatible(self) -> Strategy:
        if self.snapstart and self.provisioned:
            raise ValueError("snapstart: Lambda does not allow it together with provisioned concurrency")
        return self


def defaults(*, environments: int, windows: tuple[Window, ...], every_seconds: float) -> list[Strategy]:
    """The strategies one by one, and what goes well together; `environments` is for those that must guess a number."""
    on_token = OnToken()
    schedule = Schedule(environments=environments, every_seconds=every_seconds, windows=windows)
    provisioned = Provisioned(environments=environments, windows=windows)
    return [
        Strategy(name="none"),
        Strategy(name="D on token", on_token=on_token),
        Strategy(name="B schedule", schedule=schedule),
        Strategy(name="A provisioned", provisioned=provisioned),
        Strategy(name="SnapStart", snapstart=True),
        Strategy(name="C fleet", fleet=Fleet()),
        Strategy(name="always on", provisioned=Provisioned(environments=environments)),
        Strategy(name="D + B", on_token=on_token, schedule=schedule),
        Strategy(name="D + SnapStart", on_token=on_token, snapstart=True),
        Strategy(name="D + A", on_token=on_token, provisioned=provisioned),
    ]


def read(path: Path) -> list[Strategy]:
    """Strategies from a JSON file: a list of objects with a `name` and the switches that are on.

    Raises:
        PlannerError: when it cannot be read or used.
    """
    listed = documents.read(path, TypeAdapter(Annotated[list[Strategy], Field(min_length=1)]), field="strategies")
    name, count = Counter(one.name for one in listed).most_common(1)[0]
    if count > 1:
        raise PlannerError("strategies", f"{count} of them have the name {name!r}")
    return listed


def check(strategies: Sequence[Strategy], *, limit: int) -> None:
    """Refuse windows that overlap, and more environments than the account may run at a time.

    Raises:
        PlannerError: when there are.
    """
    for strategy in strategies:
        for switch in ("on_token", "schedule", "provisioned"):
            chosen = getattr(strategy, switch)
            if chosen and chosen.environments > limit:
                problem = f"{chosen.environments} environments are above the account's limit of {limit}"
                raise PlannerError(f"{strategy.name}, {switch}.environments", problem)
            if windows := getattr(chosen, "windows", ()):
                refuse_overlaps(windows, field=f"{strategy.name}, {switch}.windows")
