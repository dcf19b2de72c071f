"""Lambda's environments: on-demand ones, that are begun, idle and given up, and provisioned ones."""

from __future__ import annotations

from planner.chance import Chance
from planner.outcome import PROVISIONED, Usage
from planner.strategies import Strategy


class Pool:
    """Those that are not busy. Lambda takes the one that was idle for the shortest time."""

    def __init__(self, strategy: Strategy, chance: Chance, usage: Usage) -> None:
        self.provisioned: list[int] = []  # idle ones; always the same list
        self._size = strategy.provisioned.environments if strategy.provisioned else 0
        self._is_restored = strategy.snapstart
        self._lifetimes, self._colds, self._each_call = chance.lifetimes, chance.colds, chance.each_call
        self._usage = usage
        self._idle: list[tuple[float, float, int]] = []  # since when, until when, environment
        self._opened: list[int] = []  # by the window that is open
        self._leaving: set[int] = set()  # provisioned ones that are gone as soon as they are done
        self._next, self._next_provisioned = 0, PROVISIONED

    def take(self, at: float) -> tuple[int, float, float]:
        """An on-demand environment, and how long its init and its loading take: 0 and 0 when it is warm."""
        idle, usage = self._idle, self._usage
        while idle:
            since, until, environment = idle.pop()
            if until > at:
                usage.wasted_seconds += at - since
                return environment, 0.0, 0.0
            usage.wasted_seconds += until - since
        init, load = next(self._colds)
        usage.cold_starts += 1
        usage.cold_seconds += init + load
        if self._is_restored:
            usage.restores += 1
        else:
            usage.downloads += 1
        self._next += 1
        return self._next - 1, init, load

    def call(self) -> float:
        """What a warm invoke waits for before it runs, when the model is fetched on each."""
        if self._each_call:
            self._usage.downloads += 1
            self._usage.cold_seconds += self._each_call
        return self._each_call

    def release(self, at: float, environment: int) -> None:
        """It is not busy any more."""
        if environment < PROVISIONED:
            self._idle.append((at, at + next(self._lifetimes), environment))
        elif environment in self._leaving:
            self._leaving.remove(environment)
        else:
            self.provisioned.append(environment)

    def open(self) -> None:
        """A window of provisioned concurrency begins."""
        self._opened = list(range(self._next_provisioned, self._next_provisioned + self._size))
        self._next_provisioned += self._size
        self.provisioned += self._opened
        self._usage.downloads += self._size

    def close(self) -> None:
        """It ends: what is idle is gone, what is busy goes when it is done."""
        self._leaving |= set(self._opened) - set(self.provisioned)
        self.provisioned.clear()
        self._opened = []

    def close_accounts(self, end: float) -> None:
        """Count what stood ready until the traffic's end."""
        self._usage.wasted_seconds += sum(max(min(until, end) - since, 0.0) for since, until, _ in self._idle)
