"""The planner on a million jobs under six strategies: how long it takes and how much memory it needs, on one core."""

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
from bench.memory import peak_memory_mb
from bench.report import Figure, report
from local.emulator import ROOT
from planner.costs import Prices
from planner.measurements import Measurements
from planner.plans import plan
from planner.strategies import defaults
from planner.traffic import Traffic
from planner.windows import Window

JOBS, SMALLEST_JOBS = 1_000_000, 1_000
STRATEGIES = 6
MONTH_SECONDS = 30 * 86_400


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure in a process of its own, whose memory is its own; returns 1 if a target is missed."""
    parser = command.parser("planner", __doc__)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)  # how many jobs, in that process
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
        Figure(f"{jobs:,} jobs under {STRATEGIES} strategies", seconds, "s", most=20),
        Figure("peak memory", megabytes, "MB", most=500),
    ]
    return report("planner", figures, smallest=options.smallest)


def _measure(jobs: int) -> None:
    """CPU seconds, which other work on the machine does not lengthen, and the peak of the memory."""
    chance = np.random.default_rng(1)
    submits = np.sort(chance.uniform(0, MONTH_SECONDS, jobs))
    tokens = np.sort(chance.uniform(0, MONTH_SECONDS, jobs // 10))
    traffic = Traffic(submits, tokens, datetime(2026, 11, 1, tzinfo=UTC), MONTH_SECONDS)
    chosen = defaults(environments=10, windows=(Window(timezone="Europe/London"),), every_seconds=240)[:STRATEGIES]
    began = time.process_time()
    lines = list(plan(traffic, chosen, measured=Measurements(), prices=Prices.read()))
    if any(round(line.jobs) != round(jobs * traffic.per_month) for line in lines):
        raise RuntimeError("Jobs got lost")
    print(time.process_time() - began, peak_memory_mb())


if __name__ == "__main__":
    sys.exit(main())
