"""What a simulation is held to, and what it gives: the jobs' fates, and what was used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PROVISIONED, FLEET = 1 << 40, 1 << 41  # the first number of a provisioned environment, and of a fleet's slot
FIRST_CONCURRENCY = 5


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
