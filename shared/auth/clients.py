"""OAuth clients, their secrets, and the table that stores them.

A secret is shown once, when it is created. Only its SHA-256 is stored. A salt or a slow hash would add nothing: a
secret is 256 random bits, not a password that a person chose.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from typing import Any, Literal

from pydantic import Field, PositiveInt

from shared.aws.client import ConditionFailed
from shared.aws.items import expression
from shared.aws.table import Table
from shared.limits.limits import Limits
from shared.records import Record
from shared.warmup.records import ENVIRONMENTS_LIMIT

LimitName = Literal["requests_per_minute", "open_jobs", "bytes_per_day"]

SECRETS_LIMIT = 2  # active secrets of a client: a new one and the one that it replaces
ROTATION_MS = 24 * 3600 * 1000  # time for which the former secret signs, too

_NO_DIGEST = "0" * 64  # no secret has this SHA-256


class Secret(Record):
    """One of a client's active secrets. `created_at` is in seconds since the epoch."""

    sha256: str
    created_at: int


class WebhookSecret(Record):
    """A secret that signs a client's webhooks, encrypted by `shared.webhooks.secrets`. Times in milliseconds."""

    ciphertext: str
    created_at: int
    ends_at: int | None = None  # set when another secret replaces this one


class Client(Record):
    """A registered OAuth client."""

    client_id: str
    name: str
    scope: str
    status: Literal["active", "revoked"] = "active"
    secrets: tuple[Secret, ...] = Field(max_length=SECRETS_LIMIT)
    created_at: int
    expected_parallelism: int = Field(default=1, ge=1, le=ENVIRONMENTS_LIMIT)  # environments that its tokens warm
    limits: dict[LimitName, PositiveInt] = Field(default_factory=dict)  # override the deployment's

    webhook_url: str | None = None  # receives the events of jobs whose request names no webhook
    webhook_secrets: tuple[WebhookSecret, ...] = Field(default=(), max_length=SECRETS_LIMIT)

    def limits_over(self, defaults: Limits) -> Limits:
        """Return the limits of this client: its own, and the deployment's `defaults` for the rest."""
        return Limits.model_validate({**defaults.model_dump(), **self.limits})

    def webhook_ciphertexts(self, *, now: int) -> list[str]:
        """Return the encrypted secrets that sign a delivery at `now` (ms), the newest first."""
        active = [secret for secret in self.webhook_secrets if secret.ends_at is None or secret.ends_at > now]
        return [secret.ciphertext for secret in sorted(active, key=lambda secret: secret.created_at, reverse=True)]

    @property
    def scopes(self) -> frozenset[str]:
        """Return the scopes that the client's tokens may carry."""
        return frozenset(self.scope.split())


def new_client(*, name: str, scope: str) -> tuple[Client, str]:
    """Return a new client and its secret in plain text. The secret cannot be read again later."""
    stored, secret = new_client_secret()
    client = Client(
        client_id=f"c_{secrets.token_urlsafe(16)}",
        name=name,
        scope=scope,
        secrets=(stored,),
        created_at=stored.created_at,
    )
    return client, secret


def new_client_secret() -> tuple[Secret, str]:
    """Return the record of a new secret, and the secret in plain text. The secret cannot be read again later."""
    secret = f"sk_{secrets.token_urlsafe(32)}"
    return Secret(sha256=_digest(secret), created_at=int(time.time())), secret


def secret_matches(client: Client | None, secret: str) -> bool:
    """Return whether `secret` belongs to an active client. The time taken does not depend on whether it exists."""
    given = _digest(secret)
    stored = [one.sha256 for one in client.secrets] if client else []
    stored += [_NO_DIGEST] * (SECRETS_LIMIT - len(stored))
    # A list, not a generator: every secret is compared, whichever matches.
    matches = [hmac.compare_digest(given, digest) for digest in stored]
    return any(matches) and client is not None and client.status == "active"


def rotate(former: tuple[WebhookSecret, ...], ciphertext: str, *, now: int) -> tuple[WebhookSecret, ...]:
    """Return the signing secrets after `ciphertext` replaced the newest of `former` at `now` (ms).

    The replaced secret stays active for another day. Older ones are dropped.
    """
    new = WebhookSecret(ciphertext=ciphertext, created_at=now)
    if not former:
        return (new,)
    replaced = max(former, key=lambda secret: secret.created_at)
    return (new, replaced.model_copy(update={"ends_at": now + ROTATION_MS}))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class ClientStore:
    """The clients in the table `clients`."""

    def __init__(self, table: Table) -> None:
        """Use the table `clients`, whose key is `client_id`."""
        self._table = table

    def get(self, client_id: str) -> Client | None:
        """Return the client, read consistently so that a revocation takes effect at once, or None if there is none.

        Raises:
            Transient: If DynamoDB is throttled or unreachable.
        """
        item = self._table.get({"client_id": client_id})
        return Client.model_validate(item) if item else None

    def put(self, client: Client) -> None:
        """Register a new client.

        Raises:
            ConditionFailed: If the id is taken.
            Transient: If DynamoDB is throttled or unreachable.
        """
        is_new = expression({}, ConditionExpression="attribute_not_exists(#client_id)")
        self._table.put(client.model_dump(mode="json", exclude_none=True), **is_new)

    def rotate_webhook_secret(self, client_id: str, ciphertext: str, *, now: int) -> bool:
        """Sign webhooks with the secret in `ciphertext` from `now` (ms) on. Return False if there is no such client.

        The secret that it replaces signs beside it for 24 hours.

        Raises:
            ConditionFailed: If another call rotates the secret at the same time.
            Transient: If DynamoDB is throttled or unreachable.
        """
        client = self.get(client_id)
        if client is None:
            return False
        former = [secret.model_dump(exclude_none=True) for secret in client.webhook_secrets]
        rotated = [one.model_dump(exclude_none=True) for one in rotate(client.webhook_secrets, ciphertext, now=now)]
        # The SDK repeats a rotation whose answer was lost. It must then succeed, since nobody else knows the secret.
        condition = "#webhook_secrets = :former OR #webhook_secrets = :rotated"
        if not former:
            condition += " OR attribute_not_exists(#webhook_secrets)"
        self._update(
            client_id,
            {"rotated": rotated, "former": former},
            UpdateExpression="SET #webhook_secrets = :rotated",
            ConditionExpression=f"attribute_exists(#client_id) AND ({condition})",
        )
        return True

    def set_webhook_url(self, client_id: str, url: str | None) -> bool:
        """Set the URL for the events of jobs whose request names no webhook. Return False if there is no such client.

        The caller must have checked the URL with `shared.webhooks.urls.parse_webhook_url`.

        Raises:
            Transient: If DynamoDB is throttled or unreachable.
        """
        change = "SET #webhook_url = :url" if url is not None else "REMOVE #webhook_url"
        condition = "attribute_exists(#client_id)"
        try:
            self._update(client_id, {"url": url}, UpdateExpression=change, ConditionExpression=condition)
        except ConditionFailed:
            return False
        return True

    def _update(self, client_id: str, values: dict[str, Any], **expressions: str) -> None:
        self._table.update({"client_id": client_id}, expression(values, **expressions))
