"""The clients of a deployment or of the local cloud, as whoever runs it manages them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from local import clients
from local.errors import Problem
from shared import aws
from shared.clients import Client, new_client_secret
from shared.errors import Transient


@dataclass(frozen=True)
class Registry:
    """DynamoDB, and where Terraform's outputs say that the table is.

    Every call raises Problem when there is no such client, somebody else changes it at the same time, or AWS refuses.
    """

    dynamodb: Any
    outputs: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path | None) -> Self:
        """Of the local cloud in `folder`, or of the deployment whose state `terraform/` is initialised for."""
        return cls(*clients.services(folder))

    def create(self, *, name: str, scope: str) -> dict[str, str]:
        """Admit a client; returns its id and its secrets, which nothing can show again."""
        return clients.create(self.dynamodb, self.outputs, name=name, scope=scope)

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
        self._update(client_id, kept, "SET #secrets = :after", "#secrets = :before AND #status = :active")
        return {"client_id": client_id, "client_secret": secret}

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
