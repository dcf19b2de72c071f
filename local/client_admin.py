"""Administration of the clients of a deployment or of a local cloud, for `samovar admin`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from local import clients
from local.errors import CommandError
from shared.auth.clients import Client, new_client_secret
from shared.aws.client import ConditionFailed
from shared.aws.items import expression
from shared.aws.table import Table
from shared.clock import now_ms
from shared.errors import Transient, UrlRefused
from shared.webhooks.store import DeliveryStore, redeliver_failed
from shared.webhooks.urls import parse_webhook_url


@dataclass(frozen=True)
class ClientAdmin:
    """The clients in the table that Terraform's outputs name, with the operations of an administrator.

    With `allow_loopback`, as in a local cloud, webhooks may call this machine. Every method raises a CommandError if
    there is no such client, if another administrator changes the client at the same time, or if AWS refuses a call.
    """

    dynamodb: Any
    kms: Any
    outputs: Mapping[str, Any]
    allow_loopback: bool = False

    @classmethod
    def open(cls, folder: Path | None) -> Self:
        """Return the clients of the local cloud in `folder`, or of this checkout's deployment if `folder` is None."""
        return cls(*clients.open_services(folder), allow_loopback=folder is not None)

    def create(self, *, name: str, scope: str) -> dict[str, str]:
        """Register a client. Return `client_id`, `client_secret` and `webhook_secret`, which cannot be shown again."""
        return clients.create(self.dynamodb, self.kms, self.outputs, name=name, scope=scope)

    def list(self) -> list[dict[str, Any]]:
        """Return all clients, the oldest first, with the number of their secrets instead of the secrets."""
        with _explain_errors():
            found = sorted(map(Client.model_validate, self._table.scan()), key=lambda client: client.created_at)
        return [
            {**client.model_dump(include={"client_id", "name", "scope", "status", "created_at"}),
             "secrets": len(client.secrets)}
            for client in found
        ]  # fmt: skip

    def rotate_secret(self, client_id: str) -> dict[str, str]:
        """Give a client a new secret and return it. The secret before it stays valid, an older one does not.

        After two rotations in a row, the two new secrets are the valid ones.
        """
        before = self._get(client_id)
        new, secret = new_client_secret()
        newest = max(before.secrets, key=lambda one: one.created_at)
        kept = {name: [one.model_dump() for one in those]
                for name, those in (("after", (new, newest)), ("before", before.secrets))}  # fmt: skip
        # boto3 repeats an update whose answer was lost. The repetition must succeed, because only this call knows the
        # secret.
        unchanged = "(#secrets = :before OR #secrets = :after)"
        self._update(client_id, kept, "SET #secrets = :after", f"{unchanged} AND #status = :active")
        return {"client_id": client_id, "client_secret": secret}

    def rotate_webhook_secret(self, client_id: str) -> dict[str, str]:
        """Give a client a new secret that signs its webhooks, and return it. The former one also signs for 24 hours."""
        table, key = self.outputs["clients_table"], self.outputs["webhook_secrets_key_arn"]
        with _explain_errors():
            secret = clients.give_webhook_secret(self.dynamodb, self.kms, table=table, key=key, client_id=client_id)
        return {"client_id": client_id, "webhook_secret": secret}

    def configure(self, client_id: str, changes: Mapping[str, Any]) -> None:
        """Set `webhook_url`, `expected_parallelism` or `limits` of a client. A value of None removes the attribute.

        `limits` is merged with the client's limits by name.

        Raises:
            CommandError: If a value is not allowed.
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
            raise CommandError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        assigned = [f"#{name} = :{name}" for name, value in values.items() if value is not None]
        removed = [f"#{name}" for name, value in values.items() if value is None]
        change = f"SET {', '.join(assigned)}" + (f" REMOVE {', '.join(removed)}" if removed else "")
        self._update(client_id, values, change, "attribute_exists(#client_id)")

    def _check_url(self, url: str) -> None:
        try:
            parse_webhook_url(url, allow_loopback=self.allow_loopback)
        except UrlRefused as error:
            raise CommandError(f"Webhooks may not call {url}: {error}") from None

    def replay(self, client_id: str, *, since: int) -> tuple[str, ...]:
        """Redeliver every webhook event of the client that failed since `since` (ms), and return their `webhook-id`s.

        The janitor sends the messages within about a minute. If the call is interrupted, the same call continues it.
        """
        self._get(client_id)
        deliveries = DeliveryStore(Table(self.outputs["jobs_table"], dynamodb=self.dynamodb))
        with _explain_errors():
            begun = redeliver_failed(deliveries, client_id, since=since, now=now_ms())
            return tuple(delivery.webhook_id for delivery in begun)

    def revoke(self, client_id: str) -> None:
        """Refuse the client from now on. Revoking a revoked client changes nothing."""
        self._get(client_id)
        self._update(client_id, {}, "SET #status = :revoked", "attribute_exists(#client_id)")

    def _get(self, client_id: str) -> Client:
        with _explain_errors():
            found = self._table.get({"client_id": client_id})
        if found is None:
            raise CommandError(f"There is no client {client_id}. `samovar admin clients list` shows all clients.")
        return Client.model_validate(found)

    def _update(self, client_id: str, values: dict[str, Any], change: str, condition: str) -> None:
        named = {**values, "active": "active", "revoked": "revoked"}
        update = expression(named, UpdateExpression=change, ConditionExpression=condition)
        with _explain_errors():
            self._table.update({"client_id": client_id}, update)

    @property
    def _table(self) -> Table:
        return Table(self.outputs["clients_table"], dynamodb=self.dynamodb)


@contextmanager
def _explain_errors() -> Iterator[None]:
    """Turn errors of the stores inside the block into a CommandError."""
    try:
        yield
    except ConditionFailed:
        raise CommandError(
            "The client is revoked, or it was changed at the same time. Check it with `samovar admin clients list`,"
            " then try again."
        ) from None
    except Transient as error:
        raise CommandError(str(error)) from None
