"""The time from a job's end to the arrival of its webhook, also beside receivers that are dead or hang."""

from __future__ import annotations

import json
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from bench import command
from bench.local_cloud import open_api, open_local_cloud
from bench.report import Figure, report
from local.paths import GENERATED
from local.stack import Stack

FOLDER = GENERATED / "bench-webhooks"
# More environments than cores would only wait for each other.
VARIABLES = {"worker_concurrency": {"jobs": 2, "isolated": 2}, "webhook_concurrency": 4}
TIMEOUT_SECONDS = 600
DEAD = "http://127.0.0.1:9/hook"  # the port of `discard`, where nobody listens
DELAY = "… from a job's end to the arrival of its event, median"
PARTS = ("idle", "burst", "hanging")


@dataclass(frozen=True)
class Size:
    """The number of jobs with a live receiver, and of jobs whose receiver hangs.

    A delivery to a receiver that hangs occupies an environment for 15 s. `hanging_jobs` is less than
    `hanging_environments`, so that some environments stay free. `hanging_seconds` is the pause after those jobs.
    """

    jobs: int
    hanging_jobs: int
    hanging_environments: int
    hanging_seconds: float


# 45 s cover two attempts, which are five seconds apart. The third attempt follows minutes later.
FULL = Size(jobs=1_000, hanging_jobs=30, hanging_environments=40, hanging_seconds=45)
SMALLEST = Size(jobs=2, hanging_jobs=1, hanging_environments=8, hanging_seconds=0)


