"""Verification of received webhooks."""

from __future__ import annotations

import base64
import json
import secrets
from datetime import datetime, timedelta, timezone

import pytest
import samovar
from standardwebhooks import Webhook

ID = "0198a0b0-0000-7000-8000-000000000001"
SECRET, OTHER = (f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}" for _ in range(2))
BODY = json.dumps(
    {"type": "job.succeeded", "timestamp": "2026-01-02T03:04:05.000Z", "data": {"id": ID, "status": "succeeded"}}
).encode()


def sign_headers(*signing_secrets: str, age: int = 0, body: bytes = BODY) -> dict[str, str]:
    """Return the headers of a webhook that was signed with each of the secrets `age` seconds ago."""
    webhook_id = f"{ID}.1.succeeded"
    signed_at = datetime.now(timezone.utc) - timedelta(seconds=age)
    signatures = [
        Webhook(secret).sign(webhook_id, signed_at, body.decode("latin-1")) for secret in signing_secrets or [SECRET]
    ]
    return {
        "Webhook-Id": webhook_id,
        "Webhook-Timestamp": str(int(signed_at.timestamp())),
        "Webhook-Signature": " ".join(signatures),
    }


def test_a_webhook_signed_by_the_service_is_accepted() -> None:
    event = samovar.webhooks.verify(sign_headers(), BODY, SECRET)
    assert (event.id, event.type, event.data.status) == (f"{ID}.1.succeeded", "job.succeeded", "succeeded")


def test_either_secret_is_accepted_during_a_rotation() -> None:
    samovar.webhooks.verify(sign_headers(SECRET, OTHER), BODY, OTHER)
    samovar.webhooks.verify(sign_headers(OTHER), BODY, [SECRET, OTHER])


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (sign_headers(OTHER), BODY),
        (sign_headers(age=301), BODY),
        (sign_headers(age=-600), BODY),
        (sign_headers(), BODY + b" "),
        ({}, BODY),
        ({**sign_headers(), "Webhook-Signature": "v1"}, BODY),
        ({**sign_headers(), "Webhook-Signature": "v1,é"}, BODY),
        ({**sign_headers(), "Webhook-Timestamp": "now"}, BODY),
        (sign_headers(body=b"\xff"), b"\xff"),
        (sign_headers(body=b"[]"), b"[]"),
        (sign_headers(body=b"{}"), b"{}"),
        (sign_headers(body=b"{"), b"{"),
    ],
)
def test_an_invalid_webhook_is_refused(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(samovar.WebhookInvalid):
        samovar.webhooks.verify(headers, body, SECRET)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_QQ==", "sk_abc"])
def test_an_invalid_secret_raises_value_error(secret: str) -> None:
    with pytest.raises(ValueError, match="secret"):
        samovar.webhooks.verify(sign_headers(), BODY, secret)
