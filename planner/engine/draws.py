"""Random numbers of one simulation: run times of jobs, times to start environments, lifetimes of idle ones."""

from __future__ import annotations

from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from planner.measurements import Measurements
from planner.traffic import Traffic

DRAWS = 1 << 14


class Draws:
    """Random numbers, the same for the same seed. The run times in `runs` are the same under each strategy, too."""

    def __init__(self, traffic: Traffic, measured: Measurements, *, has_snapshots: bool, seed: int) -> None:
        rng = np.random.default_rng(seed)
        # The run times are drawn first, so that no strategy changes them.
        self.runs: NDArray[np.float64] = (
            traffic.runs if traffic.runs is not None else measured.draw("run_seconds", rng, len(traffic.submits))
        )
        self.lifetimes = cycle(measured.draw_lifetimes(rng, DRAWS).tolist())
        init = measured.draw("restore_seconds" if has_snapshots else "init_seconds", rng, DRAWS)
        load = np.zeros(DRAWS) if has_snapshots else measured.draw("load_seconds", rng, DRAWS)
        self.cold_starts = cycle(zip(init.tolist(), load.tolist(), strict=True))  # seconds of init and of loading
        self.load_per_invoke = 0.0 if measured.keeps_model else float(load.mean())  # seconds, of a warm invoke
