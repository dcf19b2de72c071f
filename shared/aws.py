"""The one door to AWS: clients built at first use, time-outs that fit, failures translated.

The only module that imports boto3, and it does so inside its functions: a handler that needs no AWS call
does not pay for the import.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

from shared.errors import Transient

# 403 without a word is S3's answer to HEAD when the caller may not list the bucket.
_MISSING = {"NoSuchKey", "404", "403", "InvalidRange", "PreconditionFailed"}

_BUILDING = Lock()


class ConditionFailed(Exception):
    """A conditional write found something else; `item` is what it found, when the call asked for that."""

    def __init__(self, item: dict[str, Any] | None) -> None:
        """Keep the item as plain values, None when there is none or it was not asked for."""
        super().__init__("The condition does not hold")
        self.item = item


class Contended(Transient):
    """Another transaction was about the same item; the same call can be repeated at once."""


class Missing(Exception):
    """There is no such object, it ends before the range that was asked for, or it is another one."""


def client(service: str, *, read_timeout: float = 5, attempts: int = 3, connections: int = 16) -> Any:
    """A low-level client of `service`: thread-safe, at most `attempts` tries of `read_timeout` seconds."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=min(2, read_timeout),
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=connections,
        # What S3 objects encrypted with KMS need; and no checksum of the SDK's own in URLs that others use.
        signature_version="v4",
        request_checksum_calculation="when_required",
        # The bucket's regional host: the global one, which URLs would name else, redirects or refuses.
        s3={"addressing_style": "virtual"},
    )
    with _BUILDING:  # boto3's default session is not for several threads at once
        return boto3.client(service, config=config)  # type: ignore[call-overload]


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Translate botocore's errors inside the block.

    Raises:
        ConditionFailed: when a DynamoDB condition does not hold.
        Missing: when an S3 object does not exist.
        Contended: when another transaction got in the way.
        Transient: for everything else; `action` says in its message what failed.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "ConditionalCheckFailedException":
            found: Any = error.response.get("Item")
            raise ConditionFailed(from_item(found) if found else None) from None
        if code == "TransactionCanceledException":
            raise _cancellation(action, error.response.get("CancellationReasons", [])) from error
        if code in _MISSING:
            raise Missing(action) from None
        raise Transient(f"{action}: {error}") from error
    except BotoCoreError as error:
        raise Transient(f"{action}: {error}") from error


def _cancellation(action: str, reasons: Sequence[Mapping[str, Any]]) -> Exception:
    """Why a transaction was canceled; `reasons` has one for each of its items."""
    for reason in reasons:
        if reason.get("Code") == "ConditionalCheckFailed":
            found: Any = reason.get("Item")
            return ConditionFailed(from_item(found) if found else None)
    codes = {str(reason.get("Code")) for reason in reasons} - {"None"}
    kind = Contended if codes == {"TransactionConflict"} else Transient
    return kind(f"{action}: the transaction was canceled: {', '.join(sorted(codes))}")


def to_item(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values as a DynamoDB item; None means that there is no such attribute."""
    from boto3.dynamodb.types import TypeSerializer

    serialize = TypeSerializer().serialize
    return {name: serialize(value) for name, value in values.items() if value is not None}


def from_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """A DynamoDB item as plain values; binary ones as bytes."""
    from boto3.dynamodb.types import TypeDeserializer

    deserialize = TypeDeserializer().deserialize
    return {name: value["B"] if "B" in value else deserialize(value) for name, value in item.items()}


def expression(values: Mapping[str, Any], **expressions: str) -> dict[str, Any]:
    """The parameters of a DynamoDB call whose expressions name attributes `#so` and values `:so`.

    Spares every caller the tables of names and values, and never collides with a reserved word.
    """
    text = " ".join(expressions.values())
    used = set(re.findall(r":(\w+)", text))
    parameters: dict[str, Any] = {
        **expressions,
        "ExpressionAttributeNames": {f"#{name}": name for name in re.findall(r"#(\w+)", text)},
    }
    if used:
        parameters["ExpressionAttributeValues"] = to_item({f":{name}": values[name] for name in used})
    return parameters
