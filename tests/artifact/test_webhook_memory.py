"""The memory of the function `webhook`, unpacked as Lambda unpacks it, while receivers send endless answers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from functions.webhook.signing import new_secret
from functions.webhook.transport import DEADLINE_SECONDS
from shared.auth.clients import ClientStore, new_client
from shared.clock import now_ms
from shared.webhooks.delivery import Delivery
from shared.webhooks.event import delivery_part
from shared.webhooks.store import LIFETIME_SECONDS, DeliveryStore
from tests.artifact.conftest import Services
from tests.artifact.runtime import Unpack, Variables
from tests.events import sqs_event
from tests.receivers import StartReceiver, drip, flood, manage_receivers

LIMIT_MB = 128
# VmHWM is the peak since the program began. `ru_maxrss` would include the peak of the tests, from before `exec`.
DELIVER = """
import json, pathlib, sys, types
from functions.webhook.handler import handler
handler(json.load(sys.stdin), types.SimpleNamespace(aws_request_id="1"))
print(pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""
TEN_GB = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n"
RECEIVERS = {
    "body of 10 GB": flood(TEN_GB, drop=b"x" * 65_536),
    "head of 10 GB": flood(b"HTTP/1.1 200 OK\r\nx: ", drop=b"x" * 65_536),
    "a byte a second": drip(b"HTTP/1.1 200 OK\r\nx: ", seconds=1),
}


@pytest.fixture
def start() -> Iterator[StartReceiver]:
    """Provide a function that starts receivers."""
    yield from manage_receivers()


def test_memory_and_time_are_bounded_for_every_answer(
    python: Path, unpack: Unpack, variables: Variables, services: Services, start: StartReceiver
) -> None:
    """One process calls all receivers, as an environment does. It ends the slow answer at the deadline."""
    client_id = register_client(services)
    deliveries = {name: put_delivery(services, client_id, start(answer).port) for name, answer in RECEIVERS.items()}
    event = sqs_event(*(delivery.message.model_dump() for delivery in deliveries.values()))
    settings = {
        **variables["webhook"],
        "ALLOW_LOOPBACK_WEBHOOKS": "true",
        "AWS_ENDPOINT_URL": services.url,
        "WEBHOOKS_QUEUE_URL": services.create_queue("webhooks"),
    }
    function = unpack("webhook")
    done = subprocess.run(
        [python, "-c", DELIVER], input=json.dumps(event), cwd=function.task, env=function.environment(settings),
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    store = DeliveryStore(services.jobs)
    stored = {name: store.get(delivery.id, delivery.part) for name, delivery in deliveries.items()}
    attempts = {name: delivery.attempts[0] for name, delivery in stored.items() if delivery}
    assert {name: (attempt.status, attempt.error) for name, attempt in attempts.items()} == {
        "body of 10 GB": (200, None),
        "head of 10 GB": (None, "answer_unreadable"),
        "a byte a second": (None, "timed_out"),
    }
    assert attempts["a byte a second"].latency_ms < DEADLINE_SECONDS * 1_000 + 2_000
    assert int(done.stdout.splitlines()[-1]) / 1024 <= LIMIT_MB


def register_client(services: Services) -> str:
    """Register a client with a signing secret, and return its id."""
    client, _ = new_client(name="tests", scope="jobs:write")
    clients = ClientStore(services.clients)
    clients.put(client)
    ciphertext = services.encrypt_secret(client.client_id, new_secret())
    assert clients.rotate_webhook_secret(client.client_id, ciphertext, now=now_ms())
    return client.client_id


def put_delivery(services: Services, client_id: str, port: int) -> Delivery:
    """Store a delivery to a receiver on this machine, and return it."""
    now = now_ms()
    delivery = Delivery(
        id=f"job-{port}", part=delivery_part(1, "succeeded"), client=client_id, url=f"http://127.0.0.1:{port}/hook",
        body=b"{}", created_at=now, next_attempt_at=now, expires_at=now // 1000 + LIFETIME_SECONDS,
    )  # fmt: skip
    services.jobs.put(delivery.model_dump(exclude_none=True))
    return delivery
