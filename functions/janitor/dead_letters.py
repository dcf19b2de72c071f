"""Dead letters: messages that SQS moved to a dead-letter queue after too many receives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from pydantic import ValidationError

from functions.janitor.outcomes import DeadLetterOutcome
from shared.aws.queue import Queue, ReceivedMessage
from shared.errors import Transient
from shared.jobs.message import JobMessage
from shared.jobs.store import JobStore
from shared.log import logger
from shared.webhooks.event import WebhookMessage

BATCHES = 10  # batches of ten that one tick takes from each queue
_LOGGED_CHARACTERS = 1_000

_Handle = Callable[[Queue, ReceivedMessage], DeadLetterOutcome]


@dataclass(frozen=True, kw_only=True)
class DeadLetters:
    """The dead-letter queues, and the queue `isolated` for messages that are still needed.

    `job_letters` are the dead-letter queues of `jobs` and `isolated`. `webhook_letters` is the one of `webhooks`.
    `now` returns the current time (ms).
    """

    jobs: JobStore
    isolated: Queue
    job_letters: Sequence[Queue]
    webhook_letters: Queue
    now: Callable[[], int]

    def drain(self, has_time: Callable[[], bool]) -> Counter[DeadLetterOutcome]:
        """Send the messages of open jobs again, and delete the others. Malformed messages stay.

        `has_time` returns whether another batch may begin. A queue that cannot be read is left to the next tick.
        """
        job_outcomes = (_drain(queue, self._handle_job_letter, has_time) for queue in self.job_letters)
        return Counter(chain(*job_outcomes, _drain(self.webhook_letters, _handle_webhook_letter, has_time)))

    def _handle_job_letter(self, queue: Queue, letter: ReceivedMessage) -> DeadLetterOutcome:
        try:
            message = JobMessage.model_validate_json(letter.body)
        except ValidationError:
            return _keep(letter)
        job = self.jobs.get(message.job, now=self.now())
        is_needed = job is not None and job.run == message.run and not job.is_terminal
        if job is not None and is_needed:
            self.isolated.send(message, client_id=job.client_id)
        queue.delete(letter)
        return "requeued" if is_needed else "dropped"


def _drain(queue: Queue, handle: _Handle, has_time: Callable[[], bool]) -> Iterator[DeadLetterOutcome]:
    try:
        for _ in range(BATCHES):
            letters = queue.receive() if has_time() else []
            for letter in letters:
                yield handle(queue, letter)
            if not letters:
                return
    except Transient as error:
        logger.warning("Cannot drain a dead-letter queue; the next tick tries again", reason=str(error))


def _handle_webhook_letter(queue: Queue, letter: ReceivedMessage) -> DeadLetterOutcome:
    """Drop the message: the job or the delivery that it is about is scheduled for a check."""
    try:
        WebhookMessage.model_validate_json(letter.body)
    except ValidationError:
        return _keep(letter)
    queue.delete(letter)
    return "dropped"


def _keep(letter: ReceivedMessage) -> DeadLetterOutcome:
    body = letter.body[:_LOGGED_CHARACTERS]
    logger.error("A dead letter is malformed and stays in its queue", message_id=letter.message_id, body=body)
    return "unreadable"
