"""The planner against the local cloud: ten minutes of bursts and tokens, replayed, and the cold starts of both.

The emulator gives up idle environments after `LIFETIME_SECONDS`, looking every 30 s, so that ten minutes hold some cold
starts. The simulation gets what was sent when, how long each job ran and how long the cold ones took to start; what is
compared is how many jobs it lets meet a cold worker, the mean over several seeds.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import httpx
import numpy as np

from bench import command
from bench.local_cloud import api_client, fetch_token, local_cloud, wait_for_success
from bench.report import RESULTS, Figure, report
from local import emulator
from local.stack import Stack
from planner.measurements import Measurements
from planner.outcome import Limits
from planner.simulate import simulate
from planner.strategies import OnToken, Strategy
from planner.traffic import Traffic

FOLDER = emulator.ROOT / ".samovar" / "bench-replay"
SENTENCE = "Ada Lovelace wrote the first program in London while Charles Babbage was building his engine. "
# 15,000 characters: half a second of work. Lambda's environments do not share two cores, so these must not be too busy:
# jobs that slow each other down begin environments that slow the others down.
TEXT = SENTENCE * 160
LIFETIME_SECONDS, REAPER_SECONDS = 20, 30
SEEDS = range(20)
PATIENCE_SECONDS = 120
SMALLEST_EVENTS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay at a local cloud, simulate, compare; returns 1 if they differ by more than 10 %."""
    parser = command.parser("replay", __doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600, help="how long the trace is (default: %(default)s)")
    options = parser.parse_args(arguments)
    trace = _trace(random.Random(7), options.seconds)  # noqa: S311 - not for secrets
    events = list(islice(trace, SMALLEST_EVENTS if options.smallest else None))
    with _short_lives(), local_cloud(options.folder, own=FOLDER) as cloud:
        jobs, tokens = _replay(cloud.stack, events)
    if not options.smallest:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / "replayed.json").write_text(json.dumps({"jobs": jobs, "tokens": tokens}, indent=2) + "\n")
    return report("replay", _figures(jobs, tokens), smallest=options.smallest)


@contextmanager
def _short_lives() -> Iterator[None]:
    """Let an emulator that is started until the block ends give up idle environments after `LIFETIME_SECONDS`."""
    plain = emulator._environment
    emulator._environment = lambda folder, port: {
        **plain(folder, port),
        "LAMBDA_WARM_TTL_SECONDS": str(LIFETIME_SECONDS),
    }
    try:
        yield
    finally:
        emulator._environment = plain


def _trace(chance: random.Random, seconds: float) -> Iterator[tuple[float, str]]:
    """Spells of bursts of up to four jobs, longer ones of single jobs between them, and tokens.

    What a burst begins lives as long as its spell, and is given up before the next: whenever the emulator looks.
    """
    events = []
    at = 0.0
    while at < seconds:
        for _ in range(3):
            events += [(at + number * 0.1, "submit") for number in range(chance.choice([2, 3, 4]))]
            at += chance.uniform(8, 12)
        next_spell = at + LIFETIME_SECONDS + REAPER_SECONDS + 5
        while at < next_spell:
            events.append((at, "submit"))
            at += chance.uniform(8, 14)
    at = 0.0
    while at < seconds:
        events.append((at, "token"))
        at += chance.expovariate(1 / 45)
    yield from sorted(events)


def _replay(stack: Stack, trace: list[tuple[float, str]]) -> tuple[list[dict[str, Any]], list[float]]:
    """Send it, one call after the other; the jobs with the time they were sent at, and the tokens' times."""
    sent: list[tuple[float, str]] = []
    with api_client(stack) as client:
        tokens = [time.time()]
        _finished(client, _submit(client, sent), sent[0][0])  # the functions of the API are warm from here on
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
        return [_finished(client, job, at) for at, job in sent], tokens


def _submit(client: httpx.Client, sent: list[tuple[float, str]]) -> str:
    job = str(client.post("/analyze", json={"text": TEXT}).raise_for_status().json()["id"])
    sent.append((time.time(), job))
    return job


def _finished(client: httpx.Client, job_id: str, at: float) -> dict[str, Any]:
    return {"at": at, **wait_for_success(client, job_id, seconds=PATIENCE_SECONDS)["metrics"]}


def _figures(jobs: list[dict[str, Any]], tokens: list[float]) -> Iterator[Figure]:
    cold = [job for job in jobs if job["cold_start_ms"]]
    first = min(jobs[0]["at"], tokens[0])
    busy = [job["total_ms"] - job["queue_ms"] - job["cold_start_ms"] for job in jobs]
    runs = np.maximum(np.array(busy) / 1000, 0)
    submits, fetched = np.array([job["at"] for job in jobs]) - first, np.array(tokens) - first
    traffic = Traffic(submits, fetched, datetime.fromtimestamp(first, UTC), float(max(submits[-1], fetched[-1])), runs)
    measured = _measurements(cold) if cold else Measurements()  # those of the smallest size may all be warm
    # The emulator's mapping does not step up.
    strategy = Strategy(name="D", on_token=OnToken())
    counts = [
        int(simulate(traffic, strategy, measured=measured, limits=Limits(first=50), seed=seed).cold.sum())
        for seed in SEEDS
    ]
    simulated = statistics.mean(counts)
    yield Figure("jobs replayed", len(jobs), "")
    yield Figure("jobs that met a cold worker, local cloud", len(cold), "")
    yield Figure(f"the same, simulated, mean of {len(SEEDS)} seeds", simulated, "")
    yield Figure("difference", abs(simulated - len(cold)) / max(len(cold), 1), "x", most=0.10)


def _measurements(cold: list[dict[str, Any]]) -> Measurements:
    """What a cold job waited for before it was claimed is taken for its environment's init."""
    return Measurements(
        init_seconds=tuple(job["queue_ms"] / 1000 for job in cold),
        load_seconds=tuple(job["cold_start_ms"] / 1000 for job in cold),
        ping_seconds=0.1,
        idle_lifetime_seconds=(LIFETIME_SECONDS, LIFETIME_SECONDS + REAPER_SECONDS),
    )


if __name__ == "__main__":
    sys.exit(main())
