"""A month of one strategy, event by event: which environment serves which job, and when.

Time is in seconds since the traffic began. An environment is a number: provisioned ones count from `PROVISIONED`,
a fleet's slots from `FLEET`. What an environment is busy with ends at a time in the heap of events; a heap
entry of a negative number is a job that a delayed message hides until then, or the mapping's next step up.

What is modelled:

- Lambda takes the environment that was idle for the shortest time, and gives one up after a lifetime drawn for each
  idle spell. A ping is an invoke like any other: it reaches an idle environment or begins a new one.
- The pings of a round spread: a warm environment holds until the cold ones have registered, 3 s at most.
- The mapping runs 5 batches at a time, and 5 more for each second that messages wait, up to its maximum. Messages that
  waited are taken up to ten at a time.
- While a round warms the worker and nothing is warm, `submit` hides the message until the round should be ready.
- Provisioned environments come first, then on-demand ones. A fleet scales on its backlog once a minute.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from planner.measurements import Measurements
from planner.strategies import Strategy, check_limits
from planner.traffic import Traffic
from planner.windows import Window, open_spans

PROVISIONED, FLEET = 1 << 40, 1 << 41
FIRST_CONCURRENCY, STEP_CONCURRENCY, STEP_SECONDS = 5, 5, 1.0  # 300 more a minute
BATCH = 10
HOLD_SECONDS = 3.0
WARM_SECONDS, PING_AGE_SECONDS, DELAY_LIMIT = 300.0, 60.0, 30
TYPICAL_READY_SECONDS = 10.0  # what is told until a round has measured its own
SCALE_SECONDS, QUIET_MINUTES = 60.0, 15
DRAWS = 1 << 14

_STEP = -(1 << 60)  # the mapping's next step up, among the events
_SUBMIT, _TOKEN, _ROUND, _OPEN, _CLOSE, _SCALE = 5, 4, 3, 1, 0, 2  # in this order at the same time


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Environments at a time: of the account, and of the queue's mapping."""

    account: int = 1_000
    mapping: int = 50
    first: int = FIRST_CONCURRENCY  # of the mapping, before it steps up


@dataclass(kw_only=True)
class Usage:
    """What was used, by the whole simulated time; seconds are of one environment each."""

    seconds: float
    jobs: int
    tokens: int
    pings: int = 0
    pings_dropped: int = 0
    rounds: int = 0
    scheduled_rounds: int = 0  # of those
    batches: int = 0  # of jobs, that Lambda ran
    cold_starts: int = 0  # on demand, by jobs and by pings
    cold_seconds: float = 0.0
    ping_seconds: float = 0.0
    on_demand_seconds: float = 0.0  # of running jobs
    provisioned_seconds: float = 0.0
    provisioned_open_seconds: float = 0.0
    instance_seconds: float = 0.0
    restores: int = 0
    downloads: int = 0
    wasted_seconds: float = 0.0  # warm, and no job running
    delayed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of each job, in the traffic's order; an environment below `PROVISIONED` is an on-demand one."""

    arrivals: NDArray[np.float64]
    begins: NDArray[np.float64]
    runs: NDArray[np.float64]
    environments: NDArray[np.int64]
    cold: NDArray[np.bool_]
    usage: Usage

    @property
    def finishes(self) -> NDArray[np.float64]:
        """When each job is done."""
        return self.begins + self.runs


@dataclass
class _Round:
    """The latest warm-up round, as the table keeps it."""

    began_at: float = -math.inf
    ready_at: float = -math.inf
    ready_seconds: float = TYPICAL_READY_SECONDS


def simulate(
    traffic: Traffic, strategy: Strategy, *, measured: Measurements, limits: Limits | None = None, seed: int = 1
) -> Outcome:
    """One strategy over the traffic; the same for the same seed.

    Raises:
        PlannerError: when the strategy wants more than the limits allow, or its windows overlap.
    """
    limits = limits or Limits()
    check_limits(strategy, limit=limits.account)
    return _Simulation(traffic, strategy, measured, limits, seed).run()


