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

from local.stack import Stack
from tests.e2e.backstage import Backstage
from tests.e2e.faults.control import Faults
from tests.e2e.test_flow import finished, submitted
from tests.e2e.test_kills import SMALL, Step, dies

TEXT = "Ada Lovelace met Charles Babbage in London."
STORED = "between storing the result and finishing"
DEATHS = {
    STORED: SMALL[STORED],
    "between finishing and sending the message": Step("before", "SendMessage", "succeeded", attempts=1),
}


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


@pytest.mark.parametrize("name", DEATHS)
def test_end_is_announced_under_one_id_though_the_worker_is_killed(
    client: httpx.Client, backstage: Backstage, faults: Faults, name: str
) -> None:
    """With SIGKILL. The janitor sees to it, and once it is announced it does not send it again."""
    with Receiver(200) as receiver:
        job = backstage.job(webhook=WebhookEndpoint(url=receiver.url))
        dies(faults, backstage, DEATHS[name], job)
        left = client.get(f"/jobs/{job.id}").json()["webhook"]
        assert left == {"url": receiver.url, "state": "pending", "attempts": 0}
        backstage.take_up(backstage.kept(job.id))
        assert webhook_state(client, job.id, is_in("delivered"), 60)["attempts"] == 1
        assert backstage.tick()
        backstage.emptied("webhooks")
        time.sleep(2)
    assert receiver.ids == [f"{job.id}.1.succeeded"]
    assert backstage.kept(job.id).attempt == DEATHS[name].attempts


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "https://10.0.0.1/", "https://user@receiver.example/"])
def test_url_that_must_not_be_called_is_refused(client: httpx.Client, url: str) -> None:
    answer = client.post("/analyze", json={"text": TEXT, "webhook": {"url": url}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/webhook/url")
