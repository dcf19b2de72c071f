"""Verification of received webhooks (Standard Webhooks 1.0, https://www.standardwebhooks.com)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import ValidationError
from pydantic_core import from_json
from standardwebhooks import Webhook, WebhookVerificationError

from samovar.errors import WebhookInvalid
from samovar.models import WebhookEvent

_MIN_SECRET_LENGTH = len("whsec_") + 32  # 24 bytes in base64


def verify(headers: Mapping[str, str], body: bytes | str, secret: str | Iterable[str]) -> WebhookEvent:
    """Return the webhook event of a received request, after verifying its signature.

    An event can be delivered more than once, always with the same `WebhookEvent.id`.

    Args:
        headers: The headers of the request. Their case does not matter.
        body: The body of the request, exactly as it arrived.
        secret: The client's signing secret, `whsec_…`. Give several while secrets are rotated: one must match.

    Raises:
        WebhookInvalid: If no secret matches, if the timestamp is more than 5 minutes from now, or if the body is not
            a webhook event.
        ValueError: If a secret is not a `whsec_` secret.
    """
    keys = [_parse_secret(each) for each in ([secret] if isinstance(secret, str) else secret)]
    lowercase = {name.lower(): value for name, value in headers.items()}
    if not any(_is_signed(lowercase, body, key) for key in keys):
        raise WebhookInvalid("The webhook is not signed with the secret, or its timestamp is not within 5 minutes")
    try:
        return WebhookEvent.model_validate({**from_json(body), "id": lowercase["webhook-id"]})
    except (ValidationError, ValueError, TypeError):
        raise WebhookInvalid("The webhook has a valid signature, but its body is not a webhook event") from None


def check_secret(secret: str) -> None:
    """Check the form of a signing secret before any webhook arrives.

    Raises:
        ValueError: If `secret` is not a `whsec_` secret.
    """
    _parse_secret(secret)


def _parse_secret(secret: str) -> Webhook:
    if not secret.startswith("whsec_") or len(secret) < _MIN_SECRET_LENGTH:
        raise ValueError("Not a webhook secret: it must be whsec_ followed by at least 24 bytes in base64")
    return Webhook(secret)


def _is_signed(headers: dict[str, str], body: bytes | str, key: Webhook) -> bool:
    try:
        key.verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):  # ValueError: not base64, not UTF-8, or a signature without a comma
        return False
    return True
