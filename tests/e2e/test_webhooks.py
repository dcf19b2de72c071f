"""Webhooks on the local cloud, its schedule shortened to seconds: real queues, real environments, IAM enforced."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook as Verifier

from local import emulator
from local.stack import Stack
from shared.blobs import Blobs
from shared.clock import now_ms
from shared.models import Job, Message, Metrics, Model, Webhook, new_job_id
from shared.store import FIRST_LOOK_MS, JobStore
from tests.e2e.test_flow import finished, submitted

TEXT = "Ada Lovelace met Charles Babbage in London."


class Receiver:
    """Keeps what it is sent; answers with `statuses`, one after the other, the last for ever."""

    def __init__(self, *statuses: int, port: int = 0) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self._statuses = list(statuses)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
                status = receiver._statuses[0] if len(receiver._statuses) == 1 else receiver._statuses.pop(0)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hook"

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.received]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def webhook_state(client: httpx.Client, job_id: str, wanted: Callable[[dict[str, Any]], bool], seconds: float) -> Any:
    """The job's `webhook`, as soon as it is as wanted."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        webhook = client.get(f"/jobs/{job_id}").raise_for_status().json()["webhook"]
        if wanted(webhook):
            return webhook
        time.sleep(0.2)
    pytest.fail(f"After {seconds} s the webhook is {webhook}")


def is_in(state: str) -> Callable[[dict[str, Any]], bool]:
    return lambda webhook: webhook["state"] == state


def test_end_of_a_job_arrives_signed(client: httpx.Client, stack: Stack) -> None:
    with Receiver(200) as receiver:
        job = submitted(client, text=TEXT, webhook={"url": receiver.url})
        assert job["webhook"] == {"url": receiver.url, "state": "pending", "attempts": 0}
        assert finished(client, job["id"])["status"] == "succeeded"
        assert webhook_state(client, job["id"], is_in("delivered"), 20)["attempts"] == 1
    ((headers, body),) = receiver.received
    payload = Verifier(stack.webhook_secret).verify(body, headers)
    assert (payload["type"], payload["data"]["id"]) == ("job.succeeded", job["id"])
    (delivery,) = client.get(f"/jobs/{job['id']}/deliveries").raise_for_status().json()["deliveries"]
    assert (delivery["webhook_id"], delivery["state"]) == (headers["webhook-id"], "delivered")
    assert [attempt["status"] for attempt in delivery["log"]] == [200]


def test_receiver_that_fails_four_attempts_gets_the_fifth(client: httpx.Client, stack: Stack) -> None:
    with Receiver(500, 503, 500, 302, 200) as receiver:
        job = submitted(client, text=TEXT, webhook={"url": receiver.url})
        assert webhook_state(client, job["id"], is_in("delivered"), 60)["attempts"] == 5
    assert receiver.ids == [f"{job['id']}.1.succeeded"] * 5
    timestamps = [int(headers["webhook-timestamp"]) for headers, _ in receiver.received]
    assert timestamps == sorted(set(timestamps)), "each attempt is signed anew"
    for headers, body in receiver.received:
        assert Verifier(stack.webhook_secret).verify(body, headers)


def test_receiver_that_is_down_for_good_fails_and_can_have_it_again(client: httpx.Client) -> None:
    port = free_port()
    job = submitted(client, text=TEXT, webhook={"url": f"http://127.0.0.1:{port}/hook"})
    assert webhook_state(client, job["id"], is_in("failed"), 90)["attempts"] == 8
    assert client.get(f"/jobs/{job['id']}").json()["status"] == "succeeded"
    with Receiver(200, port=port) as receiver:
        answer = client.post(f"/jobs/{job['id']}/deliveries")
        assert (answer.status_code, answer.json()["state"]) == (202, "pending")
        assert webhook_state(client, job["id"], is_in("delivered"), 20)["attempts"] == 9
    assert receiver.ids == [f"{job['id']}.1.succeeded"]


def test_canceled_job_is_announced(client: httpx.Client) -> None:
    with Receiver(200) as receiver:
        body = {"text": TEXT * 20_000, "webhook": {"url": receiver.url, "events": ["job.canceled"]}}
        job = submitted(client, **body)
        assert client.post(f"/jobs/{job['id']}/cancel").raise_for_status().json()["status"] == "canceled"
        webhook_state(client, job["id"], is_in("delivered"), 20)
    assert receiver.ids == [f"{job['id']}.1.canceled"]


def test_worker_that_dies_between_its_last_write_and_the_message(
    client: httpx.Client, stack: Stack, lambda_: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is written as finished and nothing is sent: the janitor does, and it arrives under one id."""
    for name, value in emulator.access(stack.aws_endpoint_url).items():
        monkeypatch.setenv(name, value)
    store = JobStore(stack.outputs["jobs_table"], Blobs(stack.outputs["bucket"]))
    now = now_ms() - FIRST_LOOK_MS
    with Receiver(200) as receiver:
        job = Job(
            id=new_job_id(now), client_id=stack.client_id, model=Model(name="m", version="1"), characters=4,
            created_at=now, queued_at=now, deadline=now + 10**8, expires_at=now // 1000 + 10**6,
            webhook=Webhook(url=receiver.url),
        )  # fmt: skip
        store.create(job, b"{}")
        claimed = store.claim(Message(job=job.id, run=1), owner="w", now=now)
        assert claimed is not None
        assert store.succeed(claimed, b'{"documents": []}', metrics=Metrics(), now=now)
        assert client.get(f"/jobs/{job.id}").json()["webhook"]["state"] == "pending"
        lambda_.invoke(FunctionName="samovar-local-janitor:live")
        assert webhook_state(client, job.id, is_in("delivered"), 30)["attempts"] == 1
        lambda_.invoke(FunctionName="samovar-local-janitor:live")
        time.sleep(2)
    assert receiver.ids == [f"{job.id}.1.succeeded"]


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "https://10.0.0.1/", "https://user@receiver.example/"])
def test_url_that_must_not_be_called_is_refused(client: httpx.Client, url: str) -> None:
    answer = client.post("/analyze", json={"text": TEXT, "webhook": {"url": url}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/webhook/url")
