"""Webhooks on a local cloud of its own: from a job's end to its arrival, and beside receivers that are dead."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
IDLE_JOBS = 200
# More environments than cores only wait for each other.
VARIABLES = {"worker_concurrency": {"jobs": 2, "solo": 2}, "webhook_concurrency": 4}
PATIENCE_SECONDS = 600
DEAD = "http://127.0.0.1:9/hook"  # the port of `discard`, where nobody listens


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


def main() -> int:
    """Start the cloud, measure, stop it."""
    parser = argparse.ArgumentParser(prog="python -m bench.webhooks", description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS, help="how many jobs have a webhook (default: %(default)s)")
    jobs = parser.parse_args().jobs
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
            return report("webhooks", list(_figures(client, other, receiver, jobs)))
    finally:
        cloud.down(FOLDER)


def _figures(client: httpx.Client, other: httpx.Client, receiver: Receiver, jobs: int) -> Iterator[Figure]:
    _arrived(client, receiver, 5)  # warm
    idle = statistics.median(_arrived(client, receiver, IDLE_JOBS))
    yield Figure("end of a job to its arrival, idle, median", idle, "ms", most=1_000)
    beside = statistics.median(_arrived(client, receiver, IDLE_JOBS, dead=other))
    yield Figure("… while another client's receiver is dead", beside, "ms", most=1_000)
    yield Figure("beside a dead receiver / without", beside / idle, "x", most=1.5)
    burst = _arrived(client, receiver, jobs, at_once=8)
    yield Figure(f"{jobs:,} jobs as fast as they are taken: delivered", len(burst) / jobs * 100, "%", least=100)
    yield Figure("… from a job's end to its arrival, median", statistics.median(burst), "ms")
    half = _arrived(client, receiver, jobs // 2, at_once=8, dead=other)
    yield Figure(
        f"{jobs // 2:,} beside as many to a dead receiver: delivered", len(half) / (jobs // 2) * 100, "%", least=100
    )
    yield Figure("… from a job's end to its arrival, median", statistics.median(half), "ms")


def _arrived(
    client: httpx.Client, receiver: Receiver, jobs: int, *, at_once: int = 1, dead: httpx.Client | None = None
) -> list[float]:
    """Milliseconds from each job's end to its arrival; `dead` submits as many to a receiver that is down."""
    began = time.perf_counter()
    calls = [(client, receiver.url)] * jobs
    if dead is not None:
        calls = [call for pair in zip(calls, [(dead, DEAD)] * jobs, strict=True) for call in pair]
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
