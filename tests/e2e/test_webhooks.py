"""Webhooks on the local cloud, with a schedule of seconds: real queues and environments, and IAM is enforced."""

from __future__ import annotations

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook as Verifier

from local.stack import Stack
from shared.jobs.job import WebhookEndpoint
from tests.e2e.calls import submit, wait_until_finished
from tests.e2e.cloud_admin import CloudAdmin
from tests.e2e.faults.control import Faults
from tests.e2e.polling import poll
from tests.e2e.steps import SMALL, STORED, Step, kill_worker

TEXT = "Ada Lovelace met Charles Babbage in London."
DEATHS = {
    STORED: SMALL[STORED],
    "between finishing and sending the message": Step("before", "SendMessage", "succeeded", attempts=1),
}


class Receiver:
    """A receiver of webhooks. It answers with one of `statuses` after the other, and with the last one from then on."""

    def __init__(self, *statuses: int, port: int = 0) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []  # the headers and the body of each request
        remaining, received = list(statuses), self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                received.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(remaining[0] if len(remaining) == 1 else remaining.pop(0))
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Log nothing."""

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
        """Return the URL of the receiver."""
        return f"http://127.0.0.1:{self._server.server_port}/hook"

    @property
    def ids(self) -> list[str]:
        """Return the `webhook-id` of each request."""
        return [headers["webhook-id"] for headers, _ in self.received]


def find_free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def wait_for_state(client: httpx.Client, job_id: str, state: str, *, seconds: float) -> dict[str, Any]:
    """Return the member `webhook` of a job when it has the state `state`."""

    def get_webhook() -> dict[str, Any]:
        webhook: dict[str, Any] = client.get(f"/jobs/{job_id}").raise_for_status().json()["webhook"]
        return webhook

    return poll(get_webhook, lambda webhook: webhook["state"] == state, seconds=seconds)


def test_end_of_a_job_is_delivered_with_a_signature(client: httpx.Client, stack: Stack) -> None:
    with Receiver(200) as receiver:
        job = submit(client, text=TEXT, webhook={"url": receiver.url})
        assert job["webhook"] == {"url": receiver.url, "state": "pending", "attempts": 0}
        assert wait_until_finished(client, job["id"])["status"] == "succeeded"
        assert wait_for_state(client, job["id"], "delivered", seconds=20)["attempts"] == 1
    ((headers, body),) = receiver.received
    payload = Verifier(stack.webhook_secret).verify(body, headers)
    assert (payload["type"], payload["data"]["id"]) == ("job.succeeded", job["id"])
    (delivery,) = client.get(f"/jobs/{job['id']}/deliveries").raise_for_status().json()["deliveries"]
    assert (delivery["webhook_id"], delivery["state"]) == (headers["webhook-id"], "delivered")
    assert [attempt["status"] for attempt in delivery["log"]] == [200]


def test_fifth_attempt_delivers_after_four_have_failed(client: httpx.Client, stack: Stack) -> None:
    """Each attempt has the same id and its own signature."""
    with Receiver(500, 503, 500, 302, 200) as receiver:
        job = submit(client, text=TEXT, webhook={"url": receiver.url})
        assert wait_for_state(client, job["id"], "delivered", seconds=60)["attempts"] == 5
    assert receiver.ids == [f"{job['id']}.1.succeeded"] * 5
    timestamps = [int(headers["webhook-timestamp"]) for headers, _ in receiver.received]
    assert timestamps == sorted(set(timestamps))
    for headers, body in receiver.received:
        assert Verifier(stack.webhook_secret).verify(body, headers)


def test_delivery_fails_while_the_receiver_is_down_and_can_be_redelivered(client: httpx.Client) -> None:
    port = find_free_port()
    job = submit(client, text=TEXT, webhook={"url": f"http://127.0.0.1:{port}/hook"})
    assert wait_for_state(client, job["id"], "failed", seconds=90)["attempts"] == 8
    assert client.get(f"/jobs/{job['id']}").json()["status"] == "succeeded"
    with Receiver(200, port=port) as receiver:
        answer = client.post(f"/jobs/{job['id']}/deliveries")
        assert (answer.status_code, answer.json()["state"]) == (202, "pending")
        assert wait_for_state(client, job["id"], "delivered", seconds=20)["attempts"] == 9
    assert receiver.ids == [f"{job['id']}.1.succeeded"]


def test_event_about_a_canceled_job_is_delivered(client: httpx.Client) -> None:
    with Receiver(200) as receiver:
        body = {"text": TEXT * 20_000, "webhook": {"url": receiver.url, "events": ["job.canceled"]}}
        job = submit(client, **body)
        assert client.post(f"/jobs/{job['id']}/cancel").raise_for_status().json()["status"] == "canceled"
        wait_for_state(client, job["id"], "delivered", seconds=20)
    assert receiver.ids == [f"{job['id']}.1.canceled"]


@pytest.mark.parametrize("name", DEATHS)
def test_event_is_delivered_once_although_the_worker_was_killed(
    client: httpx.Client, cloud_admin: CloudAdmin, faults: Faults, name: str
) -> None:
    """The janitor recovers the event. It does not send it again once it is delivered."""
    with Receiver(200) as receiver:
        job = cloud_admin.create_job(webhook=WebhookEndpoint(url=receiver.url))
        kill_worker(faults, cloud_admin, DEATHS[name], job)
        webhook = client.get(f"/jobs/{job.id}").json()["webhook"]
        assert webhook == {"url": receiver.url, "state": "pending", "attempts": 0}
        cloud_admin.recover(cloud_admin.get_job(job.id))
        assert wait_for_state(client, job.id, "delivered", seconds=60)["attempts"] == 1
        assert cloud_admin.tick()
        cloud_admin.wait_until_empty("webhooks")
        time.sleep(2)  # for a second request, which must not come
    assert receiver.ids == [f"{job.id}.1.succeeded"]
    assert cloud_admin.get_job(job.id).attempt == DEATHS[name].attempts


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "https://10.0.0.1/", "https://user@receiver.example/"])
def test_url_that_webhooks_may_not_call_is_refused(client: httpx.Client, url: str) -> None:
    answer = client.post("/analyze", json={"text": TEXT, "webhook": {"url": url}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/webhook/url")