class _Simulation:
    def __init__(self, traffic: Traffic, strategy: Strategy, measured: Measurements, limits: Limits, seed: int) -> None:
        self._traffic, self._strategy, self._account = traffic, strategy, limits.account
        self._draw(measured, seed)
        count = len(traffic.submits)
        self._begins = [0.0] * count
        self._environments = [0] * count
        self._cold: list[int] = []  # jobs
        self._usage = Usage(seconds=traffic.seconds, jobs=count, tokens=len(traffic.tokens))

        self._events: list[tuple[float, int]] = []
        self._backlog: deque[int] = deque()
        self._idle: list[tuple[float, float, int]] = []  # since when, until when, environment
        self._provisioned: list[int] = []  # idle ones
        self._slots: list[int] = []  # idle ones
        self._leaving: set[int] = set()  # gone as soon as they are done
        self._pings: dict[int, float | None] = {}  # busy with a ping: when its round began if it was cold
        self._opened: list[int] = []  # by the window that is open
        self._instances: dict[int, float] = {}  # by their first slot: since when they cost
        self._quiet_minutes = 0
        self._next, self._next_provisioned, self._next_slot = 0, PROVISIONED, FLEET
        self._round = _Round()
        self._races_until = -math.inf  # until then a job may come before the worker is ready

        polls = not strategy.fleet or strategy.fleet.beside
        self._most = min(limits.mapping, limits.account) if polls else 0  # batches in flight
        self._first = min(limits.first, self._most)
        self._limit = self._first
        self._in_flight = 0
        self._is_stepping = False

    def _draw(self, measured: Measurements, seed: int) -> None:
        """Chance, drawn beforehand; the jobs' run times first, so that they are the same under each strategy."""
        chance, traffic = np.random.default_rng(seed), self._traffic
        self._run_times = (
            traffic.runs if traffic.runs is not None else measured.draw("run_seconds", chance, len(traffic.submits))
        )
        self._runs: list[float] = self._run_times.tolist()
        self._lifetimes = cycle(measured.draw_lifetimes(chance, DRAWS).tolist())
        snapstart = self._strategy.snapstart
        init = measured.draw("restore_seconds" if snapstart else "init_seconds", chance, DRAWS)
        load = np.zeros(DRAWS) if snapstart else measured.draw("load_seconds", chance, DRAWS)
        self._colds = cycle(zip(init.tolist(), load.tolist(), strict=True))
        self._each_call = 0.0 if measured.keeps_model else float(load.mean())
        self._ping_seconds = measured.ping_seconds

    def run(self) -> Outcome:
        """Every event, in the order of time."""
        handlers = {
            _TOKEN: self._token,
            _ROUND: self._scheduled_round,
            _OPEN: self._open,
            _CLOSE: self._close,
            _SCALE: self._scale,
        }
        if fleet := self._strategy.fleet:
            for _ in range(fleet.min):
                self._add_instance(0.0, boot_seconds=0.0)
        events, advance, submit = self._events, self._advance, self._submit
        for at, kind, job in _timeline(self._traffic, self._strategy):
            if events and events[0][0] <= at:
                advance(at)
            if kind == _SUBMIT:
                submit(at, job)
            else:
                handlers[kind](at)
        self._finish()
        return self._outcome()

    def _advance(self, until: float) -> None:
        """Everything that ends or becomes visible up to a time."""
        events = self._events
        while events and events[0][0] <= until:
            at, what = heappop(events)
            if what >= 0:
                self._release(at, what)
            elif what == _STEP:
                self._step(at)
            else:
                self._arrive(at, -1 - what)

    def _finish(self) -> None:
        """After the traffic's end: what is under way is done, what waits is served."""
        at = self._traffic.seconds
        while self._strategy.fleet and self._backlog:
            self._advance(at)
            self._scale(at)
            at = max(at + SCALE_SECONDS, self._events[0][0] if self._events else at)
        self._advance(math.inf)

    # Jobs

    def _submit(self, at: float, job: int) -> None:
        """Queue a job; while the worker is being warmed, hidden until it should be ready."""
        latest = self._round
        if at > self._races_until or latest.ready_at >= at - WARM_SECONDS:
            self._arrive(at, job)
            return
        left = max(math.ceil(latest.began_at + latest.ready_seconds - at), 1)
        self._usage.delayed += 1
        heappush(self._events, (at + min(left, DELAY_LIMIT), -1 - job))

    def _arrive(self, at: float, job: int) -> None:
        """A message becomes visible: it starts at once, or waits behind those that wait."""
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
            self._serve(at + self._call() if self._each_call else at, self._provisioned.pop(), batch)
            return True
        environment, init, load = self._take(at)
        if init + load:
            self._cold.extend(batch)
            self._serve(at + init + load, environment, batch)
        else:
            self._serve(at + self._call() if self._each_call else at, environment, batch)
        return True

    def _serve(self, at: float, environment: int, batch: Sequence[int]) -> None:
        """Run a batch's jobs one after the other."""
        for job in batch:
            self._begins[job] = at
            self._environments[job] = environment
            at += self._runs[job]
        heappush(self._events, (at, environment))

    def _call(self) -> float:
        """What a warm invoke waits for before it runs, when the model is fetched on each."""
        self._usage.downloads += 1
        self._usage.cold_seconds += self._each_call
        return self._each_call

    # Environments

    def _take(self, at: float) -> tuple[int, float, float]:
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
        if self._strategy.snapstart:
            usage.restores += 1
        else:
            usage.downloads += 1
        self._next += 1
        return self._next - 1, init, load

    def _release(self, at: float, environment: int) -> None:
        """What an environment was busy with is done."""
        if environment in self._pings:
            self._pinged(at, environment)
        elif environment < FLEET:
            self._in_flight -= 1
            if self._limit > self._first and self._in_flight <= self._first and not self._backlog:
                self._limit = self._first
        if environment < PROVISIONED:
            self._idle.append((at, at + next(self._lifetimes), environment))
        elif environment in self._leaving:
            self._leaving.remove(environment)
        else:
            (self._provisioned if environment < FLEET else self._slots).append(environment)
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

    # Warm-up rounds

    def _token(self, at: float) -> None:
        on_token = self._strategy.on_token
        if on_token and at - self._round.began_at >= on_token.cooldown_seconds:
            self._ping(at, on_token.environments)

    def _scheduled_round(self, at: float) -> None:
        if self._strategy.schedule:
            self._usage.scheduled_rounds += 1
            self._ping(at, self._strategy.schedule.environments)

    def _ping(self, at: float, count: int) -> None:
        """A round: each ping reaches an environment of its own, because those that are warm hold meanwhile."""
        self._round.began_at = at
        if self._strategy.on_token and self._strategy.on_token.closes_race:
            self._races_until = at + PING_AGE_SECONDS
        self._usage.rounds += 1
        reached = [self._reach(at) for _ in range(count)]
        inits = [init for _, init, load in filter(None, reached) if init + load]
        hold = min(max(inits, default=0.0), HOLD_SECONDS) if count > 1 else 0.0
        for environment, init, load in filter(None, reached):
            is_cold = init + load > 0
            warm_seconds = 0.0 if is_cold else hold + (self._call() if self._each_call else 0.0)
            self._usage.ping_seconds += self._ping_seconds + hold * (not is_cold)
            self._pings[environment] = at if is_cold else None
            heappush(self._events, (at + init + load + warm_seconds + self._ping_seconds, environment))

    def _reach(self, at: float) -> tuple[int, float, float] | None:
        """An environment for a ping: a provisioned one, an idle one, a new one; None when the account is full."""
        if not self._has_room():
            self._usage.pings_dropped += 1
            return None
        self._usage.pings += 1
        reached = (self._provisioned.pop(), 0.0, 0.0) if self._provisioned else self._take(at)
        self._pings[reached[0]] = None
        return reached

    def _pinged(self, at: float, environment: int) -> None:
        began_at = self._pings.pop(environment)
        self._round.ready_at = at
        if began_at is not None:
            self._round.ready_seconds = at - began_at

    # Provisioned concurrency

    def _open(self, at: float) -> None:
        provisioned = self._strategy.provisioned
        if provisioned:
            self._opened = list(range(self._next_provisioned, self._next_provisioned + provisioned.environments))
            self._next_provisioned += provisioned.environments
            self._provisioned += self._opened
            self._usage.downloads += provisioned.environments
            self._drain(at)

    def _close(self, at: float) -> None:  # noqa: ARG002 - a handler of events
        idle = set(self._provisioned)
        self._leaving |= set(self._opened) - idle
        self._provisioned = []
        self._opened = []

    # The fleet

    def _add_instance(self, at: float, *, boot_seconds: float) -> None:
        fleet = self._strategy.fleet
        if fleet:
            first, self._next_slot = self._next_slot, self._next_slot + fleet.slots
            self._instances[first] = at
            self._usage.downloads += 1
            for slot in range(first, self._next_slot):
                heappush(self._events, (at + boot_seconds, slot))

    def _remove_instance(self, at: float) -> None:
        """The newest; what it is busy with is drained."""
        fleet = self._strategy.fleet
        if fleet:
            first, since = self._instances.popitem()
            self._usage.instance_seconds += at - since
            slots = set(range(first, first + fleet.slots))
            self._leaving |= slots - set(self._slots)
            self._slots = [slot for slot in self._slots if slot not in slots]

    def _scale(self, at: float) -> None:
        """One instance more when the backlog is too much for those that are there; one less after a quiet time."""
        fleet = self._strategy.fleet
        if fleet is None:
            return
        count = len(self._instances)
        self._quiet_minutes = 0 if self._backlog else self._quiet_minutes + 1
        if len(self._backlog) > fleet.backlog_per_instance * count and count < fleet.max:
            self._add_instance(at, boot_seconds=fleet.boot_seconds)
        elif self._quiet_minutes >= QUIET_MINUTES and count > fleet.min:
            self._quiet_minutes = 0
            self._remove_instance(at)

    # The end

    def _outcome(self) -> Outcome:
        traffic, usage = self._traffic, self._usage
        count = len(traffic.submits)
        environments = np.array(self._environments, dtype=np.int64)
        cold = np.zeros(count, dtype=np.bool_)
        cold[self._cold] = True
        runs = self._run_times
        usage.on_demand_seconds = float(runs[environments < PROVISIONED].sum())
        usage.provisioned_seconds = float(runs[(environments >= PROVISIONED) & (environments < FLEET)].sum())
        self._close_accounts(float(runs[environments >= FLEET].sum()))
        begins = np.array(self._begins)
        return Outcome(traffic.submits, begins, runs, environments, cold, usage)

    def _close_accounts(self, fleet_seconds: float) -> None:
        """Count what stood ready until the traffic's end."""
        usage, end = self._usage, self._traffic.seconds
        usage.wasted_seconds += sum(max(min(until, end) - since, 0.0) for since, until, _ in self._idle)
        usage.instance_seconds += sum(end - since for since in self._instances.values() if since < end)
        if provisioned := self._strategy.provisioned:
            spans = _spans(provisioned.windows, self._traffic, "provisioned.windows")
            usage.provisioned_open_seconds = provisioned.environments * sum(end - start for start, end in spans)
            usage.wasted_seconds += max(usage.provisioned_open_seconds - usage.provisioned_seconds, 0.0)
        if fleet := self._strategy.fleet:
            usage.wasted_seconds += max(usage.instance_seconds * fleet.slots - fleet_seconds, 0.0)


