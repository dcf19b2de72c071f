"""The client: the time of `samovar --help`, and the memory of `analyze_many` against a local cloud."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import command
from bench.local_cloud import open_local_cloud
from bench.report import Figure, report
from local.paths import GENERATED, ROOT
from local.stack import Stack

FOLDER = GENERATED / "bench-client"
# Runs in a process that imports only the client. It prints the seconds and the peak memory in MB.
MANY = """
import sys, time
import samovar
from bench.memory import read_peak_memory_mb
began = time.perf_counter()
with samovar.Client.from_environment() as client:
    texts = (f"Ada Lovelace wrote program {number} in London." for number in range(int(sys.argv[1])))
    ended = sum(job.status == "succeeded" for job in client.analyze_many(texts, concurrency=8))
assert ended == int(sys.argv[1]), ended
print(time.perf_counter() - began, read_peak_memory_mb())
"""


@dataclass(frozen=True)
class Size:
    """The number of processes that show the help, and of texts that are analyzed."""

    helps: int
    texts: int


FULL, SMALLEST = Size(helps=20, texts=1_000), Size(helps=1, texts=2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure on a local cloud. Return 1 if a target is missed."""
    options = command.build_parser("client", __doc__).parse_args(arguments)
    size = SMALLEST if options.smallest else FULL
    helping = list(_measure_help(size.helps))
    with open_local_cloud(options.folder, own=FOLDER) as cloud:
        return report("client", [*helping, *_measure_texts(cloud.stack, size.texts)], smallest=options.smallest)


def _measure_help(times: int) -> Iterator[Figure]:
    """Yield the wall time of whole processes with bytecode."""
    program = [str(Path(sys.executable).parent / "samovar"), "--help"]
    seconds = []
    for _ in range(times + 1):
        began = time.perf_counter()
        subprocess.run(program, capture_output=True, check=True)
        seconds.append(time.perf_counter() - began)
    yield Figure("samovar --help, median", statistics.median(seconds[1:]), "s", most=0.35)


def _measure_texts(stack: Stack, texts: int) -> Iterator[Figure]:
    credentials = {
        "SAMOVAR_URL": stack.api_url,
        "SAMOVAR_CLIENT_ID": stack.client_id,
        "SAMOVAR_CLIENT_SECRET": stack.client_secret,
    }
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(texts)],
        cwd=ROOT,
        env={**os.environ, **credentials},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds, peak = map(float, done.stdout.split())
    yield Figure(f"analyze_many of {texts:,} short texts, peak memory", peak, "MB", most=100)
    yield Figure(f"analyze_many of {texts:,} short texts", texts / seconds, "jobs/s")


if __name__ == "__main__":
    sys.exit(main())
