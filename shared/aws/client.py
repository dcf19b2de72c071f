"""AWS clients with suitable time-outs, and the translation of their errors.

boto3 is imported inside the functions: a Lambda function that makes no AWS call does not pay for the import.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

from shared.aws.items import deserialize
from shared.errors import Transient

# S3 answers HEAD with a plain 403 if the caller may not list the bucket.
_MISSING = {"NoSuchKey", "404", "403", "InvalidRange", "PreconditionFailed"}

_SESSION_LOCK = Lock()


class ConditionFailed(Exception):
    """A conditional write whose condition does not hold. `item` is the item that DynamoDB found, if it returned one."""

    def __init__(self, item: dict[str, Any] | None) -> None:
        """Keep the item as plain values. It is None if there is no item or the call did not ask for it."""
        super().__init__("The condition does not hold")
        self.item = item


class Contended(Transient):
    """A transaction that conflicted with another one. The same call may be repeated at once."""


class Missing(Exception):
    """An S3 object that does not exist, is shorter than the requested range, or has another ETag."""


def make_client(service: str, *, read_timeout: float = 5, attempts: int = 3, connections: int = 16) -> Any:
    """Build a thread-safe low-level client of `service`.

    The client tries each call at most `attempts` times and waits at most `read_timeout` seconds for each answer.
    """
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=min(2, read_timeout),
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=connections,
        # S3 objects encrypted with KMS require version 4. Presigned URLs must not require the SDK's own checksum.
        signature_version="v4",
        request_checksum_calculation="when_required",
        # Presigned URLs must name the regional host: the global one redirects or refuses.
        s3={"addressing_style": "virtual"},
    )
    with _SESSION_LOCK:  # boto3's default session is not thread-safe
        return boto3.client(service, config=config)  # type: ignore[call-overload]


@contextmanager
def translate_errors(action: str) -> Iterator[None]:
    """Translate the errors that botocore raises inside the block.

    Args:
        action: Description of the call for the error message, such as "Reading the client".

    Raises:
        ConditionFailed: If a DynamoDB condition does not hold.
        Missing: If an S3 object does not exist.
        Contended: If another transaction is in progress on the same item.
        Transient: For every other error.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "ConditionalCheckFailedException":
            raise _condition_failed(error.response) from None
        if code == "TransactionCanceledException":
            raise _cancellation(action, error.response.get("CancellationReasons", [])) from error
        if code in _MISSING:
            raise Missing(action) from None
        raise Transient(f"{action}: {error}") from error
    except BotoCoreError as error:
        raise Transient(f"{action}: {error}") from error


def _condition_failed(response: Mapping[str, Any]) -> ConditionFailed:
    item = response.get("Item")
    return ConditionFailed(deserialize(item) if item else None)


def _cancellation(action: str, reasons: Sequence[Mapping[str, Any]]) -> Exception:
    """Return the error for a canceled transaction. `reasons` has one entry for each item of the transaction."""
    for reason in reasons:
        if reason.get("Code") == "ConditionalCheckFailed":
            return _condition_failed(reason)
    codes = {str(reason.get("Code")) for reason in reasons} - {"None"}
    kind = Contended if codes == {"TransactionConflict"} else Transient
    return kind(f"{action}: the transaction was canceled: {', '.join(sorted(codes))}")
