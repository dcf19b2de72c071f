"""`python -m functions.worker.poll`: the worker as a process of its own, for machines that poll the lanes.

A batch is handed to the Lambda handler in the form in which Lambda hands it over, and what that does not report as
failed is deleted: claims, leases and everything else are the same code. It can run beside Lambda, on the same lanes.
"""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Protocol

from functions.worker import handler
from shared.errors import Transient
from shared.log import logger
from shared.queues import Lane, Letter
from shared.settings import WorkerSettings

BATCH_LIMITS = {"solo": 1, "jobs": 10}  # as Lambda's mappings have them
WAIT_SECONDS = 2  # for a message, when there is none
PAUSE_SECONDS = 5  # after SQS could not be reached
BATCH_SECONDS = 900  # as Lambda's time-out has it


class Queue(Protocol):
    """A lane, for who receives from it."""

    def receive(self, *, limit: int, wait_seconds: int) -> list[Letter]: ...  # noqa: D102
    def delete(self, letter: Letter) -> None: ...  # noqa: D102
    def postpone(self, receipt_handle: str, *, seconds: int) -> None: ...  # noqa: D102


Handle = Callable[[dict[str, Any], Any], dict[str, Any]]


@dataclass
class Poller:
    """Polls `lanes`, by the names of their queues, until it is told to stop; one batch at a time.

    Where there is work, it waits nowhere: a wait at the other lane would come between any two batches. Without work it
    waits at the last lane, whose messages are then taken at once.
    """

    lanes: Mapping[str, tuple[Queue, int]]
    handle: Handle
    sleep: Callable[[float], None] = time.sleep
    is_stopping: bool = field(default=False, init=False)

    def stop(self) -> None:
        """Finish the batch at hand, then end: within a lease, if the batch is."""
        self.is_stopping = True

    def run(self) -> None:
        """Poll the lanes in turn."""
        *others, last = self.lanes
        wait_seconds = 0
        while not self.is_stopping:
            found = [self._poll(name, wait_seconds=0) for name in others]
            found.append(self._poll(last, wait_seconds=wait_seconds))
            wait_seconds = 0 if any(found) else WAIT_SECONDS

    def _poll(self, name: str, *, wait_seconds: int) -> bool:
        """Receive from a lane and do what came; whether anything did."""
        queue, limit = self.lanes[name]
        if self.is_stopping:
            return False
        try:
            letters = queue.receive(limit=limit, wait_seconds=wait_seconds)
        except Transient as error:
            logger.warning("A lane cannot be polled", lane=name, reason=str(error))
            self.sleep(PAUSE_SECONDS)
            return False
        if self.is_stopping:
            _give_back(queue, letters)
        elif letters:
            self._work(name, queue, letters)
        return bool(letters)

    def _work(self, name: str, queue: Queue, letters: Sequence[Letter]) -> None:
        answer = self.handle({"Records": [_record(name, letter) for letter in letters]}, _context())
        again = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        for letter in letters:
            if letter.item_id not in again:
                _delete(queue, letter)


def _delete(queue: Queue, letter: Letter) -> None:
    try:
        queue.delete(letter)
    except Transient as error:
        # It comes again, and finds nothing to do.
        logger.warning("A message could not be deleted", item=letter.item_id, reason=str(error))


def _give_back(queue: Queue, letters: Sequence[Letter]) -> None:
    """Show letters to others at once: else they stay hidden for the queue's whole visibility time-out."""
    for letter in letters:
        try:
            queue.postpone(letter.receipt_handle, seconds=0)
        except Transient as error:
            logger.warning("A message stays hidden; the janitor sees to it", item=letter.item_id, reason=str(error))


def _record(name: str, letter: Letter) -> dict[str, Any]:
    """As an event source mapping has it, as far as the handler looks."""
    return {
        "messageId": letter.item_id,
        "receiptHandle": letter.receipt_handle,
        "body": letter.body,
        "eventSourceARN": f"arn:aws:sqs:::{name}",
    }


def _bounded(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """The handler's answer; a batch that hangs ends the process, whatever it hangs in, and who runs it begins anew."""
    signal.alarm(BATCH_SECONDS)  # nobody handles the signal
    try:
        return handler.handler(event, context)
    finally:
        signal.alarm(0)


def _context() -> Any:
    return SimpleNamespace(aws_request_id=str(uuid.uuid4()))


def main() -> None:
    """Load the model, then poll until SIGTERM or SIGINT."""
    settings = WorkerSettings.from_environment()
    urls = {"solo": settings.solo_queue_url, "jobs": settings.jobs_queue_url}
    lanes = {url.rpartition("/")[2]: (Lane(url), BATCH_LIMITS[name]) for name, url in urls.items()}
    poller = Poller(lanes, _bounded)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: poller.stop())
    load_ms = handler.prepare()
    logger.info("Polling", lanes=list(lanes), load_ms=load_ms)
    poller.run()
    logger.info("Drained")


if __name__ == "__main__":
    main()
