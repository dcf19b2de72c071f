"""Warm-up rounds, as the table keeps them, and what `submit` makes of the latest."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappush

from planner.outcome import Usage
from planner.pool import Pool
from planner.strategies import OnToken

HOLD_SECONDS = 3.0
WARM_SECONDS, PING_AGE_SECONDS, DELAY_LIMIT = 300.0, 60.0, 30
TYPICAL_READY_SECONDS = 10.0  # what is told until a round has measured its own


HasRoom = Callable[[], bool]  # whether the account takes another invoke


class Rounds:
    """The latest round, and the pings that are under way."""

    def __init__(
        self,
        on_token: OnToken | None,
        pool: Pool,
        events: list[tuple[float, int]],
        usage: Usage,
        *,
        ping_seconds: float,
    ) -> None:
        self.pings: dict[int, float | None] = {}  # busy with a ping: when its round began if it was cold
        self._on_token, self._pool, self._events, self._usage = on_token, pool, events, usage
        self._ping_seconds = ping_seconds
        self._began_at = self._ready_at = -math.inf
        self._ready_seconds = TYPICAL_READY_SECONDS
        self._races_until = -math.inf  # until then a job may come before the worker is ready

    def token(self, at: float, has_room: HasRoom) -> None:
        """Begin a round if tokens do, and the last one is older than the cooldown."""
        if self._on_token and at - self._began_at >= self._on_token.cooldown_seconds:
            self.begin(at, self._on_token.environments, has_room)

    def begin(self, at: float, count: int, has_room: HasRoom) -> None:
        """Each ping reaches an environment of its own, because those that are warm hold meanwhile."""
        self._began_at = at
        if self._on_token and self._on_token.closes_race:
            self._races_until = at + PING_AGE_SECONDS
        self._usage.rounds += 1
        reached = [self._reach(at, has_room) for _ in range(count)]
        inits = [init for _, init, load in filter(None, reached) if init + load]
        hold = min(max(inits, default=0.0), HOLD_SECONDS) if count > 1 else 0.0
        for environment, init, load in filter(None, reached):
            is_cold = init + load > 0
            warm_seconds = 0.0 if is_cold else hold + self._pool.call()
            self._usage.ping_seconds += self._ping_seconds + hold * (not is_cold)
            self.pings[environment] = at if is_cold else None
            heappush(self._events, (at + init + load + warm_seconds + self._ping_seconds, environment))

    def _reach(self, at: float, has_room: HasRoom) -> tuple[int, float, float] | None:
        """An environment for a ping: a provisioned one, an idle one, a new one; None when the account is full."""
        if not has_room():
            self._usage.pings_dropped += 1
            return None
        self._usage.pings += 1
        provisioned = self._pool.provisioned
        reached = (provisioned.pop(), 0.0, 0.0) if provisioned else self._pool.take(at)
        self.pings[reached[0]] = None
        return reached

    def answered(self, at: float, environment: int) -> None:
        """An environment is done with its ping."""
        began_at = self.pings.pop(environment)
        self._ready_at = at
        if began_at is not None:
            self._ready_seconds = at - began_at

    def hides_until(self, at: float) -> float:
        """Until when a job that is sent at `at` is hidden: until the worker should be ready, or not at all (`at`)."""
        if at > self._races_until or self._ready_at >= at - WARM_SECONDS:
            return at
        self._usage.delayed += 1
        left = max(math.ceil(self._began_at + self._ready_seconds - at), 1)
        return at + min(left, DELAY_LIMIT)
