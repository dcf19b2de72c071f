"""The whole service on a local cloud: a warm job, long jobs, a big text on one and on two workers, and many jobs."""

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
from typing import Any

import httpx

from bench import command
from bench.local_cloud import PATIENCE_SECONDS, LocalCloud, api_client, credentials, local_cloud, wait_for_success
from bench.report import Figure, report
from bench.throughput import model_path, texts
from functions.worker import pipeline
from local import fleet
from local.paths import ROOT
from local.stack import Stack
from shared.aws.blobs import Blobs
from shared.aws.queue import Queue
from shared.aws.table import Table
from shared.clock import now_ms
from shared.jobs.job import DEADLINE_MS, LIFETIME_SECONDS, Job, Model, new_job_id
from shared.jobs.message import JobMessage
from shared.jobs.store import JobStore

FOLDER = ROOT / ".samovar" / "bench-cloud"
_WORKERS = (b"-worker-", b"functions.worker.poll")  # in the command of a worker's process
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
    parser.add_argument("--jobs", type=int, help=f"how many jobs to drain (default: {FULL.many_jobs:,})")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    options = parser.parse_args(arguments)
    size = SMALLEST if options.smallest else FULL
    if options.jobs:
        size = replace(size, many_jobs=options.jobs)
    with (
        local_cloud(options.folder, own=FOLDER) as cloud,
        credentials(cloud.stack),
        api_client(cloud.stack) as client,
    ):
        return report("cloud", _figures(cloud, client, options.only, size), smallest=options.smallest)


def _figures(cloud: LocalCloud, client: httpx.Client, parts: Sequence[str], size: Size) -> Iterator[Figure]:
    if "warm" in parts:
        yield from _warm_jobs(client, size.warm_jobs)
    if "long" in parts:
        yield from _long_jobs(cloud, size.long_jobs, size.long_words)
    if "big" in parts:
        yield from _big_text(cloud, client, size)
    if "many" in parts:
        yield from _many_jobs(cloud, size.many_jobs)
    yield Figure("peak memory of a worker", _peak_memory_mb(cloud.folder), "MB", most=700)


def _warm_jobs(client: httpx.Client, jobs: int) -> Iterator[Figure]:
    _progress("one job after the other")
    for _ in range(3):
        wait_for_success(client, _submit(client, "Ada Lovelace lived in London."))
    seconds = []
    for _ in range(jobs):
        began = time.perf_counter()
        wait_for_success(client, _submit(client, "Ada Lovelace lived in London."))
        seconds.append(time.perf_counter() - began)
    yield Figure(
        "warm job, from submit to the answer of a waiting client, median",
        statistics.median(seconds) * 1000,
        "ms",
        most=250,
    )


def _long_jobs(cloud: LocalCloud, jobs: int, words: int) -> Iterator[Figure]:
    _progress(f"{jobs} jobs of {words} words, on one worker")
    batch = texts(jobs, words)
    nlp = pipeline.load(model_path()).nlp
    # nlp.pipe runs before and after the worker, so that a slow phase of the machine affects both.
    tens = [batch[start : start + 10] for start in range(0, len(batch), 10)]  # the batches of the worker

    def pipe() -> None:
        for ten in tens:
            list(nlp.pipe(ten))

    bare = [_seconds(pipe)]
    with _workers(cloud, 1) as hold:
        _drain(cloud.stack, batch[:10], hold)
        before = _cpu_seconds(cloud.folder)
        ours = _drain(cloud.stack, batch, hold)
        spent = _cpu_seconds(cloud.folder) - before
    bare.append(_seconds(pipe))
    ratio = statistics.mean(bare) / ours
    yield Figure(f"jobs of {words} words on one worker / nlp.pipe, throughput", ratio, "x", least=0.6)
    yield Figure("… nlp.pipe", jobs * words / statistics.mean(bare), "words/s")
    yield from _compute_times(spent, ours, jobs)


