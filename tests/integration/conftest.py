"""The functions `auth` and `submit` behind their handlers, over moto."""

from __future__ import annotations

import base64
import json
import threading
import time
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient

from functions.auth import handler as auth
from functions.submit import handler as submit
from functions.submit import schema
from shared.clients import Client, ClientTable, new_client
from shared.tokens import KmsSigner, Minter
from tests.events import CONTEXT, http_event

URL = "https://api.example"


@pytest.fixture
def api(aws_services: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    der = boto3.client("kms").get_public_key(KeyId=aws_services.signing_key_arn)["PublicKey"]
    environment = {
        "PUBLIC_URL": URL,
        "PUBLIC_KEYS": json.dumps({"k1": base64.b64encode(der).decode()}),
        "SIGNING_KEY_ARN": aws_services.signing_key_arn,
        "SIGNING_KEY_ID": "k1",
        "CLIENTS_TABLE": "clients",
        "JOBS_TABLE": "jobs",
        "WORKER_ALIAS_ARN": "arn:aws:lambda:eu-west-2:123456789012:function:worker:live",
        "WORKER_VERSION": "1",
        "WARM_UP_ENVIRONMENTS": "0",
        "WARM_UP_COOLDOWN_SECONDS": "120",
        "BUCKET": "bucket",
        "JOBS_QUEUE_URL": aws_services.jobs_queue_url,
        "SOLO_QUEUE_URL": aws_services.solo_queue_url,
        "WEBHOOKS_QUEUE_URL": aws_services.webhooks_queue_url,
        "ALLOW_LOOPBACK_WEBHOOKS": "false",
        "WAITS_FOR_WARMING": "true",
        "LIMITS": json.dumps({"requests_per_minute": 1_000, "open_jobs": 1_000, "bytes_per_day": 1_000_000_000}),
        "MODEL_NAME": "en_core_web_sm",
        "MODEL_VERSION": "3.8.0",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for cached in (*vars(auth).values(), *vars(submit).values()):
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()
    client, secret = new_client(name="tests", scope="jobs:read jobs:write")
    ClientTable("clients").put(client)
    registered("c_other")
    return SimpleNamespace(client=client, secret=secret, services=aws_services)


@pytest.fixture
def one_call_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As every call of DynamoDB's is; moto's see each other half-way."""
    lock, call = threading.Lock(), BaseClient._make_api_call

    def atomic(*args: Any) -> Any:
        with lock:
            return call(*args)

    monkeypatch.setattr(BaseClient, "_make_api_call", atomic)


def registered(client_id: str, **changes: Any) -> Client:
    """A client of that id in the table."""
    client = new_client(name=client_id, scope="jobs:read jobs:write")[0].model_copy(
        update={"client_id": client_id, **changes}
    )
    ClientTable("clients").put(client)
    return client


def token(api: SimpleNamespace, *, client_id: str = "", scope: str = "jobs:read jobs:write", now: int = 0) -> str:
    minter = Minter(issuer=URL, key_id="k1", sign=KmsSigner(api.services.signing_key_arn))
    return minter.mint(client_id=client_id or api.client.client_id, scope=scope, now=now or int(time.time()))


@pytest.fixture
def call(api: SimpleNamespace) -> Any:
    def call(method: str, path: str, body: Any = None, *, bearer: str | None = None, **kwargs: Any) -> SimpleNamespace:
        raw = body if isinstance(body, bytes | str) or body is None else json.dumps(body)
        headers = {"content-type": "application/json", "authorization": f"Bearer {bearer or token(api)}"}
        headers.update(kwargs.pop("headers", {}))
        headers = {name: value for name, value in headers.items() if value is not None}
        answer = submit.handler(http_event(method, path, body=raw, headers=headers, **kwargs), CONTEXT)
        assert answer["headers"]["x-request-id"] == "request-1"
        # The resolver gives its own headers in capitals here and there; HTTP does not care.
        found = {name.lower(): value for name, value in answer["headers"].items()}
        document = json.loads(answer["body"] or "null")
        if answer["statusCode"] >= 400:
            assert found["content-type"] == "application/problem+json"
            assert document["status"] == answer["statusCode"]
            schema.Problem.model_validate(document)
        elif document and "links" in document:
            schema.JobView.model_validate(document)
        return SimpleNamespace(status=answer["statusCode"], body=document, headers=found)

    call.api = api  # type: ignore[attr-defined]
    return call


def queued(call: Any) -> list[dict[str, Any]]:
    sqs, url = call.api.services.sqs, call.api.services.jobs_queue_url
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(message["Body"]) for message in messages]


def stored(call: Any) -> int:
    return len(parts(call))


def parts(call: Any) -> list[str]:
    """What items there are, besides the client's counters."""
    items = call.api.services.dynamodb.scan(TableName="jobs")["Items"]
    return [item["part"]["S"] for item in items if not item["id"]["S"].startswith("usage#")]
