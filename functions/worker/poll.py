"""The worker as a process of the EC2 fleet: `python -m functions.worker.poll` polls the queues itself.

It passes each batch to the application in the form in which Lambda does, and deletes the messages that the answer does
not report. Claims and leases work as on Lambda, so it can run beside Lambda on the same queues.
"""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Protocol

from functions.worker.app import build, name_queue
from shared.aws.queue import Queue, ReceivedMessage
from shared.errors import Transient
from shared.log import logger
from shared.settings import WorkerSettings

ISOLATED_BATCH_LIMIT = 1  # the same limits as Lambda's event source mappings
JOBS_BATCH_LIMIT = 10
WAIT_SECONDS = 2  # wait for a message if all queues are empty
PAUSE_SECONDS = 5  # wait after SQS was unreachable
BATCH_SECONDS = 900  # the same limit as Lambda's time-out


class MessageSource(Protocol):
    """A queue, for a receiver, as `shared.aws.queue.Queue` implements it."""

    def receive(self, *, limit: int, wait_seconds: int) -> list[ReceivedMessage]:
        """Receive up to `limit` messages."""

    def delete(self, *messages: ReceivedMessage) -> None:
        """Delete received messages."""

    def change_visibility(self, receipt_handle: str, *, seconds: int) -> None:
        """Hide a received message for `seconds` from now."""


Handle = Callable[[dict[str, Any], Any], dict[str, Any]]


@dataclass
class Poller:
    """A loop that polls queues, one batch at a time, until it is stopped.

    `queues` holds each queue and the limit of its batches, by the queue's name. `handle` processes an event.
    """

    queues: Mapping[str, tuple[MessageSource, int]]
    handle: Handle
    sleep: Callable[[float], None] = time.sleep
    is_stopping: bool = field(default=False, init=False)

    def stop(self) -> None:
        """Let the current batch end, then return from `run`."""
        self.is_stopping = True

    def run(self) -> None:
        """Poll the queues in turn. If all are empty, wait at the last one."""
        while not self.is_stopping:
            found = False
            for number, name in enumerate(self.queues, 1):
                waits = number == len(self.queues) and not found
                found |= self._poll(name, wait_seconds=WAIT_SECONDS if waits else 0)

    def _poll(self, name: str, *, wait_seconds: int) -> bool:
        """Process a batch of the queue. Return whether the queue had any messages."""
        if self.is_stopping:
            return False
        queue, limit = self.queues[name]
        try:
            messages = queue.receive(limit=limit, wait_seconds=wait_seconds)
        except Transient as error:
            logger.warning("Cannot poll a queue", queue=name, reason=str(error))
            self.sleep(PAUSE_SECONDS)
            return False
        if self.is_stopping:
            _return(queue, messages)
        elif messages:
            self._process(name, queue, messages)
        return bool(messages)

    def _process(self, name: str, queue: MessageSource, messages: Sequence[ReceivedMessage]) -> None:
        answer = self.handle({"Records": [_to_record(name, message) for message in messages]}, _make_context())
        retried = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        done = [message for message in messages if message.message_id not in retried]
        if not done:
            return
        try:
            queue.delete(*done)
        except Transient as error:
            # They are delivered again. Their jobs have ended, so nothing happens.
            ids = [message.message_id for message in done]
            logger.warning("Cannot delete messages", message_ids=ids, reason=str(error))


def _return(queue: MessageSource, messages: Sequence[ReceivedMessage]) -> None:
    """Make messages visible at once. Otherwise they stay hidden for the queue's visibility time-out."""
    for message in messages:
        try:
            queue.change_visibility(message.receipt_handle, seconds=0)
        except Transient as error:
            message_id, reason = message.message_id, str(error)
            logger.warning("A message stays hidden; the janitor sends another", message_id=message_id, reason=reason)


def _to_record(name: str, message: ReceivedMessage) -> dict[str, Any]:
    """Return the parts of an event source mapping's record that the application reads."""
    return {
        "messageId": message.message_id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "eventSourceARN": f"arn:aws:sqs:::{name}",
    }


def limit_time(handle: Handle) -> Handle:
    """Return `handle` with a time limit: a batch that hangs ends the process, and systemd starts another."""

    def handle_in_time(event: dict[str, Any], context: Any) -> dict[str, Any]:
        signal.alarm(BATCH_SECONDS)  # no handler is installed, so the signal ends the process
        try:
            return handle(event, context)
        finally:
            signal.alarm(0)

    return handle_in_time


def _make_context() -> Any:
    return SimpleNamespace(aws_request_id=str(uuid.uuid4()))


def main() -> None:
    """Load the model, then poll until SIGTERM or SIGINT."""
    settings = WorkerSettings.from_environment()
    app = build(settings)
    limits = {settings.isolated_queue_url: ISOLATED_BATCH_LIMIT, settings.jobs_queue_url: JOBS_BATCH_LIMIT}
    queues = {name_queue(url): (Queue(url), limit) for url, limit in limits.items()}
    poller = Poller(queues, limit_time(app.handle))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: poller.stop())
    load_ms = app.prepare()
    logger.info("Polling", queues=list(queues), load_ms=load_ms)
    poller.run()
    logger.info("Drained")


if __name__ == "__main__":
    main()
