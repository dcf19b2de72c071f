"""A DynamoDB table whose items are plain values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from shared.aws.client import make_client, translate_errors
from shared.aws.items import deserialize, serialize
from shared.errors import Transient

_BATCH_GET_LIMIT = 100

Key = Mapping[str, str]  # the values of the key attributes by their names


class Table:
    """The items of one table. Every method raises `Transient` if DynamoDB is throttled or unreachable."""

    def __init__(self, name: str, *, read_timeout: float = 5, attempts: int = 3, dynamodb: Any = None) -> None:
        """Use the table `name`.

        Args:
            name: The table's name.
            read_timeout: Seconds that each call waits for its answer.
            attempts: How often each call is tried.
            dynamodb: A low-level client to use. Without it, one is built at first use.
        """
        self._name = name
        self._read_timeout = read_timeout
        self._attempts = attempts
        self._given = dynamodb

    def get(self, key: Key, *, consistent: bool = True) -> dict[str, Any] | None:
        """Return the item at `key`, or None if there is none."""
        with translate_errors(f"Reading {self._describe(key)}"):
            answer = self._dynamodb.get_item(TableName=self._name, Key=serialize(key), ConsistentRead=consistent)
        return deserialize(answer["Item"]) if "Item" in answer else None

    def get_many(self, keys: Iterable[Key]) -> list[dict[str, Any]]:
        """Return the items at `keys` in any order, read consistently. Items that do not exist are left out."""
        remaining = [serialize(key) for key in keys]
        items: list[dict[str, Any]] = []
        while remaining:
            request = {self._name: {"Keys": remaining[:_BATCH_GET_LIMIT], "ConsistentRead": True}}
            with translate_errors(f"Reading items of {self._name}"):
                answer = self._dynamodb.batch_get_item(RequestItems=request)
            items += [deserialize(item) for item in answer["Responses"][self._name]]
            unprocessed = answer.get("UnprocessedKeys", {}).get(self._name, {}).get("Keys", [])
            remaining = [*unprocessed, *remaining[_BATCH_GET_LIMIT:]]
        return items

    def put(self, item: Mapping[str, Any], **condition: Any) -> None:
        """Put `item`.

        Args:
            item: The attributes, including the key.
            condition: Parameters with a `ConditionExpression`, as `expression` returns them.

        Raises:
            ConditionFailed: If the condition does not hold. The error holds the item that is there.
        """
        returned = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"} if condition else {}
        with translate_errors(f"Storing {self._describe(item)}"):
            self._dynamodb.put_item(TableName=self._name, Item=serialize(item), **condition, **returned)

    def put_many(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Put up to 25 items in one call. If the call fails, some of them may be stored."""
        puts = [{"PutRequest": {"Item": serialize(item)}} for item in items]
        action = f"Storing {self._describe(items[0])}"
        with translate_errors(action):
            answer = self._dynamodb.batch_write_item(RequestItems={self._name: puts})
        if answer.get("UnprocessedItems"):
            raise Transient(f"{action}: DynamoDB did not process every item")

    def put_together(self, items: Sequence[Mapping[str, Any]], last: Mapping[str, Any], **condition: Any) -> None:
        """Put all of the items or none of them in one transaction, if the condition holds for `last`.

        Raises:
            ConditionFailed: If the condition does not hold. The error holds the item in place of `last`.
            Contended: If another transaction is in progress on one of the items.
        """
        conditional = {**condition, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        puts = [*((item, {}) for item in items), (last, conditional)]
        writes = [{"Put": {"TableName": self._name, "Item": serialize(item), **options}} for item, options in puts]
        with translate_errors(f"Storing {self._describe(items[0])}"):
            self._dynamodb.transact_write_items(TransactItems=writes)

    def update(self, key: Key, update: Mapping[str, Any], *, returning: str = "ALL_NEW") -> dict[str, Any]:
        """Update the item at `key` and return its attributes.

        Args:
            key: The key.
            update: Parameters with an `UpdateExpression`, as `expression` returns them.
            returning: Which attributes to return: one of DynamoDB's `ReturnValues`.

        Raises:
            ConditionFailed: If the condition of `update` does not hold. The error holds the item that is there.
        """
        with translate_errors(f"Updating {self._describe(key)}"):
            answer = self._dynamodb.update_item(
                TableName=self._name,
                Key=serialize(key),
                ReturnValues=returning,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **update,
            )
        return deserialize(answer.get("Attributes", {}))

    def delete(self, key: Key) -> None:
        """Delete the item at `key`. Do nothing if there is none."""
        with translate_errors(f"Deleting {self._describe(key)}"):
            self._dynamodb.delete_item(TableName=self._name, Key=serialize(key))

    def query_page(self, **query: Any) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
        """Return one page of a query, and the key to continue after. The key is None on the last page."""
        with translate_errors(f"Querying {self._name}"):
            answer = self._dynamodb.query(TableName=self._name, **query)
        last = answer.get("LastEvaluatedKey")
        return [deserialize(item) for item in answer["Items"]], deserialize(last) if last else None

    def query(self, **query: Any) -> list[dict[str, Any]]:
        """Return the items of all pages of a query."""
        with translate_errors(f"Querying {self._name}"):
            pages = self._dynamodb.get_paginator("query").paginate(TableName=self._name, **query)
            return [deserialize(item) for page in pages for item in page["Items"]]

    def scan(self) -> Iterator[dict[str, Any]]:
        """Yield all items of the table in any order."""
        with translate_errors(f"Scanning {self._name}"):
            for page in self._dynamodb.get_paginator("scan").paginate(TableName=self._name):
                yield from map(deserialize, page["Items"])

    def count(self, *, limit: int, **query: Any) -> int:
        """Return the number of items that a query finds. Stop counting at the first page that reaches `limit`."""
        count = 0
        with translate_errors(f"Counting items of {self._name}"):
            pages = self._dynamodb.get_paginator("query").paginate(TableName=self._name, Select="COUNT", **query)
            for page in pages:
                count += page["Count"]
                if count >= limit:
                    break
        return count

    def _describe(self, key: Mapping[str, Any]) -> str:
        """Return a name of the item for error messages."""
        names = ("id", "part", "client_id") if "id" not in key else ("id", "part")
        return " ".join([self._name, *(str(key[name]) for name in names if name in key)])

    @cached_property
    def _dynamodb(self) -> Any:
        if self._given is not None:
            return self._given
        return make_client("dynamodb", read_timeout=self._read_timeout, attempts=self._attempts, connections=32)
