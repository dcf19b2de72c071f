"""What the function `webhook` needs, laid out as Lambda does it, while receivers do their worst."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shared.clients import ClientTable, new_client
from shared.deliveries import LIFETIME_SECONDS, DeliveryStore
from shared.models import Delivery

from functions.webhook.signing import new_secret
from functions.webhook.transport import DEADLINE_SECONDS
from shared.clock import now_ms
from tests.artifact.conftest import Services
from tests.artifact.runtime import Unpacked
from tests.events import sqs_event
from tests.receivers import Receiver, drips, floods, running

LIMIT_MB = 128
# Linux counts the peak anew when a program begins; `ru_maxrss` would begin with that of the tests.
DELIVER = """
import json, pathlib, sys, types
from functions.webhook.handler import handler
handler(json.load(sys.stdin), types.SimpleNamespace(aws_request_id="1"))
print(pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""
TEN_GB = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n"
RECEIVERS = {
    "10 GB": floods(TEN_GB, drop=b"x" * 65_536),
    "a head of 10 GB": floods(b"HTTP/1.1 200 OK\r\nx: ", drop=b"x" * 65_536),
    "a byte a second": drips(b"HTTP/1.1 200 OK\r\nx: ", seconds=1),
}


@pytest.fixture
def start() -> Iterator[Callable[..., Receiver]]:
    """Starts receivers."""
    yield from running()


def test_memory_is_bounded_whatever_is_answered(
    python: Path,
    unpacked: Callable[[str], Unpacked],
    variables: dict[str, dict[str, str]],
    services: Services,
    start: Callable[..., Receiver],
) -> None:
    """One process calls all of them, as an environment does; a byte a second takes it the whole deadline."""
    client_id = _client(services)
    sent = {name: _delivery(services, client_id, start(answer).port) for name, answer in RECEIVERS.items()}
    event = sqs_event(*(delivery.message.model_dump() for delivery in sent.values()))
    settings = {
        **variables["webhook"], "ALLOW_LOOPBACK_WEBHOOKS": "true", "AWS_ENDPOINT_URL": services.url,
        "WEBHOOKS_QUEUE_URL": services.queue("webhooks"),
    }  # fmt: skip
    function = unpacked("webhook")
    done = subprocess.run(
        [python, "-c", DELIVER], input=json.dumps(event), cwd=function.task, env=function.environment(settings),
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    store = DeliveryStore("jobs", dynamodb=services.dynamodb)
    kept = {name: store.get(delivery.id, delivery.part) for name, delivery in sent.items()}
    attempts = {name: delivery.attempts[0] for name, delivery in kept.items() if delivery}
    assert {name: (attempt.status, attempt.error) for name, attempt in attempts.items()} == {
        "10 GB": (200, None),
        "a head of 10 GB": (None, "answer_unreadable"),
        "a byte a second": (None, "timed_out"),
    }
    assert attempts["a byte a second"].latency_ms < DEADLINE_SECONDS * 1_000 + 2_000
    assert int(done.stdout.splitlines()[-1]) / 1024 <= LIMIT_MB


def _client(services: Services) -> str:
    client, _ = new_client(name="tests", scope="jobs:write")
    clients = ClientTable("clients", dynamodb=services.dynamodb)
    clients.put(client)
    sealed = services.sealed(client.client_id, new_secret())
    assert clients.rotate_webhook_secret(client.client_id, sealed, now=now_ms())
    return client.client_id


def _delivery(services: Services, client_id: str, port: int) -> Delivery:
    now = now_ms()
    delivery = Delivery(
        id=f"job-{port}", part="delivery#1.succeeded", client=client_id, url=f"http://127.0.0.1:{port}/hook",
        body=b"{}", created_at=now, next_at=now, expires_at=now // 1000 + LIFETIME_SECONDS,
    )  # fmt: skip
    item: dict[str, Any] = serialize(delivery.model_dump(exclude_none=True))
    services.dynamodb.put_item(TableName="jobs", Item=item)
    return delivery
