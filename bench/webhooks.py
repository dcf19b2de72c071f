"""Webhooks on a local cloud of its own: from a job's end to its arrival, and beside receivers that are dead or hang."""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from rich.console import Console

from bench.report import Figure, report
from local import clients, cloud, emulator
from local.stack import Stack
from local.steps import Steps

FOLDER = emulator.ROOT / ".samovar" / "bench-webhooks"
JOBS = 1_000
# More environments than cores only wait for each other.
VARIABLES = {"worker_concurrency": {"jobs": 2, "solo": 2}, "webhook_concurrency": 4}
PATIENCE_SECONDS = 600
DEAD = "http://127.0.0.1:9/hook"  # the port of `discard`, where nobody listens
# Each delivery that hangs holds an environment for 15 s: so many jobs at a time leave some free.
HANGING_JOBS, HANGING_ENVIRONMENTS = 30, 40
HANGING_SECONDS = 45  # two attempts, five seconds apart; the third is minutes later
PARTS = ("idle", "burst", "hanging")


class Receiver:
    """Notes when the announcement of each job arrives."""

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
                """Says nothing."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 256

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    @contextmanager
    def listening(self) -> Iterator[Receiver]:
        """Until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def wait_for(self, ids: set[str]) -> set[str]:
        """The jobs among `ids` that were announced within the time that anybody would wait."""
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until and not ids <= self.delays.keys():
            time.sleep(0.2)
        return ids & self.delays.keys()