def _big_text(cloud: LocalCloud, client: httpx.Client, size: Size) -> Iterator[Figure]:
    paragraph = " ".join(texts(8, 60)) + "\n\n"
    text = (paragraph * (size.big_characters // len(paragraph) + 1))[: size.big_characters]
    seconds, results = [], []
    for workers in (1, 2):
        _progress(f"a text of {len(text):,} characters, on {workers} worker{'s' if workers > 1 else ''}")
        with _workers(cloud, workers):
            wait_for_success(client, _submit_upload(client, text[: size.warming_characters]))
            began = time.perf_counter()
            job = wait_for_success(client, _submit_upload(client, text))
            seconds.append(time.perf_counter() - began)
        results.append(_get_result(job))
    if results[0] != results[1]:
        raise RuntimeError("One worker and two gave different results")
    megabytes = f"{size.big_characters / 1_000_000:g} MB"
    yield Figure(f"text of {megabytes}, two workers / one, wall time", seconds[1] / seconds[0], "x", most=0.65)
    yield Figure(f"text of {megabytes}, one worker", seconds[0], "s")


def _many_jobs(cloud: LocalCloud, count: int) -> Iterator[Figure]:
    _progress(f"{count:,} jobs, on two workers")
    stack = cloud.stack
    with _workers(cloud, 2) as hold:
        _drain(stack, texts(min(20, count)), hold)
        before = _cpu_seconds(cloud.folder)
        seconds = _drain(stack, texts(count), hold)
        spent = _cpu_seconds(cloud.folder) - before
    yield Figure(f"{count:,} jobs of 25 words on two workers", count / seconds, "jobs/s")
    yield from _compute_times(spent, seconds, count)
    yield Figure("jobs left open", float(_open_jobs(stack)), "", most=0)
    dead = [
        int(_attribute(stack, url, "ApproximateNumberOfMessages"))
        for url in stack.outputs["dead_letter_queue_urls"].values()
    ]
    yield Figure("dead letters", float(sum(dead)), "", most=0)


def _compute_times(spent: Counter[str], seconds: float, jobs: int) -> Iterator[Figure]:
    """Yield the wall time and the CPU time per job. The emulator's part includes storing and sending the job."""
    yield Figure("… wall time of a job", seconds / jobs * 1000, "ms")
    for program, taken in sorted(spent.items()):
        yield Figure(f"… CPU of the {program} for a job", taken / jobs * 1000, "ms")


def _drain(stack: Stack, batch: list[str], hold: Hold) -> float:
    """Store and send a job for each text while no worker runs, then let the workers run.

    Return the seconds until the last job ended.
    """
    hold(True)
    with ThreadPoolExecutor(max_workers=16) as threads:
        list(threads.map(_build_submit(stack), batch))
    hold(False)
    began, until = now_ms(), time.monotonic() + PATIENCE_SECONDS
    while left := _open_jobs(stack):
        if time.monotonic() > until:
            raise RuntimeError(f"{left} jobs are still open after {PATIENCE_SECONDS} s")
        _progress(f"{left:,} jobs left after {(now_ms() - began) / 1000:.0f} s")
        # Each query costs the emulator as much as several jobs, so query seldom. The jobs record their own ends.
        time.sleep(max(1, len(batch) / 500))
    return (_last_end(stack) - began) / 1000


def _last_end(stack: Stack) -> int:
    """Return the time at which the last job ended (ms)."""
    pages = (
        stack.client("dynamodb")
        .get_paginator("scan")
        .paginate(TableName=stack.outputs["jobs_table"], ProjectionExpression="completed_at")
    )
    return max(int(item["completed_at"]["N"]) for page in pages for item in page["Items"] if item)


def _build_submit(stack: Stack) -> Callable[[str], None]:
    """Return a function that stores and sends a job as `submit` does, without the time of an HTTP call."""
    outputs = stack.outputs
    store = JobStore(Table(outputs["jobs_table"]), Blobs(outputs["bucket"]))
    queue = Queue(outputs["queue_urls"]["jobs"])

    def submit(text: str) -> None:
        now = now_ms()
        job = Job(
            id=new_job_id(now),
            client_id=stack.client_id,
            model=Model(name="bench", version="1"),
            features=("ents", "sents", "tokens"),
            characters=len(text),
            created_at=now,
            queued_at=now,
            deadline=now + DEADLINE_MS,
            expires_at=now // 1000 + LIFETIME_SECONDS,
        )
        store.create(job, json.dumps({"documents": [{"id": None, "text": text}]}).encode())
        queue.send(JobMessage(job=job.id, run=1), client_id=job.client_id)

    return submit


def _open_jobs(stack: Stack) -> int:
    """Return the number of open jobs of the stack's client."""
    pages = (
        stack.client("dynamodb")
        .get_paginator("query")
        .paginate(
            TableName=stack.outputs["jobs_table"],
            IndexName="open",
            Select="COUNT",
            KeyConditionExpression="open_client = :client",
            ExpressionAttributeValues={":client": {"S": stack.client_id}},
        )
    )
    return sum(page["Count"] for page in pages)


Hold = Callable[[bool], None]  # stops the workers from receiving messages, or lets them continue


@contextmanager
def _workers(cloud: LocalCloud, count: int) -> Iterator[Hold]:
    """Provide `count` workers inside the block. One worker is a poller; two are environments of Lambda.

    A mapping cannot be limited to one environment. Reserved concurrency would lose jobs, because the emulator treats a
    throttled invocation as a success.
    """
    if count == 1:
        with (
            cloud.scratch() as folder,
            fleet.pause_lambda(cloud.stack),
            fleet.run_poller(cloud.stack, folder) as one,
        ):
            yield lambda held: one.send_signal(signal.SIGSTOP if held else signal.SIGCONT)
        return
    service, mappings = cloud.stack.client("lambda"), fleet.list_mappings(cloud.stack)
    for mapping in mappings:
        service.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": count})
    try:
        yield lambda held: fleet.enable_mappings(cloud.stack, enabled=not held)
    finally:
        for mapping in mappings:
            service.update_event_source_mapping(
                UUID=mapping["UUID"], Enabled=True, ScalingConfig=mapping["ScalingConfig"]
            )


def _attribute(stack: Stack, url: str, name: str) -> str:
    attributes = stack.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"]
    return str(attributes[name])


def _peak_memory_mb(folder: Path) -> float:
    """Return the highest resident memory of any worker process of this cloud, as the kernel counted it."""
    peaks = [0]
    for process, program in _processes(folder):
        if program == "workers":
            with suppress(OSError):  # the process has ended
                status = (process / "status").read_text()
                peaks += map(int, re.findall(r"^VmHWM:\s+(\d+)", status, re.MULTILINE))
    return max(peaks) / 1024


def _cpu_seconds(folder: Path) -> Counter[str]:
    """Return the CPU seconds that the processes of this cloud have used, by program."""
    spent: Counter[str] = Counter()
    for process, program in _processes(folder):
        with suppress(OSError):  # the process has ended
            user, system = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
            spent[program] += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")  # type: ignore[assignment]
    return spent


def _processes(folder: Path) -> Iterator[tuple[Path, str]]:
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


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _progress(what: str) -> None:
    print(f"  … {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
