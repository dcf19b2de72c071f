"""Verify what a webhook receives: Standard Webhooks 1.0 (https://www.standardwebhooks.com)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import ValidationError
from pydantic_core import from_json
from standardwebhooks import Webhook, WebhookVerificationError

from samovar.errors import WebhookInvalid
from samovar.models import Event

_SECRET_LENGTH = len("whsec_") + 32  # 24 bytes in base64


def verify(headers: Mapping[str, str], body: bytes | str, secret: str | Iterable[str]) -> Event:
    """The event of a request with these headers (in any case) and this body, exactly as it arrived.

    `secret` is what signs the client's webhooks, `whsec_…`; or several, any of which may have signed.
    Deliveries can arrive twice: `Event.id` tells.

    Raises:
        WebhookInvalid: not signed with the secret, more than 5 minutes old or new, or not an event.
        ValueError: when the secret is none.
    """
    keys = [_key(one) for one in ([secret] if isinstance(secret, str) else secret)]
    lowered = {name.lower(): value for name, value in headers.items()}
    if not any(_is_signed(lowered, body, key) for key in keys):
        raise WebhookInvalid("The webhook is not signed with the secret, or is too old")
    try:
        return Event.model_validate({**from_json(body), "id": lowered["webhook-id"]})
    except (ValidationError, ValueError, TypeError):
        raise WebhookInvalid("The webhook is signed, but it is no event") from None


def check_secret(secret: str) -> None:
    """Say in time whether a secret can be one.

    Raises:
        ValueError: when it cannot.
    """
    _key(secret)


def _key(secret: str) -> Webhook:
    if not secret.startswith("whsec_") or len(secret) < _SECRET_LENGTH:
        raise ValueError("A webhook's secret begins with whsec_, and base64 of at least 24 bytes follows")
    return Webhook(secret)


def _is_signed(headers: dict[str, str], body: bytes | str, key: Webhook) -> bool:
    try:
        key.verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):  # ValueError: not base64, not UTF-8, a signature without a comma
        return False
    return True
