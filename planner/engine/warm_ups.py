"""Warm-ups as the service makes them: sets of pings, and the jobs that `submit` assigns to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from heapq import heappush

from planner.engine.outcome import Usage
from planner.engine.pool import OnDemandPool

HOLD_SECONDS = 3.0
WARM_SECONDS, PING_AGE_SECONDS = 300.0, 60.0
MOST_ASSIGNED = 10  # jobs: one batch
RECENT_RUN_SECONDS = 60.0  # for this time after a warm job, no job is assigned to a warm-up

HasRoom = Callable[[], bool]  # returns whether the account's limit allows another invoke


class WarmUps:
    """The latest warm-up, and all pings that are under way."""

    def __init__(
        self,
        pool: OnDemandPool,
        kept: Sequence[list[int]],
        events: list[tuple[float, int]],
        usage: Usage,
        *,
        ping_seconds: float,
        is_assigning_jobs: bool,
    ) -> None:
        self.pinged: set[int] = set()  # environments that are busy with a ping
        self.assigned: dict[int, None] = {}  # jobs in the order of their submits, for the next warm environment
        self.started_at = -math.inf
        self.last_warm_run_at = -math.inf  # of a job in an on-demand environment
        self._pool, self._kept, self._events, self._usage = pool, kept, events, usage
        self._ping_seconds, self._is_assigning_jobs = ping_seconds, is_assigning_jobs
        self._ready_at = -math.inf

    def start_warm_up(self, at: float, count: int, has_room: HasRoom) -> None:
        """Send `count` pings. Each reaches an environment of its own, because warm environments hold their ping."""
        self.started_at = at
        self._usage.warm_ups += 1
        reached = [one for one in [self._ping(at, has_room) for _ in range(count)] if one]
        inits = [init for _, init, load in reached if init + load]
        hold = min(max(inits, default=0.0), HOLD_SECONDS) if count > 1 else 0.0
        for environment, init, load in reached:
            is_cold = init + load > 0
            warm_seconds = 0.0 if is_cold else hold + self._pool.load_again()
            self._usage.ping_seconds += self._ping_seconds + hold * (not is_cold)
            heappush(self._events, (at + init + load + warm_seconds + self._ping_seconds, environment))

    def _ping(self, at: float, has_room: HasRoom) -> tuple[int, float, float] | None:
        """Send a ping. Return the environment that it reaches, with its init and load times. None if it is dropped."""
        if not has_room():
            self._usage.pings_dropped += 1
            return None
        self._usage.pings += 1
        idle = next(filter(None, self._kept), None)
        reached = (idle.pop(), 0.0, 0.0) if idle else self._pool.take(at)
        self.pinged.add(reached[0])
        return reached

    def finish_ping(self, at: float, environment: int) -> list[int]:
        """Record that an environment is warm, and return the jobs that it must run, in order."""
        self.pinged.remove(environment)
        self._ready_at = at
        assigned = list(self.assigned)
        self.assigned.clear()
        return assigned

    def assign(self, at: float, job: int) -> bool:
        """Assign a job that is submitted at `at` to the warm-up. Return False if the job must be queued instead."""
        is_under_way = self.started_at >= at - PING_AGE_SECONDS and self._ready_at < at - WARM_SECONDS
        if not (is_under_way and self._is_assigning_jobs):
            return False
        if self.last_warm_run_at > at - RECENT_RUN_SECONDS or len(self.assigned) >= MOST_ASSIGNED:
            return False
        self._usage.assigned += 1
        self.assigned[job] = None
        return True
