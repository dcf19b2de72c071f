"""The cold starts of ten minutes of traffic: those of the local cloud, and those that the planner simulates for it.

The emulator ends environments that were idle for `LIFETIME_SECONDS`. It checks every 30 s, so ten minutes contain some
cold starts. The simulation gets the times of all requests, the run times of the jobs, and the durations of the cold
starts. The benchmark compares the numbers of jobs that met a cold worker. The simulated number is the mean of several
seeds.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import httpx
import numpy as np

from bench import command
from bench.local_cloud import fetch_token, open_api, open_local_cloud, wait_for_success
from bench.report import RESULTS, Figure, report
from local.paths import GENERATED
from local.stack import Stack
from planner.combinations import Combination
from planner.engine.outcome import Limits
from planner.measurements import Measurements
from planner.simulate import simulate
from planner.strategies import OnToken
from planner.traffic import Traffic

FOLDER = GENERATED / "bench-replay"
SENTENCE = "Ada Lovelace wrote the first program in London while Charles Babbage was building his engine. "
# 15,000 characters take half a second. The emulator's environments share the machine's cores, unlike those of Lambda.
# With more work, jobs would slow each other down and start further environments, which would slow them down even more.
TEXT = SENTENCE * 160
LIFETIME_SECONDS, REAPER_SECONDS = 20, 30
SEEDS = range(20)
JOB_TIMEOUT_SECONDS = 120
SMALLEST_EVENTS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay the trace on a local cloud and simulate it. Return 1 if the numbers differ by more than 10 %."""
    parser = command.build_parser("replay", __doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600, help="length of the trace (default: %(default)s)")
    options = parser.parse_args(arguments)
    trace = _generate_trace(random.Random(7), options.seconds)  # noqa: S311 - not for secrets
    events = list(islice(trace, SMALLEST_EVENTS if options.smallest else None))
    with open_local_cloud(options.folder, own=FOLDER, idle_seconds=LIFETIME_SECONDS) as cloud:
        jobs, tokens = _replay(cloud.stack, events)
    if not options.smallest:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / "replayed.json").write_text(json.dumps({"jobs": jobs, "tokens": tokens}, indent=2) + "\n")
    return report("replay", _compute_figures(jobs, tokens), smallest=options.smallest)


def _generate_trace(rng: random.Random, seconds: float) -> Iterator[tuple[float, str]]:
    """Yield the events of a trace as (time, kind) in the order of time. The kinds are `submit` and `token`."""
    events = [(at, "submit") for at in _generate_submits(rng, seconds)]
    at = 0.0
    while at < seconds:
        events.append((at, "token"))
        at += rng.expovariate(1 / 45)
    yield from sorted(events)


def _generate_submits(rng: random.Random, seconds: float) -> Iterator[float]:
    """Yield the times of jobs: short phases with bursts of up to four jobs, and long phases of single jobs.

    The environments that a burst starts live until the phase of bursts ends. They end before the next such phase, at
    any time of the emulator's checks.
    """
    at = 0.0
    while at < seconds:
        for _ in range(3):
            yield from (at + number * 0.1 for number in range(rng.choice([2, 3, 4])))
            at += rng.uniform(8, 12)
        next_bursts = at + LIFETIME_SECONDS + REAPER_SECONDS + 5
        while at < next_bursts:
            yield at
            at += rng.uniform(8, 14)


def _replay(stack: Stack, trace: list[tuple[float, str]]) -> tuple[list[dict[str, Any]], list[float]]:
    """Send the trace, one request after the other. Return the jobs' times and metrics, and the tokens' times."""
    sent: list[tuple[float, str]] = []
    with open_api(stack) as client:
        tokens = [time.time()]
        _wait_for_metrics(client, _submit(client, sent), sent[0][0])  # afterwards, the functions of the API are warm
        began = time.time() + 1
        for number, (at, kind) in enumerate(trace):
            time.sleep(max(began + at - time.time(), 0))
            if kind == "token":
                fetch_token(client, stack)
                tokens.append(time.time())
            else:
                _submit(client, sent)
            if number % 25 == 0:
                print(f"  … {at:.0f} s of {trace[-1][0]:.0f} s", flush=True)
        return [_wait_for_metrics(client, job, at) for at, job in sent], tokens


def _submit(client: httpx.Client, sent: list[tuple[float, str]]) -> str:
    job = str(client.post("/analyze", json={"text": TEXT}).raise_for_status().json()["id"])
    sent.append((time.time(), job))
    return job


def _wait_for_metrics(client: httpx.Client, job_id: str, at: float) -> dict[str, Any]:
    """Return the metrics of a job when it has succeeded, with the time of its submit."""
    return {"at": at, **wait_for_success(client, job_id, seconds=JOB_TIMEOUT_SECONDS)["metrics"]}


def _compute_figures(jobs: list[dict[str, Any]], tokens: list[float]) -> Iterator[Figure]:
    """Simulate the requests that were sent, and compare the numbers of cold starts."""
    cold = [job for job in jobs if job["cold_start_ms"]]
    traffic = _build_traffic(jobs, tokens)
    measured = _build_measurements(cold) if cold else Measurements()  # at the smallest size all jobs may be warm
    combination = Combination("on-token", (OnToken(),))
    limits = Limits(first=50)  # the emulator's event source mapping starts with its maximum
    counts = [
        int(simulate(traffic, combination, measured=measured, limits=limits, seed=seed).cold.sum()) for seed in SEEDS
    ]
    simulated = statistics.mean(counts)
    difference = abs(simulated - len(cold)) / max(len(cold), 1)
    yield Figure("jobs replayed", len(jobs), "")
    yield Figure("jobs that met a cold worker on the local cloud", len(cold), "")
    yield Figure(f"the same in the simulation, mean of {len(SEEDS)} seeds", simulated, "")
    yield Figure("difference / cold starts on the local cloud", difference, "x", most=0.10)


def _build_traffic(jobs: list[dict[str, Any]], tokens: list[float]) -> Traffic:
    """Return the requests that were sent, with the run times of the jobs."""
    first = min(jobs[0]["at"], tokens[0])
    submits, fetched = np.array([job["at"] for job in jobs]) - first, np.array(tokens) - first
    busy_ms = np.array([job["total_ms"] - job["queue_ms"] - job["cold_start_ms"] for job in jobs])
    length = float(max(submits[-1], fetched[-1]))
    return Traffic(submits, fetched, datetime.fromtimestamp(first, UTC), length, np.maximum(busy_ms / 1000, 0))


def _build_measurements(cold: list[dict[str, Any]]) -> Measurements:
    """Return the emulator's measurements. The time of a cold job in the queue counts as the init time."""
    return Measurements(
        init_seconds=tuple(job["queue_ms"] / 1000 for job in cold),
        load_seconds=tuple(job["cold_start_ms"] / 1000 for job in cold),
        ping_seconds=0.1,
        idle_lifetime_seconds=(LIFETIME_SECONDS, LIFETIME_SECONDS + REAPER_SECONDS),
    )


if __name__ == "__main__":
    sys.exit(main())
