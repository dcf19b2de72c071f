"""Clients and their secrets. A secret is shown once, when it is made; its SHA-256 is all that is kept.

SHA-256 without salt or stretching is enough: a secret is 256 random bits, not something a person chose.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, PositiveInt

from shared import aws
from shared.models import ROUND_LIMIT, Limits, Record

LimitName = Literal["requests_per_minute", "open_jobs", "bytes_per_day"]

SECRETS_LIMIT = 2
ROTATION_MS = 24 * 3600 * 1000  # how long deliveries are signed with the former secret, too


class Secret(Record):
    """One of a client's active secrets; two may be active while one replaces the other."""

    sha256: str
    created_at: int


class WebhookSecret(Record):
    """A secret that signs a client's webhooks, sealed by `shared.vault`; the former one ends at `ends_at` (ms)."""

    sealed: str
    created_at: int
    ends_at: int | None = None


class Client(Record):
    """A registered OAuth client, as its table holds it."""

    client_id: str
    name: str
    scope: str
    status: Literal["active", "revoked"] = "active"
    secrets: tuple[Secret, ...] = Field(max_length=SECRETS_LIMIT)
    created_at: int
    expected_parallelism: int = Field(default=1, ge=1, le=ROUND_LIMIT)
    limits: dict[LimitName, PositiveInt] = Field(default_factory=dict)

    webhook_url: str | None = None  # where the ends of jobs are announced to whose request does not say
    webhook_secrets: tuple[WebhookSecret, ...] = Field(default=(), max_length=SECRETS_LIMIT)

    def limited(self, defaults: Limits) -> Limits:
        """The client's own limits, over the deployment's."""
        return Limits.model_validate({**defaults.model_dump(), **self.limits})

    def sealed_webhook_secrets(self, *, now: int) -> list[str]:
        """What signs a delivery at `now` (ms): the newest secret, first, and the former one while it is replaced."""
        lasting = [slot for slot in self.webhook_secrets if slot.ends_at is None or slot.ends_at > now]
        return [slot.sealed for slot in sorted(lasting, key=lambda slot: slot.created_at, reverse=True)]

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes that its tokens may carry."""
        return frozenset(self.scope.split())


def new_client(*, name: str, scope: str) -> tuple[Client, str]:
    """A new client and its secret, which nothing can show again."""
    slot, secret = new_client_secret()
    client = Client(
        client_id=f"c_{secrets.token_urlsafe(16)}",
        name=name,
        scope=scope,
        secrets=(slot,),
        created_at=slot.created_at,
    )
    return client, secret


def new_client_secret() -> tuple[Secret, str]:
    """What is kept of a new secret, and the secret, which nothing can show again."""
    secret = f"sk_{secrets.token_urlsafe(32)}"
    return Secret(sha256=_digest(secret), created_at=int(time.time())), secret


def rotated(secrets_: tuple[WebhookSecret, ...], sealed: str, *, now: int) -> tuple[WebhookSecret, ...]:
    """The signing secrets once `sealed` is the new one, at `now` (ms): the newest of the others goes on for a day."""
    new = WebhookSecret(sealed=sealed, created_at=now)
    if not secrets_:
        return (new,)
    former = max(secrets_, key=lambda slot: slot.created_at)
    return (new, former.model_copy(update={"ends_at": now + ROTATION_MS}))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


# What an unknown client is compared with; no secret has this digest.
_NOBODY = "0" * 64


def secret_matches(client: Client | None, secret: str) -> bool:
    """Whether `secret` is one of the active client's; takes the same work whether or not the client exists."""
    given = _digest(secret)
    kept = [slot.sha256 for slot in client.secrets] if client else []
    kept += [_NOBODY] * (SECRETS_LIMIT - len(kept))
    # A list, not a generator: every slot is compared, whichever matches.
    matches = [hmac.compare_digest(given, digest) for digest in kept]
    return any(matches) and client is not None and client.status == "active"


class ClientTable:
    """The table of clients."""

    def __init__(self, table: str, *, dynamodb: Any = None) -> None:
        """Of the DynamoDB table `table`; `dynamodb` in place of an AWS client that is built at first use."""
        self._table = table
        self._given = dynamodb

    def get(self, client_id: str) -> Client | None:
        """The client, read consistently, so that a revocation counts at once.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        key = aws.to_item({"client_id": client_id})
        with aws.translated("Reading the client"):
            answer = self._dynamodb.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        return Client.model_validate(aws.from_item(answer["Item"])) if "Item" in answer else None

    def put(self, client: Client) -> None:
        """Register `client`; an id is never given twice."""
        item = aws.to_item(client.model_dump(mode="json", exclude_none=True))
        condition = aws.expression({}, ConditionExpression="attribute_not_exists(#client_id)")
        with aws.translated("Registering the client"):
            self._dynamodb.put_item(TableName=self._table, Item=item, **condition)

    def rotate_webhook_secret(self, client_id: str, sealed: str, *, now: int) -> bool:
        """Sign webhooks with the secret in `sealed` from `now` (ms) on; False when there is no such client.

        The one it replaces goes on signing beside it for 24 hours.

        Raises:
            aws.ConditionFailed: when somebody else rotates at the same time.
            Transient: when DynamoDB is busy or away.
        """
        client = self.get(client_id)
        if client is None:
            return False
        kept = [slot.model_dump(exclude_none=True) for slot in client.webhook_secrets]
        slots = rotated(client.webhook_secrets, sealed, now=now)
        # Or changed to just this: a rotation whose answer was lost is repeated, and nobody else would know its secret.
        unchanged = "#webhook_secrets = :kept OR #webhook_secrets = :slots"
        if not kept:
            unchanged += " OR attribute_not_exists(#webhook_secrets)"
        self._update(
            client_id,
            {"slots": [slot.model_dump(exclude_none=True) for slot in slots], "kept": kept},
            UpdateExpression="SET #webhook_secrets = :slots",
            ConditionExpression=f"attribute_exists(#client_id) AND ({unchanged})",
        )
        return True

    def set_webhook_url(self, client_id: str, url: str | None) -> bool:
        """Announce the ends of the client's jobs to `url` unless a request says otherwise; False without such a client.

        Whoever calls has the URL checked by `shared.addresses`.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        change = "SET #webhook_url = :url" if url is not None else "REMOVE #webhook_url"
        try:
            self._update(
                client_id, {"url": url}, UpdateExpression=change, ConditionExpression="attribute_exists(#client_id)"
            )
        except aws.ConditionFailed:
            return False
        return True

    def _update(self, client_id: str, values: dict[str, Any], **expressions: str) -> None:
        key = aws.to_item({"client_id": client_id})
        with aws.translated("Changing the client"):
            self._dynamodb.update_item(TableName=self._table, Key=key, **aws.expression(values, **expressions))

    @cached_property
    def _dynamodb(self) -> Any:
        return self._given or aws.client("dynamodb", read_timeout=3)
