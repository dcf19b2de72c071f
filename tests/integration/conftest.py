"""The function `submit` over moto, and a client that calls it."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient

from functions.submit.app import App, build
from functions.submit.routes import find_route
from functions.submit.schema import Problem
from shared.auth.clients import Client, ClientStore, new_client
from shared.auth.tokens import KmsSigner, TokenIssuer
from shared.aws.table import Table
from shared.clock import now_ms
from shared.jobs.store import JobStore
from shared.settings import SubmitSettings
from tests.conftest import AwsServices
from tests.events import CONTEXT, http_event

URL = "https://api.example"
SCOPE = "jobs:read jobs:write"
LAMBDA_ANSWER_LIMIT = 6_291_556  # bytes, as the runtime sends it: up to Python 3.11 in ASCII


class Clock:
    """A clock that a test can move forward."""

    def __init__(self) -> None:
        self.offset_ms = 0

    def __call__(self) -> int:
        return now_ms() + self.offset_ms

    def advance(self, milliseconds: int) -> None:
        self.offset_ms += milliseconds

    def skip_to_next_minute(self) -> None:
        self.advance(60_000 - self() % 60_000)


@dataclass(frozen=True)
class Reply:
    """An answer of the API. The names of its headers are in lower case."""

    status: int
    body: Any
    headers: dict[str, str]


class Api:
    """The function `submit` with one registered client that calls it."""

    def __init__(self, services: AwsServices) -> None:
        self.services = services
        self.clock = Clock()
        self.sleep: Callable[[float], None] = time.sleep
        self.environment = make_environment(services)
        self.app = self.start()
        self.client = register("c_tests")
        register("c_other")

    def start(self) -> App:
        """Return the application, as a new execution environment builds it."""
        settings = SubmitSettings.from_environment(self.environment)
        self.app = build(settings, self.clock, lambda seconds: self.sleep(seconds))
        return self.app

    @property
    def store(self) -> JobStore:
        return self.app.services.jobs.store

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        bearer: str | None = None,
        headers: Mapping[str, str | None] | None = None,
        query: dict[str, str] | None = None,
    ) -> Reply:
        """Call the API with a token of the client, or with `bearer`. A header that is None is not sent."""
        raw = body if isinstance(body, bytes | str) or body is None else json.dumps(body)
        usual = {"content-type": "application/json", "authorization": f"Bearer {bearer or self.token()}"}
        sent = {name: value for name, value in {**usual, **(headers or {})}.items() if value is not None}
        event = http_event(method, path, body=raw, headers=sent, query=query)
        return check_reply(method, path, self.app.handle(event, CONTEXT))

    def token(self, *, client_id: str = "", scope: str = SCOPE, now: int = 0) -> str:
        """Return an access token, issued at `now` (seconds)."""
        issuer = TokenIssuer(issuer=URL, key_id="k1", sign=KmsSigner(self.services.signing_key_arn))
        return issuer.issue(client_id=client_id or self.client.client_id, scope=scope, now=now or int(time.time()))

    def receive_messages(self, queue: str = "jobs") -> list[dict[str, Any]]:
        """Return the messages of a queue and hide them."""
        url = getattr(self.services, f"{queue}_queue_url")
        messages = self.services.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(message["Body"]) for message in messages]

    def stored_parts(self) -> list[str]:
        """Return the sort keys of all items except the quota counters."""
        items = self.services.dynamodb.scan(TableName="jobs")["Items"]
        return [item["part"]["S"] for item in items if not item["id"]["S"].startswith("quota#")]


def make_environment(services: AwsServices) -> dict[str, str]:
    """Return the environment variables of the function."""
    der = boto3.client("kms").get_public_key(KeyId=services.signing_key_arn)["PublicKey"]
    return {
        "PUBLIC_URL": URL,
        "PUBLIC_KEYS": json.dumps({"k1": base64.b64encode(der).decode()}),
        "CLIENTS_TABLE": "clients",
        "JOBS_TABLE": "jobs",
        "WORKER_VERSION": "1",
        "BUCKET": "bucket",
        "JOBS_QUEUE_URL": services.jobs_queue_url,
        "ISOLATED_QUEUE_URL": services.isolated_queue_url,
        "WEBHOOKS_QUEUE_URL": services.webhooks_queue_url,
        "ALLOW_LOOPBACK_WEBHOOKS": "false",
        "ASSIGN_JOBS_TO_WARM_UPS": "true",
        "LIMITS": json.dumps({"requests_per_minute": 1_000, "open_jobs": 1_000, "bytes_per_day": 1_000_000_000}),
        "MODEL_NAME": "en_core_web_sm",
        "MODEL_VERSION": "3.8.0",
    }


def register(client_id: str, **changes: Any) -> Client:
    """Register a client with the id `client_id`."""
    client = new_client(name=client_id, scope=SCOPE)[0].model_copy(update={"client_id": client_id, **changes})
    ClientStore(Table("clients")).put(client)
    return client


def check_reply(method: str, path: str, answer: dict[str, Any]) -> Reply:
    """Return the answer after checking it against the table of routes."""
    assert answer["headers"]["x-request-id"] == "request-1"
    status, headers = answer["statusCode"], answer["headers"]
    assert all(name == name.lower() for name in headers)
    assert len(json.dumps(answer)) < LAMBDA_ANSWER_LIMIT
    text = base64.b64decode(answer["body"]) if answer.get("isBase64Encoded") else answer["body"]
    body = json.loads(text or "null")
    if status >= 400:
        assert headers["content-type"] == "application/problem+json"
        assert body["status"] == status
        Problem.model_validate(body)
        return Reply(status, body, headers)
    route, _ = find_route(method, path)
    returns = route.answers[status]
    assert (body is None) == (returns.model is None) or not route.is_described
    if returns.model is not None:
        returns.model.model_validate(body)
    return Reply(status, body, headers)


@pytest.fixture
def api(aws_services: AwsServices) -> Api:
    return Api(aws_services)


@pytest.fixture
def one_call_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each call to DynamoDB atomic, as it is on AWS. Concurrent calls to moto see each other's half-done work."""
    lock = threading.Lock()
    make_call = BaseClient._make_api_call  # type: ignore[attr-defined]  # private: not in the stubs

    def make_call_alone(*arguments: Any) -> Any:
        with lock:
            return make_call(*arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", make_call_alone)
