"""The event loop of a simulation: which environment runs which job, and when.

Times are in seconds since the traffic began. The heap `_events` holds pairs of a time and a number. A number of 0 or
more is an environment that finishes its work then. A negative number is a job that the janitor checks then, or the
next step of the mapping's concurrency.

The engine models:

- Lambda takes the environment that was idle for the shortest time. It ends an environment after a lifetime that is
  drawn for each idle time (`pool`). A ping is an invoke like any other: it reaches an idle environment or starts a new
  one.
- The pings of a warm-up spread: a warm environment holds its ping until the cold ones have registered, for 3 s at most
  (`warm_ups`).
- The event source mapping runs 5 batches at a time, and 5 more for each second that messages wait, up to its maximum.
  Waiting messages are taken up to ten at a time.
- While a warm-up is under way and no environment is warm, jobs are assigned to the warm-up, and the first environment
  that becomes warm runs them. If the account had no room for the pings, the janitor queues the jobs.
- Environments that a strategy keeps take jobs first, those outside Lambda before those of Lambda, then the on-demand
  environments.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush

import numpy as np

from planner.engine.draws import Draws
from planner.engine.outcome import NUMBER_BITS, Limits, Outcome
from planner.engine.pool import OnDemandPool
from planner.engine.setup import MINUTE, EnvironmentGroup, EventOrder, Setup
from planner.engine.timeline import merge_events
from planner.engine.warm_ups import WarmUps

STEP_CONCURRENCY, STEP_SECONDS = 5, 1.0  # of the mapping: 300 more a minute
BATCH = 10
JANITOR_SECONDS = 90.0  # from a submit to the janitor's check: its next tick after a minute

_STEP = -(1 << 60)  # marks the mapping's next step in the heap of events


class Simulation:
    """One run of the traffic under some strategies. Call `run` once."""

    def __init__(self, setup: Setup, draws: Draws, limits: Limits, *, ping_seconds: float) -> None:
        count = len(setup.traffic.submits)
        self.usage = setup.usage
        self._setup, self._account = setup, limits.account
        self._run_times, self._runs = draws.runs, draws.runs.tolist()
        self._load_per_invoke = draws.load_per_invoke
        self._begins = [0.0] * count
        self._environments = [0] * count
        self._cold: list[int] = []  # jobs

        self._events: list[tuple[float, int]] = []
        self._backlog: deque[int] = deque()
        self._pool = OnDemandPool(draws, self.usage, has_snapshots=setup.has_snapshots)
        self._capacities = tuple(setup.capacities)
        # The upper bits of an environment's number are the index of its group.
        self._groups: tuple[EnvironmentGroup, ...] = (self._pool, *self._capacities)
        # The loop below looks at these lists for each job, so it keeps references to them.
        self._outside = tuple(one.idle for one in self._capacities if not one.is_lambda)
        self._kept = tuple(one.idle for one in self._capacities if one.is_lambda)
        self.warm_ups = WarmUps(
            self._pool,
            self._kept,
            self._events,
            self.usage,
            ping_seconds=ping_seconds,
            is_assigning_jobs=setup.is_assigning_jobs,
        )
        self._pinged = self.warm_ups.pinged

        self._most = min(limits.mapping, limits.account) if setup.is_lambda_polling else 0  # batches in flight
        self._first = min(limits.first, self._most)
        self._limit = self._first
        self._in_flight = 0
        self._is_stepping = False

    def run(self) -> Outcome:
        """Return the outcome after all events, in the order of time."""
        for number, capacity in enumerate(self._capacities, start=1):
            capacity.start(self, number << NUMBER_BITS)
        sources = self._setup.sources
        submits = (EventOrder.SUBMIT, self._setup.traffic.submits)
        events, advance, submit = self._events, self._advance, self._submit
        for at, source, index in merge_events([submits, *((one.order, one.times) for one in sources)]):
            if events and events[0][0] <= at:
                advance(at)
            if source:
                sources[source - 1].handle(self, at)
            else:
                submit(at, index)
        self._finish()
        return self._build_outcome()

    # Called by strategies

    @property
    def backlog_size(self) -> int:
        """Return the number of jobs that wait in the queue."""
        return len(self._backlog)

    def start_warm_up(self, at: float, count: int) -> None:
        """Send `count` pings at once."""
        self.warm_ups.start_warm_up(at, count, self._has_room)

    def release_at(self, at: float, environment: int) -> None:
        """Make an environment idle at a later time, for example when its instance has booted."""
        heappush(self._events, (at, environment))

    def serve_backlog(self, at: float) -> None:
        """Give waiting jobs to environments until none is left, or no environment can take one."""
        backlog = self._backlog
        while backlog and self._can_start():
            self._start(at, [backlog.popleft() for _ in range(min(BATCH, len(backlog)))])

    # Time

    def _advance(self, until: float) -> None:
        """Handle the events of the heap up to a time."""
        events = self._events
        while events and events[0][0] <= until:
            at, entry = heappop(events)
            if entry >= 0:
                self._release(at, entry)
            elif entry == _STEP:
                self._step(at)
            elif -1 - entry in self.warm_ups.assigned:
                del self.warm_ups.assigned[-1 - entry]
                self._arrive(at, -1 - entry)

    def _finish(self) -> None:
        """Finish the work that is under way or waits when the traffic ends."""
        at = self._setup.traffic.seconds
        while self._setup.minute_handlers and self._backlog:
            self._advance(at)
            for handle in self._setup.minute_handlers:
                handle(self, at)
            at = max(at + MINUTE, self._events[0][0] if self._events else at)
        self._advance(math.inf)

    # Jobs

    def _submit(self, at: float, job: int) -> None:
        """Assign a job to the warm-up that is under way, or queue the job."""
        if self.warm_ups.assign(at, job):
            heappush(self._events, (at + JANITOR_SECONDS, -1 - job))
        else:
            self._arrive(at, job)

    def _arrive(self, at: float, job: int) -> None:
        """Start a queued job at once, or let it wait behind the others."""
        if self._backlog or not self._start(at, (job,)):
            self._backlog.append(job)
            self._step_later(at)

    def _can_start(self) -> bool:
        return any(self._outside) or (self._in_flight < self._limit and self._has_room())

    def _has_room(self) -> bool:
        return self._in_flight + len(self._pinged) < self._account

    def _start(self, at: float, batch: Sequence[int]) -> bool:
        """Give a batch to an environment. Return False if the limits allow none."""
        for idle in self._outside:
            if idle:
                self._run_batch(at, idle.pop(), batch)
                return True
        if self._in_flight >= self._limit or self._in_flight + len(self._pinged) >= self._account:
            return False
        self._in_flight += 1
        self.usage.batches += 1
        self._start_on_lambda(at, batch)
        return True

    def _start_on_lambda(self, at: float, batch: Sequence[int]) -> None:
        """Run a batch in an environment that a strategy keeps, or else in an on-demand one."""
        for idle in self._kept:
            if idle:
                environment, init, load = idle.pop(), 0.0, 0.0
                break
        else:
            environment, init, load = self._pool.take(at)
            if not init + load:
                self.warm_ups.last_warm_run_at = at
        if init + load:
            self._cold.extend(batch)
        elif self._load_per_invoke:
            at += self._pool.load_again()
        self._run_batch(at + init + load, environment, batch)

    def _run_batch(self, at: float, environment: int, batch: Sequence[int]) -> None:
        """Run the jobs of a batch one after the other."""
        for job in batch:
            self._begins[job] = at
            self._environments[job] = environment
            at += self._runs[job]
        heappush(self._events, (at, environment))

    def _release(self, at: float, environment: int) -> None:
        """Take back an environment that has finished its work, and serve the jobs that wait."""
        group = self._groups[environment >> NUMBER_BITS]
        if environment in self._pinged:
            if assigned := self.warm_ups.finish_ping(at, environment):
                self._pinged.add(environment)  # it runs the jobs in the invoke of its ping
                self._run_batch(at, environment, assigned)
                return
        elif group.is_lambda:
            self._in_flight -= 1
            if self._limit > self._first:
                self._shrink_limit()
        group.release(at, environment)
        if self._backlog:
            self.serve_backlog(at)

    # The concurrency of the event source mapping

    def _shrink_limit(self) -> None:
        if self._in_flight <= self._first and not self._backlog:
            self._limit = self._first

    def _step_later(self, at: float) -> None:
        if not self._is_stepping and self._limit < self._most:
            self._is_stepping = True
            heappush(self._events, (at + STEP_SECONDS, _STEP))

    def _step(self, at: float) -> None:
        self._is_stepping = False
        if self._backlog:
            self._limit = min(self._limit + STEP_CONCURRENCY, self._most)
            self.serve_backlog(at)
        if self._backlog:
            self._step_later(at)

    # The end

    def _build_outcome(self) -> Outcome:
        traffic, runs = self._setup.traffic, self._run_times
        environments = np.array(self._environments, dtype=np.int64)
        numbers = environments >> NUMBER_BITS
        cold = np.zeros(len(environments), dtype=np.bool_)
        cold[self._cold] = True
        for number, group in enumerate(self._groups):
            group.finish(traffic.seconds, busy_seconds=float(runs[numbers == number].sum()))
        is_lambda = np.array([group.is_lambda for group in self._groups])
        return Outcome(
            traffic.submits, np.array(self._begins), runs, environments, cold, is_lambda[numbers], self.usage
        )
