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

from pydantic import Field

from shared import aws
from shared.models import Record

SECRETS_LIMIT = 2


class Secret(Record):
    """One of a client's active secrets; two may be active while one replaces the other."""

    sha256: str
    created_at: int


class Client(Record):
    """A registered OAuth client, as its table holds it."""

    client_id: str
    name: str
    scope: str
    status: Literal["active", "revoked"] = "active"
    secrets: tuple[Secret, ...] = Field(max_length=SECRETS_LIMIT)
    created_at: int

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

    def __init__(self, table: str) -> None:
        """Of the DynamoDB table `table`; the AWS client is built at first use."""
        self._table = table

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
        item = aws.to_item(client.model_dump(mode="json"))
        condition = aws.expression({}, ConditionExpression="attribute_not_exists(#client_id)")
        with aws.translated("Registering the client"):
            self._dynamodb.put_item(TableName=self._table, Item=item, **condition)

    @cached_property
    def _dynamodb(self) -> Any:
        return aws.client("dynamodb", read_timeout=3)
