"""The items of the table `jobs`, by `id` and `part`: read consistently, written on conditions, failures translated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from shared import aws
from shared.errors import Transient

_BATCH_GET_LIMIT = 100


class Table:
    """Items as plain values. Every method raises Transient when DynamoDB is busy or away."""

    def __init__(self, name: str, *, dynamodb: Any = None) -> None:
        """Of the DynamoDB table `name`; `dynamodb` in place of an AWS client that is built at first use."""
        self._name = name
        self._given = dynamodb

    def get(self, item_id: str, part: str) -> dict[str, Any] | None:
        """The item, None when there is none."""
        with aws.translated(f"Reading {part} of {item_id}"):
            answer = self._dynamodb.get_item(TableName=self._name, Key=_key(item_id, part), ConsistentRead=True)
        return aws.from_item(answer["Item"]) if "Item" in answer else None

    def get_all(self, keys: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
        """The items with these ids and parts, in no order; those that are gone are missing."""
        left = [_key(item_id, part) for item_id, part in keys]
        found: list[dict[str, Any]] = []
        while left:
            request = {self._name: {"Keys": left[:_BATCH_GET_LIMIT], "ConsistentRead": True}}
            with aws.translated("Reading items"):
                answer = self._dynamodb.batch_get_item(RequestItems=request)
            found += [aws.from_item(item) for item in answer["Responses"][self._name]]
            unread = answer.get("UnprocessedKeys", {}).get(self._name, {}).get("Keys", [])
            left = [*unread, *left[_BATCH_GET_LIMIT:]]
        return found

    def put(self, values: Mapping[str, Any], **condition: Any) -> None:
        """Put an item.

        Raises:
            ConditionFailed: with what is there, when the condition does not hold.
        """
        with aws.translated(f"Storing {values['part']} of {values['id']}"):
            self._dynamodb.put_item(
                TableName=self._name,
                Item=aws.to_item(values),
                **({**condition, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"} if condition else {}),
            )

    def put_all(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Put a few items in one call; when it fails some of them may be there."""
        puts = [{"PutRequest": {"Item": aws.to_item(item)}} for item in items]
        with aws.translated(f"Storing {items[0]['id']}"):
            answer = self._dynamodb.batch_write_item(RequestItems={self._name: puts})
        if answer.get("UnprocessedItems"):
            raise Transient(f"Storing {items[0]['id']}: not all of it was taken")

    def put_together(self, items: Sequence[Mapping[str, Any]], last: Mapping[str, Any], **condition: Any) -> None:
        """Put all of the items or none, and the `last` of them only on a condition.

        Raises:
            ConditionFailed: with what is there in place of `last`.
            Contended: when another transaction is about the same items.
        """
        conditional = {**condition, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        puts = [*((item, {}) for item in items), (last, conditional)]
        writes = [{"Put": {"TableName": self._name, "Item": aws.to_item(item), **options}} for item, options in puts]
        with aws.translated(f"Storing {items[0]['id']}"):
            self._dynamodb.transact_write_items(TransactItems=writes)

    def update(self, item_id: str, part: str, update: Mapping[str, Any]) -> dict[str, Any]:
        """Update an item; what it is then.

        Raises:
            ConditionFailed: with what is there, when the condition of `update` does not hold.
        """
        with aws.translated(f"Updating {part} of {item_id}"):
            answer = self._dynamodb.update_item(
                TableName=self._name,
                Key=_key(item_id, part),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **update,
            )
        return aws.from_item(answer["Attributes"])

    def delete(self, item_id: str, part: str) -> None:
        """Delete an item, if it is there."""
        with aws.translated(f"Deleting {part} of {item_id}"):
            self._dynamodb.delete_item(TableName=self._name, Key=_key(item_id, part))

    def page(self, **query: Any) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
        """One page of a query, and the key after which there may be more."""
        with aws.translated("Looking for items"):
            answer = self._dynamodb.query(TableName=self._name, **query)
        last = answer.get("LastEvaluatedKey")
        return [aws.from_item(item) for item in answer["Items"]], aws.from_item(last) if last else None

    def all(self, **query: Any) -> list[dict[str, Any]]:
        """All pages of a query."""
        with aws.translated("Looking for items"):
            pages = self._dynamodb.get_paginator("query").paginate(TableName=self._name, **query)
            return [aws.from_item(item) for page in pages for item in page["Items"]]

    def count(self, *, most: int, **query: Any) -> int:
        """How many items a query finds, counted up to about `most`."""
        count = 0
        with aws.translated("Counting items"):
            pages = self._dynamodb.get_paginator("query").paginate(TableName=self._name, Select="COUNT", **query)
            for page in pages:
                count += page["Count"]
                if count >= most:
                    break
        return count

    @cached_property
    def _dynamodb(self) -> Any:
        return self._given or aws.client("dynamodb", connections=32)


def _key(item_id: str, part: str) -> dict[str, Any]:
    return aws.to_item({"id": item_id, "part": part})
