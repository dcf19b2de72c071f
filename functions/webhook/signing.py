"""Sign deliveries (Standard Webhooks 1.0, https://www.standardwebhooks.com): what was sent, as what, and when."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence

PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)  # what the standard allows
_NEW_KEY_BYTES = 32
_SECRETS = range(1, 3)  # two while one replaces the other


def new_secret() -> str:
    """A signing secret: `whsec_` and 256 random bits in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_NEW_KEY_BYTES)).decode()


def signed_headers(signing_secrets: Sequence[str], *, webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers `webhook-id`, `webhook-timestamp` (`timestamp`, seconds since the epoch) and `webhook-signature`.

    There is one signature for each secret. A retry keeps `webhook_id`, gets a new `timestamp` and is signed again.
    `webhook_id` must be ours, never a client's choice: it may hold the dots that separate what is signed.

    Raises:
        ValueError: when there is not one secret or two, or one is not a `whsec_` secret.
    """
    if len(signing_secrets) not in _SECRETS:
        raise ValueError("A delivery is signed with one secret, or two while they rotate")
    content = f"{webhook_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(secret, content) for secret in signing_secrets),
    }


def _signature(secret: str, content: bytes) -> str:
    digest = hmac.digest(_key(secret), content, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def _key(secret: str) -> bytes:
    if not secret.startswith(PREFIX):
        raise ValueError(f"A signing secret begins with {PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("A signing secret is base64 after its prefix") from None
    if len(key) not in _KEY_BYTES:
        raise ValueError("A signing secret holds 24 to 64 bytes")
    return key
