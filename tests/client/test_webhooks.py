"""What is received is believed only when it was signed."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import samovar

from functions.webhook.signing import new_secret, signed_headers

ID = "0198a0b0-0000-7000-8000-000000000001"
SECRET, OTHER = new_secret(), new_secret()
BODY = json.dumps(
    {"type": "job.succeeded", "timestamp": "2026-01-02T03:04:05.000Z", "data": {"id": ID, "status": "succeeded"}}
).encode()


def headers(secrets: list[str] | None = None, *, age: int = 0, body: bytes = BODY) -> dict[str, str]:
    signed = signed_headers(
        secrets or [SECRET], webhook_id=f"{ID}.1.succeeded", timestamp=int(time.time()) - age, body=body
    )
    return {name.title(): value for name, value in signed.items()}


def test_what_the_service_signs_is_verified() -> None:
    event = samovar.webhooks.verify(headers(), BODY, SECRET)
    assert (event.id, event.type, event.data.status) == (f"{ID}.1.succeeded", "job.succeeded", "succeeded")


def test_either_secret_does_while_they_rotate() -> None:
    samovar.webhooks.verify(headers([SECRET, OTHER]), BODY, OTHER)
    samovar.webhooks.verify(headers([OTHER]), BODY, [SECRET, OTHER])


@pytest.mark.parametrize(
    ("given", "body"),
    [
        (headers([OTHER]), BODY),
        (headers(age=301), BODY),
        (headers(age=-600), BODY),
        (headers(), BODY + b" "),
        ({}, BODY),
        ({**headers(), "Webhook-Signature": "v1"}, BODY),
        ({**headers(), "Webhook-Signature": "v1,é"}, BODY),
        ({**headers(), "Webhook-Timestamp": "now"}, BODY),
        (headers(body=b"\xff"), b"\xff"),
        (headers(body=b"[]"), b"[]"),
        (headers(body=b"{}"), b"{}"),
        (headers(body=b"{"), b"{"),
    ],
)
def test_everything_else_is_refused(given: dict[str, str], body: bytes) -> None:
    with pytest.raises(samovar.WebhookInvalid):
        samovar.webhooks.verify(given, body, SECRET)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_QQ==", "sk_abc"])
def test_a_secret_that_is_none_is_the_callers_mistake(secret: Any) -> None:
    with pytest.raises(ValueError, match="secret"):
        samovar.webhooks.verify(headers(), BODY, secret)