def _timeline(traffic: Traffic, strategy: Strategy) -> Iterator[tuple[float, int, int]]:
    """What happens from outside, in order: (time, kind, number of the job)."""
    parts = [(traffic.submits, _SUBMIT), (traffic.tokens, _TOKEN)]
    if schedule := strategy.schedule:
        spans = _spans(schedule.windows, traffic, "schedule.windows")
        rounds = [np.arange(start, end, schedule.every_seconds) for start, end in spans]
        parts.append((np.concatenate([*rounds, np.zeros(0)]), _ROUND))
    if strategy.provisioned:
        spans = _spans(strategy.provisioned.windows, traffic, "provisioned.windows")
        parts.append((np.array([start for start, _ in spans]), _OPEN))
        parts.append((np.array([end for _, end in spans]), _CLOSE))
    if strategy.fleet:
        parts.append((np.arange(SCALE_SECONDS, traffic.seconds, SCALE_SECONDS), _SCALE))
    times = np.concatenate([times for times, _ in parts])
    kinds = np.concatenate([np.full(len(times), kind, dtype=np.int8) for times, kind in parts])
    jobs = np.concatenate([np.arange(len(times), dtype=np.int32) for times, _ in parts])
    order = np.lexsort((jobs, kinds, times))
    for chunk in np.array_split(order, len(order) // 100_000 + 1):  # lists of all of them would take much memory
        yield from zip(times[chunk].tolist(), kinds[chunk].tolist(), jobs[chunk].tolist(), strict=True)


def _spans(windows: tuple[Window, ...], traffic: Traffic, field: str) -> list[tuple[float, float]]:
    return open_spans(windows, began=traffic.began, seconds=traffic.seconds, field=field)
