"""The lanes that feed the worker."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from shared import aws
from shared.models import Message


class Lane:
    """An SQS queue of messages about jobs."""

    def __init__(self, url: str) -> None:
        """Of the queue at `url`; the AWS client is built at first use."""
        self._url = url

    def send(self, message: Message, *, client_id: str, delay_seconds: int = 0) -> None:
        """Queue `message`, in its client's own group, so that no client's flood starves another (fair queues).

        Raises:
            Transient: when it is not known to be queued.
        """
        with aws.translated("Queueing a message"):
            self._sqs.send_message(
                QueueUrl=self._url,
                MessageBody=message.model_dump_json(exclude_defaults=True),
                MessageGroupId=client_id,
                **({"DelaySeconds": delay_seconds} if delay_seconds else {}),
            )

    def postpone(self, receipt_handle: str, *, seconds: int) -> None:
        """Hide a received message for `seconds` from now, instead of the queue's whole visibility time-out.

        Raises:
            Transient: when it stays hidden for longer.
        """
        with aws.translated("Postponing a message"):
            self._sqs.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=receipt_handle, VisibilityTimeout=seconds
            )

    @cached_property
    def _sqs(self) -> Any:
        return aws.client("sqs")
