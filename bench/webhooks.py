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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from bench import command
from bench.local_cloud import api_client, local_cloud
from bench.report import Figure, report
from local.paths import ROOT
from local.stack import Stack

FOLDER = ROOT / ".samovar" / "bench-webhooks"
# More environments than cores would only wait for each other.
VARIABLES = {"worker_concurrency": {"jobs": 2, "isolated": 2}, "webhook_concurrency": 4}
TIMEOUT_SECONDS = 600
DEAD = "http://127.0.0.1:9/hook"  # the port of `discard`, where nobody listens
PARTS = ("idle", "burst", "hanging")


@dataclass(frozen=True)
class Size:
    """The number of jobs with a webhook, and of jobs whose receiver hangs.

    A delivery to a receiver that hangs occupies an environment for 15 s. With `hanging_jobs` of them, some environments
    stay free.
    """

    jobs: int
    hanging_jobs: int
    hanging_environments: int
    hanging_seconds: float


# 45 s cover two attempts, which are five seconds apart. The third attempt follows minutes later.
FULL = Size(jobs=1_000, hanging_jobs=30, hanging_environments=40, hanging_seconds=45)
SMALLEST = Size(jobs=2, hanging_jobs=1, hanging_environments=8, hanging_seconds=0)


class Receiver:
    """A receiver that records the delay of each job's webhook."""

    def __init__(self) -> None:
        self.delays: dict[str, float] = {}  # ms since the job's end
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                now = time.time() * 1000
                job = json.loads(self.rfile.read(int(self.headers["content-length"])))["data"]
                ended = datetime.fromisoformat(job["completed_at"]).timestamp() * 1000
                receiver.delays.setdefault(job["id"], now - ended)
                self.send_response(204)
                self.send_header("connection", "close")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 256

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    @contextmanager
    def listen(self) -> Iterator[Receiver]:
        """Accept webhooks inside the block."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def wait_for(self, ids: set[str]) -> set[str]:
        """Wait until the webhooks of all jobs in `ids` have arrived, or for ten minutes. Return the ids that have."""
        until = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < until and not ids <= self.delays.keys():
            time.sleep(0.2)
        return ids & self.delays.keys()


@contextmanager
def run_hanging_receiver() -> Iterator[str]:
    """Run a receiver that accepts connections and never answers, inside the block. Yield its URL."""
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
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    options = parser.parse_args(arguments)
    size = SMALLEST if options.smallest else FULL
    size = replace(size, jobs=options.jobs or size.jobs)
    with (
        local_cloud(options.folder, own=FOLDER, variables=VARIABLES) as cloud,
        cloud.guest("dead") as second,
        Receiver().listen() as receiver,
        api_client(cloud.stack) as client,
        api_client(second) as other,
    ):
        figures = _figures(cloud.stack, client, other, receiver, options.only, size)
        return report("webhooks", figures, smallest=options.smallest)


def _figures(
    stack: Stack, client: httpx.Client, other: httpx.Client, receiver: Receiver, parts: Sequence[str], size: Size
) -> Iterator[Figure]:
    _measure_delays(client, receiver, min(5, size.jobs))  # warm
    if "idle" in parts:
        yield from _idle(client, other, receiver, size.jobs)
    if "burst" in parts:
        yield from _burst(client, other, receiver, size.jobs)
    if "hanging" in parts:
        with _allow_environments(stack, size.hanging_environments):
            yield from _hanging(client, other, receiver, size)


def _idle(client: httpx.Client, other: httpx.Client, receiver: Receiver, jobs: int) -> Iterator[Figure]:
    arrived = _measure_delays(client, receiver, jobs)
    idle = statistics.median(arrived)
    yield Figure(f"{jobs:,} jobs, one after the other: delivered", len(arrived) / jobs * 100, "%", least=100)
    yield Figure("… from a job's end to its arrival, median", idle, "ms", most=1_000)
    beside = statistics.median(_measure_delays(client, receiver, jobs // 2, beside=(other, DEAD)))
    yield Figure("… while another client's receiver is dead", beside, "ms", most=1_000)
    yield Figure("beside a dead receiver / without", beside / idle, "x", most=1.5)


def _burst(client: httpx.Client, other: httpx.Client, receiver: Receiver, jobs: int) -> Iterator[Figure]:
    burst = _measure_delays(client, receiver, jobs, at_once=8)
    yield Figure(f"{jobs:,} jobs as fast as they are taken: delivered", len(burst) / jobs * 100, "%", least=100)
    yield Figure("… from a job's end to its arrival, median", statistics.median(burst), "ms")
    yield from _half(client, receiver, jobs // 2, (other, DEAD), "that is dead")


def _hanging(client: httpx.Client, other: httpx.Client, receiver: Receiver, size: Size) -> Iterator[Figure]:
    jobs, environments = size.hanging_jobs, size.hanging_environments
    with run_hanging_receiver() as url:
        _measure_delays(client, receiver, jobs, beside=(other, url))  # starts the environments
        time.sleep(size.hanging_seconds)
        beside = statistics.median(_measure_delays(client, receiver, jobs, beside=(other, url)))
        yield Figure(f"… while {jobs} hang, {environments} environments, median", beside, "ms", most=1_000)
        time.sleep(size.hanging_seconds)
        yield from _half(client, receiver, size.jobs // 2, (other, url), "that hangs")


def _half(
    client: httpx.Client, receiver: Receiver, jobs: int, beside: tuple[httpx.Client, str], kind: str
) -> Iterator[Figure]:
    half = _measure_delays(client, receiver, jobs, at_once=8, beside=beside)
    yield Figure(f"{jobs:,} beside as many to a receiver {kind}: delivered", len(half) / jobs * 100, "%", least=100)
    yield Figure("… from a job's end to its arrival, median", statistics.median(half), "ms")


@contextmanager
def _allow_environments(stack: Stack, environments: int) -> Iterator[None]:
    """Allow so many concurrent attempts inside the block."""
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
    """Return the milliseconds from each job's end to the arrival of its webhook.

    `beside` is another client that submits as many jobs, and the URL of its receiver.
    """
    began = time.perf_counter()
    calls = [(client, receiver.url)] * jobs
    if beside is not None:
        calls = [call for pair in zip(calls, [beside] * jobs, strict=True) for call in pair]
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