class Receiver:
    """A receiver that records the delay of each job's webhook event.

    `delays` are the milliseconds from a job's end to the arrival of its event, by the job's id.
    """

    def __init__(self) -> None:
        """Open a free port."""
        self.delays: dict[str, float] = {}
        self._server = _Server(("127.0.0.1", 0), partial(_Handler, self.delays))
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    @contextmanager
    def listen(self) -> Iterator[Receiver]:
        """Accept events inside the block."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def wait_for(self, job_ids: set[str]) -> set[str]:
        """Wait until the events of all jobs have arrived, ten minutes at most. Return the ids of those that have."""
        until = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < until and not job_ids <= self.delays.keys():
            time.sleep(0.2)
        return job_ids & self.delays.keys()


class _Server(ThreadingHTTPServer):
    request_queue_size = 256


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, delays: dict[str, float], *arguments: Any) -> None:
        self._delays = delays  # first, because the base class handles the request while it is constructed
        super().__init__(*arguments)

    def do_POST(self) -> None:
        now = time.time() * 1000
        job = json.loads(self.rfile.read(int(self.headers["content-length"])))["data"]
        ended = datetime.fromisoformat(job["completed_at"]).timestamp() * 1000
        self._delays.setdefault(job["id"], now - ended)
        self.send_response(204)
        self.send_header("connection", "close")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def run_hanging_receiver() -> Iterator[str]:
    """Run a receiver inside the block that accepts connections and never answers. Yield its URL."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:

        def accept() -> None:
            with suppress(OSError):  # the listener was closed
                while True:
                    accepted.append(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/hook"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in accepted:
                connection.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure on a local cloud. Return 1 if a target is missed."""
    parser = command.build_parser("webhooks", __doc__)
    parser.add_argument("--jobs", type=int, help=f"number of jobs with a webhook (default: {FULL.jobs:,})")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure (default: all)")
    options = parser.parse_args(arguments)
    size = SMALLEST if options.smallest else FULL
    size = replace(size, jobs=options.jobs or size.jobs)
    with (
        open_local_cloud(options.folder, own=FOLDER, variables=VARIABLES) as cloud,
        cloud.register_client("dead") as second,
        Receiver().listen() as receiver,
        open_api(cloud.stack) as client,
        open_api(second) as other,
    ):
        figures = _measure(cloud.stack, client, other, receiver, options.only, size)
        return report("webhooks", figures, smallest=options.smallest)


def _measure(
    stack: Stack, client: httpx.Client, other: httpx.Client, receiver: Receiver, parts: Sequence[str], size: Size
) -> Iterator[Figure]:
    _measure_delays(client, receiver, min(5, size.jobs))  # afterwards, all functions are warm
    if "idle" in parts:
        yield from _measure_idle(client, other, receiver, size.jobs)
    if "burst" in parts:
        yield from _measure_burst(client, other, receiver, size.jobs)
    if "hanging" in parts:
        with _allow_environments(stack, size.hanging_environments):
            yield from _measure_hanging(client, other, receiver, size)


def _measure_idle(client: httpx.Client, other: httpx.Client, receiver: Receiver, jobs: int) -> Iterator[Figure]:
    """Measure jobs that run one after the other, alone and beside a dead receiver."""
    delays = _measure_delays(client, receiver, jobs)
    alone = statistics.median(delays)
    yield Figure(f"{jobs:,} jobs, one after the other: delivered", len(delays) / jobs * 100, "%", least=100)
    yield Figure(DELAY, alone, "ms", most=1_000)
    beside = statistics.median(_measure_delays(client, receiver, jobs // 2, beside=(other, DEAD)))
    yield Figure("… beside as many jobs with a dead receiver", beside, "ms", most=1_000)
    yield Figure("beside a dead receiver / alone", beside / alone, "x", most=1.5)


def _measure_burst(client: httpx.Client, other: httpx.Client, receiver: Receiver, jobs: int) -> Iterator[Figure]:
    """Measure jobs that are submitted as fast as possible, alone and beside a dead receiver."""
    delays = _measure_delays(client, receiver, jobs, at_once=8)
    yield Figure(f"{jobs:,} jobs at once: delivered", len(delays) / jobs * 100, "%", least=100)
    yield Figure(DELAY, statistics.median(delays), "ms")
    yield from _measure_beside(client, receiver, jobs // 2, (other, DEAD), "is dead")


def _measure_hanging(client: httpx.Client, other: httpx.Client, receiver: Receiver, size: Size) -> Iterator[Figure]:
    """Measure jobs beside a receiver that hangs, one after the other and as fast as possible."""
    jobs, environments = size.hanging_jobs, size.hanging_environments
    with run_hanging_receiver() as url:
        _measure_delays(client, receiver, jobs, beside=(other, url))  # starts the environments
        time.sleep(size.hanging_seconds)
        delay = statistics.median(_measure_delays(client, receiver, jobs, beside=(other, url)))
        name = f"one after the other, while {jobs} hang, {environments} environments"
        yield Figure(name, delay, "ms", most=1_000)
        time.sleep(size.hanging_seconds)
        yield from _measure_beside(client, receiver, size.jobs // 2, (other, url), "hangs")


def _measure_beside(
    client: httpx.Client, receiver: Receiver, jobs: int, beside: tuple[httpx.Client, str], state: str
) -> Iterator[Figure]:
    """Measure jobs beside as many jobs of another client whose receiver is in `state`."""
    delays = _measure_delays(client, receiver, jobs, at_once=8, beside=beside)
    name = f"{jobs:,} at once beside {jobs:,} whose receiver {state}: delivered"
    yield Figure(name, len(delays) / jobs * 100, "%", least=100)
    yield Figure(DELAY, statistics.median(delays), "ms")


@contextmanager
def _allow_environments(stack: Stack, environments: int) -> Iterator[None]:
    """Allow so many concurrent environments of `webhook` inside the block."""
    service = stack.client("lambda")
    listed = service.list_event_source_mappings()["EventSourceMappings"]
    (mapping,) = [one for one in listed if one["EventSourceArn"].endswith("-webhooks")]
    service.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": environments})
    try:
        yield
    finally:
        service.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig=mapping["ScalingConfig"])


def _measure_delays(
    client: httpx.Client,
    receiver: Receiver,
    jobs: int,
    *,
    at_once: int = 1,
    beside: tuple[httpx.Client, str] | None = None,
) -> list[float]:
    """Return the milliseconds from each job's end to the arrival of its event, for the events that have arrived.

    Submit `at_once` jobs at a time. `beside` is another client that submits as many jobs, and the URL of its receiver.
    """
    began = time.perf_counter()
    own = [(client, receiver.url)] * jobs
    calls = own if beside is None else [call for pair in zip(own, [beside] * jobs, strict=True) for call in pair]
    with ThreadPoolExecutor(max_workers=at_once) as threads:
        submitted = list(threads.map(lambda call: _submit(*call, waits=at_once == 1), calls))
    expected = {job_id for job_id, (_, url) in zip(submitted, calls, strict=True) if url == receiver.url}
    arrived = receiver.wait_for(expected)
    print(f"  … {len(arrived):,} of {jobs:,} in {time.perf_counter() - began:.0f} s", flush=True)
    return [receiver.delays[job_id] for job_id in arrived]


def _submit(client: httpx.Client, url: str, *, waits: bool) -> str:
    answer = client.post("/analyze", json={"text": "Ada Lovelace lived in London.", "webhook": {"url": url}})
    job_id: str = answer.raise_for_status().json()["id"]
    if waits:  # for its end, so that the jobs run one after the other
        client.get(f"/jobs/{job_id}", params={"wait": 20}).raise_for_status()
    return job_id


if __name__ == "__main__":
    sys.exit(main())
