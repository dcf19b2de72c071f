"""A fleet's instances, each with a worker per slot, and how they become more and fewer."""

from __future__ import annotations

from heapq import heappush

from planner.outcome import FLEET, Usage
from planner.strategies import Fleet

QUIET_MINUTES = 15


class Machines:
    """Those of a fleet; without one there are none. `events` is where a slot's becoming idle is announced."""

    def __init__(self, fleet: Fleet | None, events: list[tuple[float, int]], usage: Usage) -> None:
        self.slots: list[int] = []  # idle ones; always the same list
        self._fleet, self._events, self._usage = fleet, events, usage
        self._instances: dict[int, float] = {}  # by their first slot: since when they cost
        self._leaving: set[int] = set()  # slots that are gone as soon as they are done
        self._quiet_minutes = 0
        self._next_slot = FLEET

    def begin(self) -> None:
        """Those that are always there, ready at once."""
        for _ in range(self._fleet.min if self._fleet else 0):
            self._add(0.0, boot_seconds=0.0)

    def release(self, slot: int) -> None:
        """It is not busy any more."""
        if slot in self._leaving:
            self._leaving.remove(slot)
        else:
            self.slots.append(slot)

    def scale(self, at: float, *, backlog: int) -> None:
        """One instance more when the backlog is too much for those that are there; one less after a quiet time."""
        fleet = self._fleet
        if fleet is None:
            return
        count = len(self._instances)
        self._quiet_minutes = 0 if backlog else self._quiet_minutes + 1
        if backlog > fleet.backlog_per_instance * count and count < fleet.max:
            self._add(at, boot_seconds=fleet.boot_seconds)
        elif self._quiet_minutes >= QUIET_MINUTES and count > fleet.min:
            self._quiet_minutes = 0
            self._remove(at)

    def _add(self, at: float, *, boot_seconds: float) -> None:
        if self._fleet is None:
            return
        first, self._next_slot = self._next_slot, self._next_slot + self._fleet.slots
        self._instances[first] = at
        self._usage.downloads += 1
        for slot in range(first, self._next_slot):
            heappush(self._events, (at + boot_seconds, slot))

    def _remove(self, at: float) -> None:
        """The newest; what it is busy with is drained."""
        if self._fleet is None:
            return
        first, since = self._instances.popitem()
        self._usage.instance_seconds += at - since
        slots = set(range(first, first + self._fleet.slots))
        self._leaving |= slots - set(self.slots)
        self.slots[:] = [slot for slot in self.slots if slot not in slots]

    def close_accounts(self, end: float, *, busy_seconds: float) -> None:
        """Count what stood ready until the traffic's end; its slots were busy for so long."""
        usage = self._usage
        usage.instance_seconds += sum(end - since for since in self._instances.values() if since < end)
        if self._fleet:
            usage.wasted_seconds += max(usage.instance_seconds * self._fleet.slots - busy_seconds, 0.0)
