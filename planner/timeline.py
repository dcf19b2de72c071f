"""What happens from outside, in the order of time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from planner.strategies import Strategy
from planner.traffic import Traffic
from planner.windows import open_spans

SCALE_SECONDS = 60.0
CLOSE, OPEN, SCALE, ROUND, TOKEN, SUBMIT = range(6)  # in this order at the same time


def timeline(traffic: Traffic, strategy: Strategy) -> Iterator[tuple[float, int, int]]:
    """Each event as (time, kind, number of the job)."""
    parts = [(traffic.submits, SUBMIT), (traffic.tokens, TOKEN)]
    if schedule := strategy.schedule:
        spans = open_spans(schedule.windows, began=traffic.began, seconds=traffic.seconds)
        rounds = [np.arange(start, end, schedule.every_seconds) for start, end in spans]
        parts.append((np.concatenate([*rounds, np.zeros(0)]), ROUND))
    if strategy.provisioned:
        spans = open_spans(strategy.provisioned.windows, began=traffic.began, seconds=traffic.seconds)
        parts.append((np.array([start for start, _ in spans]), OPEN))
        parts.append((np.array([end for _, end in spans]), CLOSE))
    if strategy.fleet:
        parts.append((np.arange(SCALE_SECONDS, traffic.seconds, SCALE_SECONDS), SCALE))
    times = np.concatenate([times for times, _ in parts])
    kinds = np.concatenate([np.full(len(times), kind, dtype=np.int8) for times, kind in parts])
    jobs = np.concatenate([np.arange(len(times), dtype=np.int32) for times, _ in parts])
    order = np.lexsort((jobs, kinds, times))
    for chunk in np.array_split(order, len(order) // 100_000 + 1):  # lists of all of them would take much memory
        yield from zip(times[chunk].tolist(), kinds[chunk].tolist(), jobs[chunk].tolist(), strict=True)
