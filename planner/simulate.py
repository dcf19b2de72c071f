"""A month of one strategy, event by event: which environment serves which job, and when.

Time is in seconds since the traffic began. An environment is a number: provisioned ones count from `PROVISIONED`,
a fleet's slots from `FLEET`. What an environment is busy with ends at a time in the heap of events; a heap
entry of a negative number is a job that the janitor looks at then, or the mapping's next step up.

What is modelled:

- Lambda takes the environment that was idle for the shortest time, and gives one up after a lifetime drawn for each
  idle spell (`pool`). A ping is an invoke like any other: it reaches an idle environment or begins a new one.
- The pings of a round spread: a warm environment holds until the cold ones have registered, 3 s at most (`rounds`).
- The mapping runs 5 batches at a time, and 5 more for each second that messages wait, up to its maximum. Messages that
  waited are taken up to ten at a time.
- While a round warms the worker and nothing is warm, a job is left to the environment that gets ready first. When none
  does, because the account had no room for the pings, the janitor queues it.
- Provisioned environments come first, then on-demand ones. A fleet scales on its backlog once a minute (`machines`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush

import numpy as np

from planner.chance import Chance
from planner.machines import Machines
from planner.measurements import Measurements
from planner.outcome import FLEET, PROVISIONED, Limits, Outcome, Usage
from planner.pool import Pool
from planner.rounds import Rounds
from planner.strategies import Strategy, check
from planner.timeline import CLOSE, OPEN, ROUND, SCALE, SCALE_SECONDS, SUBMIT, TOKEN, timeline
from planner.traffic import Traffic
from planner.windows import open_spans

STEP_CONCURRENCY, STEP_SECONDS = 5, 1.0  # of the mapping: 300 more a minute
BATCH = 10
JANITOR_SECONDS = 90.0  # until it looks at a job that nobody has taken: the next tick after a minute

_STEP = -(1 << 60)  # the mapping's next step up, among the events


def simulate(
    traffic: Traffic, strategy: Strategy, *, measured: Measurements, limits: Limits | None = None, seed: int = 1
) -> Outcome:
    """One strategy over the traffic; the same for the same seed.

    Raises:
        PlannerError: when the strategy wants more than the limits allow, or its windows overlap.
    """
    limits = limits or Limits()
    check([strategy], limit=limits.account)
    chance = Chance(traffic, measured, snapstart=strategy.snapstart, seed=seed)
    return _Simulation(traffic, strategy, chance, limits, ping_seconds=measured.ping_seconds).run()


class _Simulation:
    def __init__(
        self, traffic: Traffic, strategy: Strategy, chance: Chance, limits: Limits, *, ping_seconds: float
    ) -> None:
        self._traffic, self._strategy, self._account = traffic, strategy, limits.account
        count = len(traffic.submits)
        self._run_times, self._runs = chance.runs, chance.runs.tolist()
        self._each_call = chance.each_call
        self._begins = [0.0] * count
        self._environments = [0] * count
        self._cold: list[int] = []  # jobs
        self._usage = Usage(seconds=traffic.seconds, jobs=count, tokens=len(traffic.tokens))

        self._events: list[tuple[float, int]] = []
        self._backlog: deque[int] = deque()
        self._pool = Pool(strategy, chance, self._usage)
        self._machines = Machines(strategy.fleet, self._events, self._usage)
        self._rounds = Rounds(strategy, self._pool, self._events, self._usage, ping_seconds=ping_seconds)
        # The same objects, nearer: they are looked at for every job.
        self._provisioned, self._slots, self._pings = self._pool.provisioned, self._machines.slots, self._rounds.pings

        polls = not strategy.fleet or strategy.fleet.beside
        self._most = min(limits.mapping, limits.account) if polls else 0  # batches in flight
        self._first = min(limits.first, self._most)
        self._limit = self._first
        self._in_flight = 0
        self._is_stepping = False

    def run(self) -> Outcome:
        """Every event, in the order of time."""
        handlers = {
            TOKEN: self._token,
            ROUND: self._scheduled_round,
            OPEN: self._open,
            CLOSE: lambda _: self._pool.close(),
            SCALE: self._scale,
        }
        self._machines.begin()
        events, advance, submit = self._events, self._advance, self._submit
        for at, kind, job in timeline(self._traffic, self._strategy):
            if events and events[0][0] <= at:
                advance(at)
            if kind == SUBMIT:
                submit(at, job)
            else:
                handlers[kind](at)
        self._finish()
        return self._outcome()

    def _advance(self, until: float) -> None:
        """Everything that ends or is looked at up to a time."""
        events = self._events
        while events and events[0][0] <= until:
            at, what = heappop(events)
            if what >= 0:
                self._release(at, what)
            elif what == _STEP:
                self._step(at)
            elif -1 - what in self._rounds.left:
                del self._rounds.left[-1 - what]
                self._arrive(at, -1 - what)

    def _finish(self) -> None:
        """After the traffic's end: what is under way is done, what waits is served."""
        at = self._traffic.seconds
        while self._strategy.fleet and self._backlog:
            self._advance(at)
            self._scale(at)
            at = max(at + SCALE_SECONDS, self._events[0][0] if self._events else at)
        self._advance(math.inf)

    # From outside

    def _submit(self, at: float, job: int) -> None:
        """Queue a job; while the worker is being warmed, leave it to that."""
        if self._rounds.leave(at, job):
            heappush(self._events, (at + JANITOR_SECONDS, -1 - job))
        else:
            self._arrive(at, job)

    def _token(self, at: float) -> None:
        self._rounds.token(at, self._has_room)

    def _scheduled_round(self, at: float) -> None:
        if self._strategy.schedule:
            self._usage.scheduled_rounds += 1
            self._rounds.begin(at, self._strategy.schedule.environments, self._has_room)

    def _open(self, at: float) -> None:
        self._pool.open()
        self._drain(at)

    def _scale(self, at: float) -> None:
        self._machines.scale(at, backlog=len(self._backlog))

    # Jobs

    def _arrive(self, at: float, job: int) -> None:
        """A message is there: it starts at once, or waits behind those that wait."""
        if self._backlog or not self._start(at, (job,)):
            self._backlog.append(job)
            self._step_later(at)

    def _drain(self, at: float) -> None:
        backlog = self._backlog
        while backlog and self._can_start():
            self._start(at, [backlog.popleft() for _ in range(min(BATCH, len(backlog)))])

    def _can_start(self) -> bool:
        return bool(self._slots) or (self._in_flight < self._limit and self._has_room())

    def _has_room(self) -> bool:
        return self._in_flight + len(self._pings) < self._account

    def _start(self, at: float, batch: Sequence[int]) -> bool:
        """Give a batch to an environment; False when there may be none."""
        if self._slots:
            self._serve(at, self._slots.pop(), batch)
            return True
        if self._in_flight >= self._limit or self._in_flight + len(self._pings) >= self._account:
            return False
        self._in_flight += 1
        self._usage.batches += 1
        if self._provisioned:
            self._serve(at + self._pool.call() if self._each_call else at, self._provisioned.pop(), batch)
            return True
        environment, init, load = self._pool.take(at)
        if init + load:
            self._cold.extend(batch)
            self._serve(at + init + load, environment, batch)
        else:
            self._rounds.ran_at = at
            self._serve(at + self._pool.call() if self._each_call else at, environment, batch)
        return True

    def _serve(self, at: float, environment: int, batch: Sequence[int]) -> None:
        """Run a batch's jobs one after the other."""
        for job in batch:
            self._begins[job] = at
            self._environments[job] = environment
            at += self._runs[job]
        heappush(self._events, (at, environment))

    def _release(self, at: float, environment: int) -> None:
        """What an environment was busy with is done."""
        if environment in self._pings:
            if left := self._rounds.answered(at, environment):
                self._pings.add(environment)  # it stays in the ping's invoke
                self._serve(at, environment, left)
                return
        elif environment < FLEET:
            self._in_flight -= 1
            if self._limit > self._first and self._in_flight <= self._first and not self._backlog:
                self._limit = self._first
        if environment < FLEET:
            self._pool.release(at, environment)
        else:
            self._machines.release(environment)
        if self._backlog:
            self._drain(at)

    # The mapping's ramp

    def _step_later(self, at: float) -> None:
        if not self._is_stepping and self._limit < self._most:
            self._is_stepping = True
            heappush(self._events, (at + STEP_SECONDS, _STEP))

    def _step(self, at: float) -> None:
        self._is_stepping = False
        if self._backlog:
            self._limit = min(self._limit + STEP_CONCURRENCY, self._most)
            self._drain(at)
        if self._backlog:
            self._step_later(at)

    # The end

    def _outcome(self) -> Outcome:
        traffic, usage = self._traffic, self._usage
        environments = np.array(self._environments, dtype=np.int64)
        cold = np.zeros(len(traffic.submits), dtype=np.bool_)
        cold[self._cold] = True
        runs = self._run_times
        usage.on_demand_seconds = float(runs[environments < PROVISIONED].sum())
        usage.provisioned_seconds = float(runs[(environments >= PROVISIONED) & (environments < FLEET)].sum())
        self._pool.close_accounts(traffic.seconds)
        if provisioned := self._strategy.provisioned:
            spans = open_spans(provisioned.windows, began=traffic.began, seconds=traffic.seconds)
            usage.provisioned_open_seconds = provisioned.environments * sum(end - start for start, end in spans)
            usage.wasted_seconds += max(usage.provisioned_open_seconds - usage.provisioned_seconds, 0.0)
        self._machines.close_accounts(traffic.seconds, busy_seconds=float(runs[environments >= FLEET].sum()))
        return Outcome(traffic.submits, np.array(self._begins), runs, environments, cold, usage)
