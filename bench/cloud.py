"""The whole service on a local cloud: warm jobs, long jobs, a big text on one and on two workers, and many jobs."""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from bench import command
from bench.local_cloud import (
    JOBS_TIMEOUT_SECONDS,
    LocalCloud,
    open_api,
    open_local_cloud,
    use_credentials,
    wait_for_success,
)
from bench.report import Figure, report
from bench.throughput import WORDS, find_model, make_texts
from functions.worker import pipeline
from local import fleet
from local.paths import GENERATED
from local.stack import Stack
from shared.aws.blobs import Blobs
from shared.aws.items import expression
from shared.aws.queue import Queue
from shared.aws.table import Table
from shared.clock import now_ms
from shared.jobs.job import DEADLINE_MS, LIFETIME_SECONDS, Job, Model, new_job_id
from shared.jobs.message import JobMessage
from shared.jobs.store import JobStore

if TYPE_CHECKING:
    from spacy.language import Language

FOLDER = GENERATED / "bench-cloud"
_WORKERS = (b"-worker-", b"functions.worker.poll")  # either is in the command line of a worker's process
BATCH = 10  # jobs of one batch of the worker
_COUNT_LIMIT = 1_000_000  # above every number of jobs that this benchmark stores
PARTS = ("warm", "long", "big", "many")


@dataclass(frozen=True)
class Size:
    """The number of jobs of each kind, the words of a long job, and the characters of a big text."""

    warm_jobs: int
    long_jobs: int
    long_words: int
    big_characters: int
    warming_characters: int  # of several shards, so that every worker loads its model
    many_jobs: int


FULL = Size(
    warm_jobs=50, long_jobs=200, long_words=500, big_characters=3_000_000, warming_characters=200_000, many_jobs=10_000
)
SMALLEST = Size(warm_jobs=2, long_jobs=10, long_words=50, big_characters=60_000, warming_characters=1_000, many_jobs=10)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure on a local cloud. Return 1 if a target is missed."""
    parser = command.build_parser("cloud", __doc__)
    parser.add_argument("--jobs", type=int, help=f"number of the many jobs (default: {FULL.many_jobs:,})")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure (default: all)")
    options = parser.parse_args(arguments)
    size = SMALLEST if options.smallest else FULL
    if options.jobs:
        size = replace(size, many_jobs=options.jobs)
    with (
        open_local_cloud(options.folder, own=FOLDER) as cloud,
        use_credentials(cloud.stack),
        open_api(cloud.stack) as client,
    ):
        return report("cloud", _measure(cloud, client, options.only, size), smallest=options.smallest)


def _measure(cloud: LocalCloud, client: httpx.Client, parts: Sequence[str], size: Size) -> Iterator[Figure]:
    if "warm" in parts:
        yield from _measure_warm_jobs(client, size.warm_jobs)
    if "long" in parts:
        yield from _measure_long_jobs(cloud, size.long_jobs, size.long_words)
    if "big" in parts:
        yield from _measure_big_text(cloud, client, size)
    if "many" in parts:
        yield from _measure_many_jobs(cloud, size.many_jobs)
    yield Figure("peak memory of a worker", _find_peak_memory_mb(cloud.folder), "MB", most=700)


def _measure_warm_jobs(client: httpx.Client, jobs: int) -> Iterator[Figure]:
    _show_progress("one job after the other")
    for _ in range(3):
        wait_for_success(client, _submit(client, "Ada Lovelace lived in London."))
    seconds = []
    for _ in range(jobs):
        began = time.perf_counter()
        wait_for_success(client, _submit(client, "Ada Lovelace lived in London."))
        seconds.append(time.perf_counter() - began)
    yield Figure("warm job, from submit to its result, median", statistics.median(seconds) * 1000, "ms", most=250)


def _measure_long_jobs(cloud: LocalCloud, jobs: int, words: int) -> Iterator[Figure]:
    _show_progress(f"{jobs} jobs of {words} words, on one worker")
    texts = make_texts(jobs, words)
    nlp = pipeline.load(find_model()).nlp
    # nlp.pipe runs before and after the worker, so that a slow phase of the machine affects both.
    before = _time_pipe(nlp, texts)
    with _run_workers(cloud, 1) as hold:
        seconds, cpu_seconds = _drain_warm(cloud, texts, hold, warm_up_jobs=BATCH)
    pipe_seconds = statistics.mean([before, _time_pipe(nlp, texts)])
    name = f"jobs of {words} words on one worker / nlp.pipe, throughput"
    yield Figure(name, pipe_seconds / seconds, "x", least=0.6)
    yield Figure("… nlp.pipe", jobs * words / pipe_seconds, "words/s")
    yield from _compute_times(cpu_seconds, seconds, jobs)


def _time_pipe(nlp: Language, texts: list[str]) -> float:
    """Return the seconds that `nlp.pipe` takes for the texts, in the batches of the worker."""
    began = time.perf_counter()
    for start in range(0, len(texts), BATCH):
        list(nlp.pipe(texts[start : start + BATCH]))
    return time.perf_counter() - began


def _measure_big_text(cloud: LocalCloud, client: httpx.Client, size: Size) -> Iterator[Figure]:
    paragraph = " ".join(make_texts(8, 60)) + "\n\n"
    text = (paragraph * (size.big_characters // len(paragraph) + 1))[: size.big_characters]
    seconds, results = [], []
    for workers in (1, 2):
        _show_progress(f"a text of {len(text):,} characters, on {workers} worker{'s' if workers > 1 else ''}")
        with _run_workers(cloud, workers):
            wait_for_success(client, _submit_upload(client, text[: size.warming_characters]))
            began = time.perf_counter()
            job = wait_for_success(client, _submit_upload(client, text))
            seconds.append(time.perf_counter() - began)
        results.append(_get_result(job))
    if results[0] != results[1]:
        raise RuntimeError("One worker and two workers returned different results")
    megabytes = f"{size.big_characters / 1_000_000:g} MB"
    yield Figure(f"text of {megabytes}, two workers / one, wall time", seconds[1] / seconds[0], "x", most=0.65)
    yield Figure(f"text of {megabytes}, one worker", seconds[0], "s")


def _measure_many_jobs(cloud: LocalCloud, count: int) -> Iterator[Figure]:
    _show_progress(f"{count:,} jobs, on two workers")
    with _run_workers(cloud, 2) as hold:
        seconds, cpu_seconds = _drain_warm(cloud, make_texts(count), hold, warm_up_jobs=2 * BATCH)
    yield Figure(f"{count:,} jobs of {WORDS} words on two workers", count / seconds, "jobs/s")
    yield from _compute_times(cpu_seconds, seconds, count)
    yield Figure("jobs left open", float(_count_open(cloud.stack)), "", most=0)
    yield Figure("dead letters", float(_count_dead_letters(cloud.stack)), "", most=0)


def _compute_times(cpu_seconds: Counter[str], seconds: float, jobs: int) -> Iterator[Figure]:
    """Yield the wall time and the CPU time per job. The emulator's part includes storing and sending the job."""
    yield Figure("… wall time of a job", seconds / jobs * 1000, "ms")
    for program, used in sorted(cpu_seconds.items()):
        yield Figure(f"… CPU of the {program} for a job", used / jobs * 1000, "ms")


