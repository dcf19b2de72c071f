"""Chance, drawn beforehand: how long jobs run, environments start and idle ones live."""

from __future__ import annotations

from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from planner.measurements import Measurements
from planner.traffic import Traffic

DRAWS = 1 << 14


class Chance:
    """The same for the same seed; `runs` also under each strategy."""

    def __init__(self, traffic: Traffic, measured: Measurements, *, snapstart: bool, seed: int) -> None:
        chance = np.random.default_rng(seed)
        # The jobs' run times first, so that no strategy changes them.
        self.runs: NDArray[np.float64] = (
            traffic.runs if traffic.runs is not None else measured.draw("run_seconds", chance, len(traffic.submits))
        )
        self.lifetimes = cycle(measured.draw_lifetimes(chance, DRAWS).tolist())
        init = measured.draw("restore_seconds" if snapstart else "init_seconds", chance, DRAWS)
        load = np.zeros(DRAWS) if snapstart else measured.draw("load_seconds", chance, DRAWS)
        self.colds = cycle(zip(init.tolist(), load.tolist(), strict=True))  # seconds of an environment's init and load
        self.each_call = 0.0 if measured.keeps_model else float(load.mean())  # what a warm invoke waits for
