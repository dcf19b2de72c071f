"""The planner on a million jobs under six combinations of strategies: its CPU time and its memory."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from bench import command
from bench.memory import read_peak_memory_mb
from bench.report import Figure, report
from local.paths import ROOT
from planner.combinations import build_default_combinations
from planner.comparison import compare
from planner.costs import read_prices
from planner.measurements import Measurements
from planner.strategies.protocol import Parameters
from planner.traffic import Traffic
from planner.windows import Window

JOBS, SMALLEST_JOBS = 1_000_000, 1_000
COMBINATIONS = 6
MONTH_SECONDS = 30 * 86_400


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure in a process of its own, so that its peak memory is the planner's. Return 1 if a target is missed."""
    parser = command.build_parser("planner", __doc__)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)  # the number of jobs, in that process
    options = parser.parse_args(arguments)
    if options.measure:
        _measure(options.measure)
        return 0
    jobs = SMALLEST_JOBS if options.smallest else JOBS
    program = [sys.executable, "-m", "bench.planner", "--measure", str(jobs)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(program, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    seconds, megabytes = map(float, ran.stdout.split())
    figures = [
        Figure(f"{jobs:,} jobs under {COMBINATIONS} strategies", seconds, "s", most=20),
        Figure("peak memory", megabytes, "MB", most=500),
    ]
    return report("planner", figures, smallest=options.smallest)


def _measure(jobs: int) -> None:
    """Print the CPU seconds, which other work on the machine does not lengthen, and the peak memory in MB."""
    rng = np.random.default_rng(1)
    submits = np.sort(rng.uniform(0, MONTH_SECONDS, jobs))
    tokens = np.sort(rng.uniform(0, MONTH_SECONDS, jobs // 10))
    traffic = Traffic(submits, tokens, datetime(2026, 11, 1, tzinfo=UTC), MONTH_SECONDS)
    parameters = Parameters(environments=10, windows=(Window(timezone="Europe/London"),))
    combinations = build_default_combinations(parameters)[:COMBINATIONS]
    began = time.process_time()
    forecasts = list(compare(traffic, combinations, measured=Measurements(), prices=read_prices()))
    if any(round(one.jobs) != round(jobs * traffic.monthly_factor) for one in forecasts):
        raise RuntimeError("The forecasts do not contain all jobs of the traffic")
    print(time.process_time() - began, read_peak_memory_mb())


if __name__ == "__main__":
    sys.exit(main())
