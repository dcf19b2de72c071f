"""SQS queues: the queues `jobs` and `isolated`, the queue `webhooks`, and their dead-letter queues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel

from shared.aws.client import make_client, translate_errors
from shared.errors import Transient

_BATCH_LIMIT = 10  # messages of one request
_VISIBLE = "ApproximateNumberOfMessages"


@dataclass(frozen=True)
class ReceivedMessage:
    """A message as SQS returned it. Its body is JSON."""

    message_id: str
    body: str
    receipt_handle: str


class Queue:
    """One SQS queue."""

    def __init__(self, url: str) -> None:
        """Use the queue at `url`. The AWS client is built at first use."""
        self._url = url

    def send(self, message: BaseModel, *, client_id: str, delay_seconds: int = 0) -> None:
        """Send `message` in the message group of its client, so that no client's flood starves another (fair queues).

        Raises:
            Transient: If SQS did not confirm the message.
        """
        delay = {"DelaySeconds": delay_seconds} if delay_seconds else {}
        with translate_errors("Sending a message"):
            self._sqs.send_message(QueueUrl=self._url, MessageBody=_encode(message), MessageGroupId=client_id, **delay)

    def send_many(self, messages: Sequence[BaseModel], *, client_id: str) -> None:
        """Send `messages`, ten in each request.

        Raises:
            Transient: If SQS did not confirm every message.
        """
        for start in range(0, len(messages), _BATCH_LIMIT):
            entries = [
                {"Id": str(number), "MessageBody": _encode(message), "MessageGroupId": client_id}
                for number, message in enumerate(messages[start : start + _BATCH_LIMIT])
            ]
            with translate_errors("Sending messages"):
                answer = self._sqs.send_message_batch(QueueUrl=self._url, Entries=entries)
            if answer.get("Failed"):
                raise Transient(f"Sending messages: SQS refused {len(answer['Failed'])} of {len(entries)}")

    def receive(self, *, limit: int = _BATCH_LIMIT, wait_seconds: int = 0) -> list[ReceivedMessage]:
        """Receive up to `limit` messages, ten at most. They stay hidden for the queue's visibility time-out.

        If the queue is empty, wait up to `wait_seconds` for a message, three at most.

        Raises:
            Transient: If SQS is throttled or unreachable.
        """
        with translate_errors("Receiving messages"):
            answer = self._sqs.receive_message(
                QueueUrl=self._url, MaxNumberOfMessages=limit, WaitTimeSeconds=wait_seconds
            )
        return [
            ReceivedMessage(message["MessageId"], message["Body"], message["ReceiptHandle"])
            for message in answer.get("Messages", [])
        ]

    def delete(self, *messages: ReceivedMessage) -> None:
        """Delete received messages, ten at most.

        Raises:
            Transient: If SQS may deliver some of them again.
        """
        entries = [{"Id": str(number), "ReceiptHandle": one.receipt_handle} for number, one in enumerate(messages)]
        with translate_errors("Deleting messages"):
            answer = self._sqs.delete_message_batch(QueueUrl=self._url, Entries=entries)
        if answer.get("Failed"):
            raise Transient(f"Deleting messages: SQS refused {len(answer['Failed'])} of {len(entries)}")

    def change_visibility(self, receipt_handle: str, *, seconds: int) -> None:
        """Hide a received message for `seconds` from now, instead of the queue's visibility time-out.

        Raises:
            Transient: If the message stays hidden for the whole visibility time-out.
        """
        with translate_errors("Changing a message's visibility"):
            self._sqs.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=receipt_handle, VisibilityTimeout=seconds
            )

    def has_visible_messages(self) -> bool:
        """Return whether the queue seems to hold messages that nobody has received yet.

        Raises:
            Transient: If SQS is throttled or unreachable.
        """
        with translate_errors("Reading a queue's length"):
            answer = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=[_VISIBLE])
        return int(answer["Attributes"][_VISIBLE]) > 0

    @cached_property
    def _sqs(self) -> Any:
        return make_client("sqs")


def _encode(message: BaseModel) -> str:
    return message.model_dump_json(exclude_defaults=True)