def _drain_warm(cloud: LocalCloud, texts: list[str], hold: Hold, *, warm_up_jobs: int) -> tuple[float, Counter[str]]:
    """Drain some jobs so that the workers are warm, then drain a job for each text.

    Return the seconds that the jobs for the texts took, and the CPU seconds that they used, by program.
    """
    _drain(cloud.stack, texts[:warm_up_jobs], hold)
    before = _sum_cpu_seconds(cloud.folder)
    seconds = _drain(cloud.stack, texts, hold)
    return seconds, _sum_cpu_seconds(cloud.folder) - before


def _drain(stack: Stack, texts: list[str], hold: Hold) -> float:
    """Store and send a job for each text while no worker runs, then let the workers run.

    Return the seconds until the last job ended.
    """
    hold(True)
    with ThreadPoolExecutor(max_workers=16) as threads:
        list(threads.map(_build_submit(stack), texts))
    hold(False)
    began, until = now_ms(), time.monotonic() + JOBS_TIMEOUT_SECONDS
    while left := _count_open(stack):
        if time.monotonic() > until:
            raise RuntimeError(f"{left} jobs are still open after {JOBS_TIMEOUT_SECONDS} s")
        _show_progress(f"{left:,} jobs left after {(now_ms() - began) / 1000:.0f} s")
        # A query costs the emulator as much as several jobs, so the pauses are long. The jobs record their own ends.
        time.sleep(max(1, len(texts) / 500))
    return (_find_last_end(stack) - began) / 1000


def _find_last_end(stack: Stack) -> int:
    """Return the time at which the last job ended (ms)."""
    scan = stack.client("dynamodb").get_paginator("scan")
    pages = scan.paginate(TableName=stack.outputs["jobs_table"], ProjectionExpression="completed_at")
    return max(int(item["completed_at"]["N"]) for page in pages for item in page["Items"] if item)


def _build_submit(stack: Stack) -> Callable[[str], None]:
    """Return a function that stores and sends a job as `submit` does, without the time of an HTTP call."""
    store = JobStore(Table(stack.outputs["jobs_table"]), Blobs(stack.outputs["bucket"]))
    queue = Queue(stack.outputs["queue_urls"]["jobs"])

    def submit(text: str) -> None:
        job = _make_job(text, stack.client_id, now=now_ms())
        store.create(job, json.dumps({"documents": [{"id": None, "text": text}]}).encode())
        queue.send(JobMessage(job=job.id, run=1), client_id=job.client_id)

    return submit


