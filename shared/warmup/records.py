"""The records of warm-ups: one item per worker version, the pings, and how warm the worker is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.jobs.message import JobMessage
from shared.records import Record, RequestBody

ENVIRONMENTS_LIMIT = 100  # environments of one warm-up
WARM_MS = 5 * 60_000  # time for which Lambda is assumed to keep an idle environment
PING_AGE_MS = 60_000  # time after which Lambda drops a ping that it could not place
TYPICAL_READY_MS = 10_000  # assumed until a warm-up has measured it
OVERDUE_SECONDS = 0.5  # promised when an environment should be ready already


class Ping(Record):
    """The payload of an asynchronous invocation that warms one environment. It belongs to a warm-up.

    `key` is the id of the item that records the warm-up. `environments` is the number of the warm-up's pings.
    """

    key: str
    warm_up: str
    started_at: int
    environments: int = 1


class WarmUpRequest(RequestBody):
    """The event with which a schedule asks the janitor to warm so many environments."""

    warm_up: int = Field(ge=1, le=ENVIRONMENTS_LIMIT)


class Warmth(Record):
    """An estimate of how warm the worker is, as the token response shows it.

    `ready_in_seconds` has one decimal. It is 0 when the worker is warm, and None when no warm-up is in progress.
    """

    state: Literal["cold", "warming", "warm"]
    ready_in_seconds: float | None
    environments: int


class Environment(Record):
    """A Lambda execution environment, as its last ping left it. Times in milliseconds."""

    ready_at: int
    cold: bool  # the ping loaded the model
    load_ms: int
    init_ms: int = 0


class WarmUp(Record):
    """The latest warm-up of one worker version: a set of pings that were sent together."""

    key: str = Field(alias="id")
    warm_up: str = ""  # random id
    started_at: int = 0
    wanted: int = 0  # number of pings
    arrived: dict[str, int] = Field(default_factory=dict)  # time of arrival by the id of the environment
    ready_ms: int = TYPICAL_READY_MS  # time from the ping to ready of the last cold environment
    environments: dict[str, Environment] = Field(default_factory=dict)  # environments that were ready lately
    assigned: list[JobMessage] = Field(default_factory=list)  # jobs for the first environment that becomes ready

    @property
    def has_all_arrived(self) -> bool:
        """Return whether the pings have reached as many environments as they should."""
        return len(self.arrived) >= self.wanted

    def ping(self) -> Ping:
        """Return the ping of this warm-up."""
        return Ping(key=self.key, warm_up=self.warm_up, started_at=self.started_at, environments=self.wanted)

    def warmth(self, now: int) -> Warmth:
        """Return the estimate at `now` (ms) from the times that the environments recorded."""
        warm = sum(environment.ready_at >= now - WARM_MS for environment in self.environments.values())
        if warm:
            return Warmth(state="warm", ready_in_seconds=0, environments=warm)
        if self.started_at < now - PING_AGE_MS:
            return Warmth(state="cold", ready_in_seconds=None, environments=0)
        left = round((self.started_at + self.ready_ms - now) / 1000, 1)
        return Warmth(state="warming", ready_in_seconds=max(left, OVERDUE_SECONDS), environments=0)
