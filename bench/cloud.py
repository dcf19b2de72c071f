"""The whole path on a local cloud of its own: a warm job, a big text on one and on two workers, and many jobs."""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from bench.report import Figure, report
from bench.throughput import model_path, texts
from functions.worker import pipeline
from local import cloud, emulator, fleet
from local.stack import Stack
from local.steps import Steps
from shared.blobs import Blobs
from shared.clock import now_ms
from shared.models import Job, Message, Model, new_job_id
from shared.queues import Lane
from shared.store import DEADLINE_MS, DUE_SLOTS, LIFETIME_SECONDS, JobStore

FOLDER = emulator.ROOT / ".samovar" / "bench-cloud"
WARM_JOBS = 50
BIG_CHARACTERS = 3_000_000
WARMING_CHARACTERS = 200_000  # of several shards: every worker has its model
MANY_JOBS = 10_000
LONG_JOBS, LONG_WORDS = 200, 500
PATIENCE_SECONDS = 1_200
_WORKERS = (b"-worker-", b"functions.worker.poll")  # in the command of a worker's process
PARTS = ("warm", "long", "big", "many")


def main() -> int:
    """Start the cloud, measure, stop it."""
    parser = argparse.ArgumentParser(prog="python -m bench.cloud", description=__doc__)
    parser.add_argument("--jobs", type=int, default=MANY_JOBS, help="how many jobs to drain (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        with Steps(Console(file=sys.stdout, highlight=False)) as steps:
            stack = cloud.up(FOLDER, steps=steps, port=None)
        with _credentials(stack), _client(stack) as client:
            return report("cloud", list(_figures(stack, client, options.only, options.jobs)))
    finally:
        cloud.down(FOLDER)


def _figures(stack: Stack, client: httpx.Client, parts: Sequence[str], jobs: int) -> Iterator[Figure]:
    if "warm" in parts:
        yield from _warm_jobs(client)
    if "long" in parts:
        yield from _long_jobs(stack)
    if "big" in parts:
        yield from _big_text(stack, client)
    if "many" in parts:
        yield from _many_jobs(stack, jobs)
    yield Figure("peak memory of a worker", _peak_memory_mb(), "MB", most=700)


def _warm_jobs(client: httpx.Client) -> Iterator[Figure]:
    _progress("one job after the other")
    for _ in range(3):
        _finished(client, _submit(client, "Ada Lovelace lived in London."))
    seconds = []
    for _ in range(WARM_JOBS):
        began = time.perf_counter()
        _finished(client, _submit(client, "Ada Lovelace lived in London."))
        seconds.append(time.perf_counter() - began)
    yield Figure(
        "warm job, submit to succeeded seen by who waits, median", statistics.median(seconds) * 1000, "ms", most=250
    )


def _long_jobs(stack: Stack) -> Iterator[Figure]:
    _progress(f"{LONG_JOBS} jobs of {LONG_WORDS} words, on one worker")
    batch = texts(LONG_JOBS, LONG_WORDS)
    nlp = pipeline.load(model_path())._nlp
    # Before and after, so that a slow spell of the machine falls on both sides.
    tens = [batch[start : start + 10] for start in range(0, len(batch), 10)]  # as the worker gets them

    def pipe() -> None:
        for ten in tens:
            list(nlp.pipe(ten))

    bare = [_seconds(pipe)]
    with _workers(stack, 1) as hold:
        _drain(stack, batch[:10], hold)
        before = _cpu_seconds()
        ours = _drain(stack, batch, hold)
        spent = _cpu_seconds() - before
    bare.append(_seconds(pipe))
    ratio = statistics.mean(bare) / ours
    yield Figure(f"jobs of {LONG_WORDS} words on one worker / nlp.pipe, throughput", ratio, "x", least=0.6)
    yield Figure("… nlp.pipe", LONG_JOBS * LONG_WORDS / statistics.mean(bare), "words/s")
    yield from _each(spent, ours, LONG_JOBS)


def _big_text(stack: Stack, client: httpx.Client) -> Iterator[Figure]:
    paragraph = " ".join(texts(8, 60)) + "\n\n"
    text = (paragraph * (BIG_CHARACTERS // len(paragraph) + 1))[:BIG_CHARACTERS]
    seconds, results = [], []
    for workers in (1, 2):
        _progress(f"a text of {len(text):,} characters, on {workers} worker{'s' if workers > 1 else ''}")
        with _workers(stack, workers):
            _finished(client, _submit_upload(client, text[:WARMING_CHARACTERS]))
            began = time.perf_counter()
            job = _finished(client, _submit_upload(client, text))
            seconds.append(time.perf_counter() - began)
        results.append(httpx.get(job["result_url"], trust_env=False).raise_for_status().json())
    if results[0] != results[1]:
        raise RuntimeError("One worker and two gave different results")
    yield Figure("text of 3 MB, two workers / one, wall time", seconds[1] / seconds[0], "x", most=0.65)
    yield Figure("text of 3 MB, one worker", seconds[0], "s")


def _many_jobs(stack: Stack, count: int) -> Iterator[Figure]:
    _progress(f"{count:,} jobs, on two workers")
    with _workers(stack, 2) as hold:
        _drain(stack, texts(20), hold)
        before = _cpu_seconds()
        seconds = _drain(stack, texts(count), hold)
        spent = _cpu_seconds() - before
    yield Figure(f"{count:,} jobs of 25 words on two workers", count / seconds, "jobs/s")
    yield from _each(spent, seconds, count)
    yield Figure("jobs left open", float(_open_jobs(stack)), "", most=0)
    dead = [
        int(_attribute(stack, url, "ApproximateNumberOfMessages"))
        for url in stack.outputs["dead_letter_queue_urls"].values()
    ]
    yield Figure("dead letters", float(sum(dead)), "", most=0)


def _each(spent: Counter[str], seconds: float, jobs: int) -> Iterator[Figure]:
    """What a job's time goes into; storing and queueing it, before the clock, is in the emulator's."""
    yield Figure("… wall time of a job", seconds / jobs * 1000, "ms")
    for program, taken in sorted(spent.items()):
        yield Figure(f"… CPU of the {program} for a job", taken / jobs * 1000, "ms")


def _drain(stack: Stack, batch: list[str], hold: Hold) -> float:
    """Store and queue a job for each text, while no worker runs; then let them run. Seconds to the last one's end."""
    hold(True)
    with ThreadPoolExecutor(max_workers=16) as threads:
        list(threads.map(_store_of(stack), batch))
    hold(False)
    began, until = now_ms(), time.monotonic() + PATIENCE_SECONDS
    while left := _open_jobs(stack):
        if time.monotonic() > until:
            raise RuntimeError(f"{left} jobs are still open after {PATIENCE_SECONDS} s")
        _progress(f"{left:,} jobs left after {(now_ms() - began) / 1000:.0f} s")
        # Seldom, because each look costs the emulator as much as several jobs; the jobs say when they ended.
        time.sleep(max(1, len(batch) / 500))
    return (_last_end(stack) - began) / 1000


def _last_end(stack: Stack) -> int:
    """When the job that ended last did."""
    pages = (
        stack.client("dynamodb")
        .get_paginator("scan")
        .paginate(TableName=stack.outputs["jobs_table"], ProjectionExpression="completed_at")
    )
    return max(int(item["completed_at"]["N"]) for page in pages for item in page["Items"] if item)


def _store_of(stack: Stack) -> Callable[[str], None]:
    """Stores and queues a job as `submit` does, without the API, which would be what is measured."""
    outputs = stack.outputs
    store, lane = JobStore(outputs["jobs_table"], Blobs(outputs["bucket"])), Lane(outputs["queue_urls"]["jobs"])

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
        lane.send(Message(job=job.id, run=1), client_id=job.client_id)

    return submit


def _open_jobs(stack: Stack) -> int:
    """Whatever is open is in the index `due`."""
    dynamodb, table = stack.client("dynamodb"), stack.outputs["jobs_table"]
    count = 0
    for slot in range(DUE_SLOTS):
        pages = dynamodb.get_paginator("query").paginate(
            TableName=table,
            IndexName="due",
            Select="COUNT",
            KeyConditionExpression="due_slot = :slot",
            ExpressionAttributeValues={":slot": {"N": str(slot)}},
        )
        count += sum(page["Count"] for page in pages)
    return count


Hold = Callable[[bool], None]  # keeps the workers from receiving anything, or lets them again


@contextmanager
def _workers(stack: Stack, count: int) -> Iterator[Hold]:
    """One worker is the process that polls, two are environments of Lambda's.

    A mapping has no less than two at a time, and reserved concurrency would lose jobs: the emulator takes a throttled
    invoke for one that went well.
    """
    if count == 1:
        with fleet.without_lambda(stack), fleet.poller(stack, FOLDER) as one:
            yield lambda held: one.send_signal(signal.SIGSTOP if held else signal.SIGCONT)
        return
    service, mappings = stack.client("lambda"), fleet.mappings(stack)
    for mapping in mappings:
        service.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": count})
    yield lambda held: fleet.enable_mappings(stack, enabled=not held)
    for mapping in mappings:
        service.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig=mapping["ScalingConfig"])


def _attribute(stack: Stack, url: str, name: str) -> str:
    attributes = stack.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"]
    return str(attributes[name])


def _peak_memory_mb() -> float:
    """The most that a process of the worker on this cloud has had resident, by the kernel's count."""
    peaks = [0]
    for process, program in _processes():
        if program == "workers":
            status = (process / "status").read_text()
            peaks.append(int(status.partition("VmHWM:")[2].split()[0]))
    return max(peaks) / 1024


def _cpu_seconds() -> Counter[str]:
    """What the processes of this cloud have used, by program."""
    spent: Counter[str] = Counter()
    for process, program in _processes():
        user, system = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
        spent[program] += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")  # type: ignore[assignment]
    return spent


def _processes() -> Iterator[tuple[Path, str]]:
    """The processes of this cloud in /proc, and what each is."""
    for process in Path("/proc").iterdir():
        try:
            command, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue  # not a process, or it has ended meanwhile
        if str(FOLDER).encode() in command + environment:
            yield process, "workers" if any(name in command for name in _WORKERS) else "emulator"


@contextmanager
def _credentials(stack: Stack) -> Iterator[None]:
    """For the project's own clients of AWS, which take them from the environment."""
    before = dict(os.environ)
    os.environ.update(emulator.access(stack.aws_endpoint_url))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _client(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.api_url, timeout=60, trust_env=False) as client:
        credentials = (stack.client_id, stack.client_secret)
        granted = client.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=credentials)
        client.headers["authorization"] = f"Bearer {granted.raise_for_status().json()['access_token']}"
        yield client


def _submit(client: httpx.Client, text: str) -> str:
    return str(client.post("/analyze", json={"text": text}).raise_for_status().json()["id"])


def _submit_upload(client: httpx.Client, text: str) -> str:
    body = text.encode()
    wanted = {"content_type": "text/plain", "size": len(body)}
    announced = client.post("/uploads", json=wanted).raise_for_status().json()
    httpx.put(announced["url"], content=body, headers=announced["headers"], trust_env=False).raise_for_status()
    answer = client.post("/analyze", json={"upload_id": announced["upload_id"]})
    return str(answer.raise_for_status().json()["id"])


def _finished(client: httpx.Client, job_id: str) -> dict[str, Any]:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        job: dict[str, Any] = client.get(f"/jobs/{job_id}", params={"wait": 20}).raise_for_status().json()
        if job["status"] == "succeeded":
            return job
        if job["status"] not in {"queued", "running"}:
            raise RuntimeError(f"The job has {job['status']}: {job.get('error')}")
    raise RuntimeError(f"The job is still open after {PATIENCE_SECONDS} s")


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _progress(what: str) -> None:
    print(f"  … {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
