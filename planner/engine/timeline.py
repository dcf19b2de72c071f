"""The events from outside the simulation, merged in the order of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from planner.engine.setup import EventOrder

CHUNK = 100_000  # events that are turned into Python objects at a time, to save memory


Times = NDArray[np.float64]


def merge_events(sources: Sequence[tuple[EventOrder, Times]]) -> Iterator[tuple[float, int, int]]:
    """Yield all events as (time, number of the source, number of the event in its source).

    At the same time, events come in the order of their kinds.
    """
    ranked = sorted(range(len(sources)), key=lambda number: sources[number][0])
    parts = [sources[number][1] for number in ranked]
    times = np.concatenate(parts)
    ranks = np.concatenate([np.full(len(part), rank, dtype=np.int8) for rank, part in enumerate(parts)])
    indexes = np.concatenate([np.arange(len(part), dtype=np.int32) for part in parts])
    order = np.lexsort((indexes, ranks, times))
    numbers = np.array(ranked, dtype=np.int8)
    for chunk in np.array_split(order, len(order) // CHUNK + 1):
        yield from zip(times[chunk].tolist(), numbers[ranks[chunk]].tolist(), indexes[chunk].tolist(), strict=True)
