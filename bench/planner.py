"""The planner on a million jobs under six strategies: how long it takes and how much memory it needs, on one core."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime

import numpy as np

from bench.report import Figure, report
from local.emulator import ROOT
from planner.costs import Prices
from planner.measurements import Measurements
from planner.plans import plan
from planner.strategies import defaults
from planner.traffic import Traffic
from planner.windows import Window

JOBS, STRATEGIES = 1_000_000, 6
MONTH_SECONDS = 30 * 86_400


def main() -> int:
    """Run it in a process of its own, whose memory is its own."""
    command = [sys.executable, "-m", "bench.planner", "--measure"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    seconds, megabytes = map(float, ran.stdout.split())
    return report(
        "planner",
        [
            Figure(f"{JOBS:,} jobs under {STRATEGIES} strategies", seconds, "s", most=20),
            Figure("peak memory", megabytes, "MB", most=500),
        ],
    )


def _measure() -> None:
    """CPU seconds, which other work on the machine does not lengthen, and the peak of the memory."""
    chance = np.random.default_rng(1)
    submits = np.sort(chance.uniform(0, MONTH_SECONDS, JOBS))
    tokens = np.sort(chance.uniform(0, MONTH_SECONDS, JOBS // 10))
    traffic = Traffic(submits, tokens, datetime(2026, 11, 1, tzinfo=UTC), MONTH_SECONDS)
    chosen = defaults(environments=10, windows=(Window(timezone="Europe/London"),), every_seconds=240)[:STRATEGIES]
    began = time.process_time()
    lines = list(plan(traffic, chosen, measured=Measurements(), prices=Prices.read()))
    if any(round(line.jobs) != round(JOBS * traffic.per_month) for line in lines):
        raise RuntimeError("Jobs got lost")
    print(time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    if sys.argv[1:] == ["--measure"]:
        _measure()
    else:
        sys.exit(main())
