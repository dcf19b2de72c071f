"""Conversion between plain values and DynamoDB's items and expressions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def serialize(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values as a DynamoDB item. An attribute whose value is None is left out."""
    from boto3.dynamodb.types import TypeSerializer

    serializer = TypeSerializer()
    return {name: serializer.serialize(value) for name, value in values.items() if value is not None}


def deserialize(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a DynamoDB item as plain values. Binary values become bytes."""
    from boto3.dynamodb.types import TypeDeserializer

    deserializer = TypeDeserializer()
    return {name: value["B"] if "B" in value else deserializer.deserialize(value) for name, value in item.items()}


def expression(values: Mapping[str, Any], **expressions: str) -> dict[str, Any]:
    """Return the parameters of a DynamoDB call for expressions that name attributes `#so` and values `:so`.

    The tables of names and values are derived from the expressions. Every attribute has an alias, so no name can
    collide with one of DynamoDB's reserved words.

    Args:
        values: Plain values by the name that the expressions use. A value that no expression uses is left out.
        expressions: The expressions by the name of the parameter, such as `ConditionExpression`.
    """
    text = " ".join(expressions.values())
    used = set(re.findall(r":(\w+)", text))
    parameters: dict[str, Any] = {
        **expressions,
        "ExpressionAttributeNames": {f"#{name}": name for name in re.findall(r"#(\w+)", text)},
    }
    if used:
        parameters["ExpressionAttributeValues"] = serialize({f":{name}": values[name] for name in used})
    return parameters
