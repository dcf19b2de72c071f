"""The lanes that feed the worker, and the queue of webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from shared import aws
from shared.errors import Transient
from shared.models import Message, WebhookMessage

_BATCH_LIMIT = 10  # messages of one request
_VISIBLE = "ApproximateNumberOfMessages"


@dataclass(frozen=True)
class Letter:
    """A message as it was received."""

    item_id: str
    body: str
    receipt_handle: str


class _Queue:
    """An SQS queue, for who receives from it."""

    def __init__(self, url: str) -> None:
        """Of the queue at `url`; the AWS client is built at first use."""
        self._url = url

    def receive(self, *, limit: int = _BATCH_LIMIT, wait_seconds: int = 0) -> list[Letter]:
        """At most `limit` letters, ten at most, hidden from others for the queue's visibility time-out.

        With none there it waits for one, at most `wait_seconds`, three at most.

        Raises:
            Transient: when SQS is busy or away.
        """
        with aws.translated("Receiving messages"):
            answer = self._sqs.receive_message(
                QueueUrl=self._url, MaxNumberOfMessages=limit, WaitTimeSeconds=wait_seconds
            )
        return [
            Letter(message["MessageId"], message["Body"], message["ReceiptHandle"])
            for message in answer.get("Messages", [])
        ]

    def delete(self, *letters: Letter) -> None:
        """Be done with `letters`, ten at most.

        Raises:
            Transient: when some may come again.
        """
        entries = [{"Id": str(number), "ReceiptHandle": letter.receipt_handle} for number, letter in enumerate(letters)]
        with aws.translated("Deleting messages"):
            answer = self._sqs.delete_message_batch(QueueUrl=self._url, Entries=entries)
        if answer.get("Failed"):
            raise Transient(f"Deleting messages: {len(answer['Failed'])} of {len(entries)} were refused")

    @cached_property
    def _sqs(self) -> Any:
        return aws.client("sqs")


class Lane(_Queue):
    """An SQS queue of messages about jobs."""

    def send(self, message: Message | WebhookMessage, *, client_id: str, delay_seconds: int = 0) -> None:
        """Queue `message`, in its client's own group, so that no client's flood starves another (fair queues).

        Raises:
            Transient: when it is not known to be queued.
        """
        with aws.translated("Queueing a message"):
            self._sqs.send_message(
                QueueUrl=self._url,
                MessageBody=_body(message),
                MessageGroupId=client_id,
                **({"DelaySeconds": delay_seconds} if delay_seconds else {}),
            )

    def send_all(self, messages: Sequence[Message], *, client_id: str) -> None:
        """Queue `messages`, ten to a request.

        Raises:
            Transient: when not all of them are known to be queued.
        """
        for start in range(0, len(messages), _BATCH_LIMIT):
            entries = [
                {"Id": str(number), "MessageBody": _body(message), "MessageGroupId": client_id}
                for number, message in enumerate(messages[start : start + _BATCH_LIMIT])
            ]
            with aws.translated("Queueing messages"):
                answer = self._sqs.send_message_batch(QueueUrl=self._url, Entries=entries)
            if answer.get("Failed"):
                raise Transient(f"Queueing messages: {len(answer['Failed'])} of {len(entries)} were refused")

    def is_waiting(self) -> bool:
        """Whether the lane seems to hold messages that nobody has received yet.

        Raises:
            Transient: when SQS is busy or away.
        """
        with aws.translated("Asking for a lane's length"):
            answer = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=[_VISIBLE])
        return int(answer["Attributes"][_VISIBLE]) > 0

    def postpone(self, receipt_handle: str, *, seconds: int) -> None:
        """Hide a received message for `seconds` from now, instead of the queue's whole visibility time-out.

        Raises:
            Transient: when it stays hidden for longer.
        """
        with aws.translated("Postponing a message"):
            self._sqs.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=receipt_handle, VisibilityTimeout=seconds
            )


class DeadLetterQueue(_Queue):
    """The queue of a lane's dead letters: messages that the lane gave up."""


def _body(message: Message | WebhookMessage) -> str:
    return message.model_dump_json(exclude_defaults=True)
