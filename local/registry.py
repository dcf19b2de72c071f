"""The clients of a deployment or of the local cloud, as whoever runs it manages them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from local import clients
from local.errors import Problem
from shared import aws
from shared.addresses import webhook_target
from shared.clients import Client, new_client_secret
from shared.clock import now_ms
from shared.deliveries import DeliveryStore, replay
from shared.errors import Transient, UrlRefused


@dataclass(frozen=True)
class Registry:
    """DynamoDB and KMS, and where Terraform's outputs say that the table is.

    With `allow_loopback`, as in the local cloud, webhooks may call this machine. Every call raises Problem when there
    is no such client, somebody else changes it at the same time, or AWS refuses.
    """

    dynamodb: Any
    kms: Any
    outputs: Mapping[str, Any]
    allow_loopback: bool = False

    @classmethod
    def open(cls, folder: Path | None) -> Self:
        """Of the local cloud in `folder`, or of the deployment whose state `terraform/` is initialised for."""
        return cls(*clients.services(folder), allow_loopback=folder is not None)

    def create(self, *, name: str, scope: str) -> dict[str, str]:
        """Admit a client; returns its id and its secrets, which nothing can show again."""
        return clients.create(self.dynamodb, self.kms, self.outputs, name=name, scope=scope)

    def list(self) -> list[dict[str, Any]]:
        """What may be shown of all clients, the oldest first."""
        found = sorted(map(Client.model_validate, self._items()), key=lambda client: client.created_at)
        return [
            {**client.model_dump(include={"client_id", "name", "scope", "status", "created_at"}),
             "secrets": len(client.secrets)}
            for client in found
        ]  # fmt: skip

    def _items(self) -> Iterator[dict[str, Any]]:
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=self.outputs["clients_table"])
        with _explained("Listing the clients"):
            for page in pages:
                yield from map(aws.from_item, page["Items"])

    def rotate_secret(self, client_id: str) -> dict[str, str]:
        """Give a client a new secret; the newest it had goes on beside it, an older one does not.

        Run twice by mistake, it shows two new secrets, and those are the ones that count.
        """
        before = self._get(client_id)
        slot, secret = new_client_secret()
        newest = max(before.secrets, key=lambda one: one.created_at)
        kept = {name: [one.model_dump() for one in those]
                for name, those in (("after", (slot, newest)), ("before", before.secrets))}  # fmt: skip
        # Or changed to just this: a rotation whose answer was lost is repeated, and nobody else would know its secret.
        unchanged = "(#secrets = :before OR #secrets = :after)"
        self._update(client_id, kept, "SET #secrets = :after", f"{unchanged} AND #status = :active")
        return {"client_id": client_id, "client_secret": secret}

    def rotate_webhook_secret(self, client_id: str) -> dict[str, str]:
        """Sign the client's webhooks with a new secret; the former one goes on signing beside it for 24 hours."""
        table, key = self.outputs["clients_table"], self.outputs["webhook_secrets_key_arn"]
        with _explained("Rotating the signing secret"):
            secret = clients.give_webhook_secret(self.dynamodb, self.kms, table=table, key=key, client_id=client_id)
        return {"client_id": client_id, "webhook_secret": secret}

    def configure(self, client_id: str, changes: Mapping[str, Any]) -> None:
        """Change what a client has of `webhook_url`, `expected_parallelism` and `limits`; None takes it away.

        Raises:
            Problem: when a value is not one that a client may have.
        """
        client = self._get(client_id)
        if url := changes.get("webhook_url"):
            self._check_url(url)
        limits = {**client.limits, **changes.get("limits", {})}
        values = {**changes, "limits": {name: limit for name, limit in limits.items() if limit is not None}}
        try:
            Client.model_validate({**client.model_dump(), **{k: v for k, v in values.items() if v is not None}})
        except ValidationError as error:
            first = error.errors()[0]
            raise Problem(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        given = [f"#{name} = :{name}" for name, value in values.items() if value is not None]
        gone = [f"#{name}" for name, value in values.items() if value is None]
        change = f"SET {', '.join(given)}" + (f" REMOVE {', '.join(gone)}" if gone else "")
        self._update(client_id, values, change, "attribute_exists(#client_id)")

    def _check_url(self, url: str) -> None:
        try:
            webhook_target(url, allow_loopback=self.allow_loopback)
        except UrlRefused as error:
            raise Problem(f"A webhook may not call {url}: {error}") from None

    def replay(self, client_id: str, *, since: int) -> tuple[str, ...]:
        """Begin anew what could not be delivered to the client since `since` (ms); the `webhook-id`s.

        The janitor sends it within about a minute. Broken off, the same call goes on where it was.
        """
        self._get(client_id)
        deliveries = DeliveryStore(self.outputs["jobs_table"], dynamodb=self.dynamodb)
        with _explained("Replaying deliveries"):
            return tuple(delivery.name for delivery in replay(deliveries, client_id, since=since, now=now_ms()))

    def revoke(self, client_id: str) -> None:
        """Refuse the client from now on; once more does no harm."""
        self._get(client_id)
        self._update(client_id, {}, "SET #status = :revoked", "attribute_exists(#client_id)")

    def _get(self, client_id: str) -> Client:
        table, key = self.outputs["clients_table"], aws.to_item({"client_id": client_id})
        with _explained("Reading the client"):
            found = self.dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
        if not found:
            raise Problem(f"There is no client {client_id}.")
        return Client.model_validate(aws.from_item(found))

    def _update(self, client_id: str, values: dict[str, Any], change: str, condition: str) -> None:
        named = {**values, "active": "active", "revoked": "revoked"}
        expressions = aws.expression(named, UpdateExpression=change, ConditionExpression=condition)
        key = aws.to_item({"client_id": client_id})
        with _explained("Changing the client"):
            self.dynamodb.update_item(TableName=self.outputs["clients_table"], Key=key, **expressions)


@contextmanager
def _explained(action: str) -> Iterator[None]:
    try:
        with aws.translated(action):
            yield
    except aws.ConditionFailed:
        raise Problem(
            "The client is revoked, or somebody else changed it at the same time: look and try again."
        ) from None
    except Transient as error:
        raise Problem(str(error)) from None
