"""Warm-up rounds, as the table keeps them, and what `submit` makes of the latest."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappush

from planner.outcome import Usage
from planner.pool import Pool
from planner.strategies import Strategy

HOLD_SECONDS = 3.0
WARM_SECONDS, PING_AGE_SECONDS = 300.0, 60.0
LEFT_LIMIT = 10  # jobs: a batch
PACE_SECONDS = 60.0  # where a warm job ran so recently, the next is not left to anyone


HasRoom = Callable[[], bool]  # whether the account takes another invoke


class Rounds:
    """The latest round, and the pings that are under way."""

    def __init__(
        self,
        strategy: Strategy,
        pool: Pool,
        events: list[tuple[float, int]],
        usage: Usage,
        *,
        ping_seconds: float,
    ) -> None:
        self.pings: set[int] = set()  # busy with a ping
        self.left: dict[int, None] = {}  # jobs, in order, to the environment that gets ready next
        self.ran_at = -math.inf  # a job, in an environment that was warm
        self._on_token, self._pool, self._events, self._usage = strategy.on_token, pool, events, usage
        # Others can take a job that is sent while the worker warms, where there are such.
        others = strategy.provisioned or strategy.fleet
        self._leaves = not others and (strategy.on_token is None or strategy.on_token.closes_race)
        self._ping_seconds = ping_seconds
        self._began_at = self._ready_at = -math.inf

    def token(self, at: float, has_room: HasRoom) -> None:
        """Begin a round if tokens do, and the last one is older than the cooldown."""
        if self._on_token and at - self._began_at >= self._on_token.cooldown_seconds:
            self.begin(at, self._on_token.environments, has_room)

    def begin(self, at: float, count: int, has_room: HasRoom) -> None:
        """Each ping reaches an environment of its own, because those that are warm hold meanwhile."""
        self._began_at = at
        self._usage.rounds += 1
        reached = [self._reach(at, has_room) for _ in range(count)]
        inits = [init for _, init, load in filter(None, reached) if init + load]
        hold = min(max(inits, default=0.0), HOLD_SECONDS) if count > 1 else 0.0
        for environment, init, load in filter(None, reached):
            is_cold = init + load > 0
            warm_seconds = 0.0 if is_cold else hold + self._pool.call()
            self._usage.ping_seconds += self._ping_seconds + hold * (not is_cold)
            heappush(self._events, (at + init + load + warm_seconds + self._ping_seconds, environment))

    def _reach(self, at: float, has_room: HasRoom) -> tuple[int, float, float] | None:
        """An environment for a ping: a provisioned one, an idle one, a new one; None when the account is full."""
        if not has_room():
            self._usage.pings_dropped += 1
            return None
        self._usage.pings += 1
        provisioned = self._pool.provisioned
        reached = (provisioned.pop(), 0.0, 0.0) if provisioned else self._pool.take(at)
        self.pings.add(reached[0])
        return reached

    def answered(self, at: float, environment: int) -> list[int]:
        """An environment is done with its ping; the jobs that were left to it."""
        self.pings.remove(environment)
        self._ready_at = at
        left = list(self.left)
        self.left.clear()
        return left

    def leave(self, at: float, job: int) -> bool:
        """Leave a job that is sent at `at` to the environment that is warming up, if there should be one."""
        is_warming = self._began_at >= at - PING_AGE_SECONDS and self._ready_at < at - WARM_SECONDS
        if not (self._leaves and is_warming) or self.ran_at > at - PACE_SECONDS or len(self.left) >= LEFT_LIMIT:
            return False
        self._usage.delayed += 1
        self.left[job] = None
        return True
