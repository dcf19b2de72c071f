"""Signatures of deliveries (Standard Webhooks 1.0, https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence

PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)  # lengths that the standard allows
_NEW_KEY_BYTES = 32
_SECRETS = range(1, 3)  # two while one secret replaces the other


def new_secret() -> str:
    """Return a new signing secret: `whsec_` and 256 random bits in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_NEW_KEY_BYTES)).decode()


def sign_delivery(signing_secrets: Sequence[str], *, webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers `webhook-id`, `webhook-timestamp` and `webhook-signature` for one attempt.

    Args:
        signing_secrets: One or two secrets. Each of them makes a signature.
        webhook_id: The id of the delivery, which is the same in every attempt. The client must not choose it, because
            the dots in it separate the parts of the signed content.
        timestamp: The time of the attempt in seconds since the epoch.
        body: The body of the request.

    Raises:
        ValueError: If there is no secret, if there are more than two, or if one of them is malformed.
    """
    if len(signing_secrets) not in _SECRETS:
        raise ValueError("A delivery is signed with one secret, or with two during a rotation")
    content = f"{webhook_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_sign(secret, content) for secret in signing_secrets),
    }


def _sign(secret: str, content: bytes) -> str:
    digest = hmac.digest(_decode_key(secret), content, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def _decode_key(secret: str) -> bytes:
    # The errors must not contain the secret: they are logged.
    if not secret.startswith(PREFIX):
        raise ValueError(f"A signing secret must begin with {PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("A signing secret must be base64 after its prefix") from None
    if len(key) not in _KEY_BYTES:
        raise ValueError("A signing secret must have 24 to 64 bytes")
    return key