@contextmanager
def hanging() -> Iterator[str]:
    """The URL of a receiver that takes connections and never answers, until the block ends."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:

        def take() -> None:
            with suppress(OSError):  # the end
                while True:
                    taken.append(listener.accept()[0])

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/hook"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in taken:
                connection.close()


def main() -> int:
    """Start the cloud, measure, stop it."""
    parser = argparse.ArgumentParser(prog="python -m bench.webhooks", description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS, help="how many jobs have a webhook (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        with Steps(Console(file=sys.stdout, highlight=False)) as steps:
            stack = cloud.up(FOLDER, steps=steps, port=None, variables=VARIABLES)
        first = (stack.client_id, stack.client_secret)
        second = clients.register(
            stack.client("dynamodb"), stack.outputs["clients_table"], name="dead", scope=clients.SCOPE
        )
        _give_secret(stack, second[0])
        with Receiver().listening() as receiver, _client(stack, first) as client, _client(stack, second) as other:
            return report("webhooks", list(_figures(stack, client, other, receiver, options.only, options.jobs)))
    finally:
        cloud.down(FOLDER)


def _figures(
    stack: Stack, client: httpx.Client, other: httpx.Client, receiver: Receiver, parts: Sequence[str], jobs: int
) -> Iterator[Figure]:
    _arrived(client, receiver, 5)  # warm
    if "idle" in parts:
        yield from _idle(client, other, receiver, jobs)
    if "burst" in parts:
        yield from _burst(client, other, receiver, jobs)
    if "hanging" in parts:
        yield from _hanging(stack, client, other, receiver, jobs)


def _idle(client: httpx.Client, other: httpx.Client, receiver: Receiver, jobs: int) -> Iterator[Figure]:
    arrived = _arrived(client, receiver, jobs)
    idle = statistics.median(arrived)
    yield Figure(f"{jobs:,} jobs, one after the other: delivered", len(arrived) / jobs * 100, "%", least=100)
    yield Figure("… from a job's end to its arrival, median", idle, "ms", most=1_000)
    beside = statistics.median(_arrived(client, receiver, jobs // 2, beside=(other, DEAD)))
    yield Figure("… while another client's receiver is dead", beside, "ms", most=1_000)
    yield Figure("beside a dead receiver / without", beside / idle, "x", most=1.5)


def _burst(client: httpx.Client, other: httpx.Client, receiver: Receiver, jobs: int) -> Iterator[Figure]:
    burst = _arrived(client, receiver, jobs, at_once=8)
    yield Figure(f"{jobs:,} jobs as fast as they are taken: delivered", len(burst) / jobs * 100, "%", least=100)
    yield Figure("… from a job's end to its arrival, median", statistics.median(burst), "ms")
    yield from _half(client, receiver, jobs // 2, (other, DEAD), "that is dead")


def _hanging(
    stack: Stack, client: httpx.Client, other: httpx.Client, receiver: Receiver, jobs: int
) -> Iterator[Figure]:
    _allow(stack, HANGING_ENVIRONMENTS)
    with hanging() as url:
        _arrived(client, receiver, HANGING_JOBS, beside=(other, url))  # begins the environments
        time.sleep(HANGING_SECONDS)
        beside = statistics.median(_arrived(client, receiver, HANGING_JOBS, beside=(other, url)))
        yield Figure(
            f"… while {HANGING_JOBS} hang, {HANGING_ENVIRONMENTS} environments, median", beside, "ms", most=1_000
        )
        time.sleep(HANGING_SECONDS)
        yield from _half(client, receiver, jobs // 2, (other, url), "that hangs")


def _half(
    client: httpx.Client, receiver: Receiver, jobs: int, beside: tuple[httpx.Client, str], kind: str
) -> Iterator[Figure]:
    half = _arrived(client, receiver, jobs, at_once=8, beside=beside)
    yield Figure(f"{jobs:,} beside as many to a receiver {kind}: delivered", len(half) / jobs * 100, "%", least=100)
    yield Figure("… from a job's end to its arrival, median", statistics.median(half), "ms")


def _allow(stack: Stack, environments: int) -> None:
    """Let so many deliveries be attempted at a time."""
    service = stack.client("lambda")
    for mapping in service.list_event_source_mappings()["EventSourceMappings"]:
        if mapping["EventSourceArn"].endswith("-webhooks"):
            scaling = {"MaximumConcurrency": environments}
            service.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig=scaling)


def _arrived(
    client: httpx.Client,
    receiver: Receiver,
    jobs: int,
    *,
    at_once: int = 1,
    beside: tuple[httpx.Client, str] | None = None,
) -> list[float]:
    """Milliseconds from each job's end to its arrival; `beside` is who submits as many, and to which receiver."""
    began = time.perf_counter()
    calls = [(client, receiver.url)] * jobs
    if beside is not None:
        calls = [call for pair in zip(calls, [beside] * jobs, strict=True) for call in pair]
    with ThreadPoolExecutor(max_workers=at_once) as threads:
        submitted = list(threads.map(lambda call: _submit(*call, waits=at_once == 1), calls))
    alive = {job_id for job_id, (_, url) in zip(submitted, calls, strict=True) if url == receiver.url}
    arrived = receiver.wait_for(alive)
    print(f"  … {len(arrived):,} of {jobs:,} in {time.perf_counter() - began:.0f} s", flush=True)
    return [receiver.delays[job_id] for job_id in arrived]


def _submit(client: httpx.Client, url: str, *, waits: bool) -> str:
    answer = client.post("/analyze", json={"text": "Ada Lovelace lived in London.", "webhook": {"url": url}})
    job_id: str = answer.raise_for_status().json()["id"]
    if waits:  # for its end, so that one comes after the other
        client.get(f"/jobs/{job_id}", params={"wait": 20}).raise_for_status()
    return job_id


def _give_secret(stack: Stack, client_id: str) -> None:
    table, key = stack.outputs["clients_table"], stack.outputs["webhook_secrets_key_arn"]
    clients.give_webhook_secret(
        stack.client("dynamodb"), stack.client("kms"), table=table, key=key, client_id=client_id
    )


def _client(stack: Stack, credentials: tuple[str, str]) -> httpx.Client:
    def http(**options: Any) -> httpx.Client:
        return httpx.Client(base_url=stack.api_url, timeout=60, trust_env=False, **options)

    with http() as unauthenticated:
        answer = unauthenticated.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=credentials)
    return http(headers={"authorization": f"Bearer {answer.raise_for_status().json()['access_token']}"})


if __name__ == "__main__":
    sys.exit(main())
