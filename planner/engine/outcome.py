"""The limits of a simulation, and its outcome: the times of the jobs, and the resources that were used."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# The engine gives numbers to environments. On-demand environments count from 0. The environments of the first strategy
# that keeps its own count from 1 << 40, those of the second from 2 << 40.
NUMBER_BITS = 40
FIRST_CONCURRENCY = 5


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Maximum numbers of environments at a time: of the account, and of the queue's event source mapping."""

    account: int = 1_000
    mapping: int = 50
    first: int = FIRST_CONCURRENCY  # of the mapping, before messages have waited


@dataclass(kw_only=True)
class Usage:
    """The resources that were used in the whole simulated time. Seconds are seconds of one environment."""

    seconds: float  # the simulated time itself
    jobs: int
    tokens: int
    pings: int = 0
    pings_dropped: int = 0
    warm_ups: int = 0
    batches: int = 0  # of jobs, run by Lambda
    cold_starts: int = 0  # of on-demand environments, for jobs and for pings
    cold_seconds: float = 0.0
    ping_seconds: float = 0.0
    on_demand_seconds: float = 0.0  # spent on running jobs
    downloads: int = 0
    wasted_seconds: float = 0.0  # warm, but without a job
    assigned: int = 0  # jobs that were assigned to a warm-up
    # Amounts that one strategy counts for its own cost. The strategy's module defines the names.
    amounts: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))


@dataclass(frozen=True)
class Outcome:
    """The jobs' environments, and their times in seconds since the traffic began. Jobs are in the traffic's order."""

    arrivals: NDArray[np.float64]
    begins: NDArray[np.float64]
    runs: NDArray[np.float64]
    environments: NDArray[np.int64]
    cold: NDArray[np.bool_]  # jobs that waited for a cold start
    on_lambda: NDArray[np.bool_]  # jobs that Lambda ran
    usage: Usage

    @property
    def finishes(self) -> NDArray[np.float64]:
        """Return the time at which each job has finished."""
        return self.begins + self.runs

    @property
    def on_demand(self) -> NDArray[np.bool_]:
        """Return a mask of the jobs that ran in on-demand environments."""
        return self.environments < 1 << NUMBER_BITS