def _make_job(text: str, client_id: str, *, now: int) -> Job:
    return Job(
        id=new_job_id(now),
        client_id=client_id,
        model=Model(name="bench", version="1"),
        features=("ents", "sents", "tokens"),
        characters=len(text),
        created_at=now,
        queued_at=now,
        deadline=now + DEADLINE_MS,
        expires_at=now // 1000 + LIFETIME_SECONDS,
    )


def _count_open(stack: Stack) -> int:
    """Return the number of open jobs of the stack's client."""
    # This client waits longer for an answer of a busy emulator than a client that `Table` builds. The query is not
    # paged as in `JobStore.count_open`, because each further query would slow the workers that are measured.
    table = Table(stack.outputs["jobs_table"], dynamodb=stack.client("dynamodb"))
    open_jobs = expression({"client_id": stack.client_id}, KeyConditionExpression="#open_client = :client_id")
    return table.count(limit=_COUNT_LIMIT, IndexName="open", **open_jobs)


def _count_dead_letters(stack: Stack) -> int:
    """Return the number of messages in all dead-letter queues."""
    sqs, name = stack.client("sqs"), "ApproximateNumberOfMessages"
    urls = stack.outputs["dead_letter_queue_urls"].values()
    return sum(int(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name]) for url in urls)


Hold = Callable[[bool], None]  # stops the workers from receiving messages, or lets them continue


@contextmanager
def _run_workers(cloud: LocalCloud, count: int) -> Iterator[Hold]:
    """Let one or two workers process jobs inside the block. One worker is a poller; two are environments of Lambda.

    A mapping cannot be limited to one environment. Reserved concurrency would lose jobs, because the emulator treats a
    throttled invocation as a success.
    """
    with _run_poller(cloud) if count == 1 else _limit_lambda(cloud.stack, count) as hold:
        yield hold


@contextmanager
def _run_poller(cloud: LocalCloud) -> Iterator[Hold]:
    """Run a poller instead of Lambda inside the block."""
    with (
        cloud.make_folder() as folder,
        fleet.pause_lambda(cloud.stack),
        fleet.run_poller(cloud.stack, folder) as poller,
    ):
        yield lambda held: poller.send_signal(signal.SIGSTOP if held else signal.SIGCONT)


@contextmanager
def _limit_lambda(stack: Stack, environments: int) -> Iterator[Hold]:
    """Limit each of the worker's event source mappings to so many environments inside the block."""
    service, mappings = stack.client("lambda"), fleet.list_mappings(stack)
    limit = {"MaximumConcurrency": environments}
    for mapping in mappings:
        service.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig=limit)
    try:
        yield lambda held: fleet.enable_mappings(stack, enabled=not held)
    finally:
        for mapping in mappings:
            former = mapping["ScalingConfig"]
            service.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True, ScalingConfig=former)


def _find_peak_memory_mb(folder: Path) -> float:
    """Return the peak of the resident memory of all worker processes of this cloud, as the kernel recorded it."""
    peaks = [0]
    for process, program in _list_processes(folder):
        if program == "workers":
            with suppress(OSError):  # the process has ended
                status = (process / "status").read_text()
                peaks += map(int, re.findall(r"^VmHWM:\s+(\d+)", status, re.MULTILINE))
    return max(peaks) / 1024


def _sum_cpu_seconds(folder: Path) -> Counter[str]:
    """Return the CPU seconds that the processes of this cloud have used, by program."""
    spent: Counter[str] = Counter()
    for process, program in _list_processes(folder):
        with suppress(OSError):  # the process has ended
            user, system = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
            spent[program] += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")  # type: ignore[assignment]
    return spent


def _list_processes(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the processes of the cloud in `folder` as folders of /proc, each with its program."""
    for process in Path("/proc").iterdir():
        try:
            program, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue  # not a process, or it has ended
        if str(folder).encode() in program + environment:
            yield process, "workers" if any(name in program for name in _WORKERS) else "emulator"


def _submit(client: httpx.Client, text: str) -> str:
    return str(client.post("/analyze", json={"text": text}).raise_for_status().json()["id"])


def _submit_upload(client: httpx.Client, text: str) -> str:
    body = text.encode()
    wanted = {"content_type": "text/plain", "size": len(body)}
    created = client.post("/uploads", json=wanted).raise_for_status().json()
    httpx.put(created["url"], content=body, headers=created["headers"], trust_env=False).raise_for_status()
    answer = client.post("/analyze", json={"upload_id": created["upload_id"]})
    return str(answer.raise_for_status().json()["id"])


def _get_result(job: dict[str, Any]) -> Any:
    """Return the result of a job. A big result is at the job's `result_url`."""
    if "result" in job:
        return job["result"]
    return httpx.get(job["result_url"], trust_env=False).raise_for_status().json()


def _show_progress(what: str) -> None:
    print(f"  … {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
