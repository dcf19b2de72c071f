"""The client: how long `samovar --help` takes, and how much memory `analyze_many` takes, on a local cloud."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from bench.report import Figure, report
from local import cloud, emulator
from local.errors import NotUp
from local.stack import Stack
from local.steps import Steps

FOLDER = emulator.ROOT / ".samovar" / "bench-client"
HELPS = 20
TEXTS = 1_000
# In a process of its own, which holds nothing but the client; prints seconds and its peak in kB (bytes on macOS).
MANY = """
import resource, sys, time
import samovar
began = time.perf_counter()
with samovar.Client.from_environment() as client:
    texts = (f"Ada Lovelace wrote program {number} in London." for number in range(int(sys.argv[1])))
    ended = sum(job.status == "succeeded" for job in client.analyze_many(texts, concurrency=8))
assert ended == int(sys.argv[1]), ended
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def main() -> int:
    """Start the cloud, unless it is up, measure, stop it."""
    parser = argparse.ArgumentParser(prog="python -m bench.client", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="a local cloud; one that is up is left running")
    folder = parser.parse_args().folder.resolve()
    helping = list(_help())
    kept = _is_up(folder)
    try:
        with Steps(Console(file=sys.stdout, highlight=False)) as steps:
            stack = Stack.load(folder) if kept else cloud.up(folder, steps=steps, port=None)
        return report("client", [*helping, *_many(stack)])
    finally:
        if not kept:
            cloud.down(folder)


def _is_up(folder: Path) -> bool:
    try:
        Stack.load(folder)
    except NotUp:
        return False
    return True


def _help() -> Iterator[Figure]:
    """The wall time of whole processes, with warm bytecode."""
    command = [Path(sys.executable).parent / "samovar", "--help"]
    seconds = []
    for _ in range(HELPS + 1):
        began = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        seconds.append(time.perf_counter() - began)
    yield Figure("samovar --help, median", statistics.median(seconds[1:]), "s", most=0.35)


def _many(stack: Stack) -> Iterator[Figure]:
    credentials = {
        "SAMOVAR_URL": stack.api_url,
        "SAMOVAR_CLIENT_ID": stack.client_id,
        "SAMOVAR_CLIENT_SECRET": stack.client_secret,
    }
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(TEXTS)],
        env={**os.environ, **credentials},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, peak = map(float, done.stdout.split())
    yield Figure(f"analyze_many of {TEXTS:,} short texts, peak memory", _megabytes(peak), "MB", most=100)
    yield Figure(f"analyze_many of {TEXTS:,} short texts", TEXTS / seconds, "jobs/s")


def _megabytes(peak: float) -> float:
    return peak / (1_000_000 if sys.platform == "darwin" else 1_000)


if __name__ == "__main__":
    sys.exit(main())
