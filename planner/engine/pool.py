"""Lambda's on-demand environments."""

from __future__ import annotations

from planner.engine.draws import Draws
from planner.engine.outcome import Usage


class OnDemandPool:
    """The idle on-demand environments. Lambda takes the one that was idle for the shortest time."""

    is_lambda: bool = True

    def __init__(self, draws: Draws, usage: Usage, *, has_snapshots: bool) -> None:
        self._lifetimes, self._cold_starts = draws.lifetimes, draws.cold_starts
        self._load_per_invoke = draws.load_per_invoke
        self._usage, self._has_snapshots = usage, has_snapshots
        self._idle: list[tuple[float, float, int]] = []  # idle since, idle until, number
        self._next = 0

    def take(self, at: float) -> tuple[int, float, float]:
        """Return an environment, and the seconds of its init and of loading the model: 0 and 0 if it is warm."""
        idle, usage = self._idle, self._usage
        while idle:
            since, until, environment = idle.pop()
            if until > at:
                usage.wasted_seconds += at - since
                return environment, 0.0, 0.0
            usage.wasted_seconds += until - since
        init, load = next(self._cold_starts)
        usage.cold_starts += 1
        usage.cold_seconds += init + load
        usage.downloads += not self._has_snapshots
        self._next += 1
        return self._next - 1, init, load

    def load_again(self) -> float:
        """Return the seconds that a warm invoke waits for the model: 0, unless each invoke fetches it again."""
        if self._load_per_invoke:
            self._usage.downloads += 1
            self._usage.cold_seconds += self._load_per_invoke
        return self._load_per_invoke

    def release(self, at: float, environment: int) -> None:
        """Take back an environment that has finished its work, and draw how long it lives if it stays idle."""
        self._idle.append((at, at + next(self._lifetimes), environment))

    def finish(self, end: float, *, busy_seconds: float) -> None:
        """Add the time of the jobs, and the time that environments were idle until the traffic's end, to the usage."""
        self._usage.on_demand_seconds = busy_seconds
        self._usage.wasted_seconds += sum(max(min(until, end) - since, 0.0) for since, until, _ in self._idle)
