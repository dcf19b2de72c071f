"""What each due item needs. The table is the truth; all that is done about it is one conditional write and a message.

The write comes first: of two ticks at once one wins, and a tick that dies in between leaves an item that is due again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from pydantic import ValidationError

from shared import announcements
from shared.errors import AttemptsExhausted, DeadlineExceeded, InputMissing, JobError, Transient
from shared.log import logger
from shared.models import Delivery, DueItem, Job, Message, Split, Status, WebhookMessage
from shared.queues import Letter
from shared.store import ATTEMPTS_LIMIT, DUE_SLOTS, MERGE_ATTEMPTS_LIMIT

LOOK_AGAIN_MS = 60_000
PAGE = 500  # due items of one slot read at a time
DEAD_LETTER_ROUNDS = 10  # of ten, per queue and tick
THREADS = 16


class Jobs(Protocol):
    """Where jobs are kept; see `shared.store.JobStore`."""

    def due(self, slot: int, *, now: int, limit: int) -> list[DueItem]: ...  # noqa: D102
    def jobs_of(self, items: Sequence[DueItem]) -> dict[str, Job]: ...  # noqa: D102
    def get(self, job_id: str, *, now: int) -> Job | None: ...  # noqa: D102
    def progress(self, job: Job) -> Split | None: ...  # noqa: D102
    def look_again(self, job: Job, *, due_at: int | None) -> bool: ...  # noqa: D102
    def look_again_at_split(self, job: Job, split: Split, *, due_at: int, again: bool) -> bool: ...  # noqa: D102
    def end(self, job: Job, status: Status, *, error: JobError | None = None, now: int) -> bool: ...  # noqa: D102


class Lane(Protocol):
    """A queue that feeds the worker."""

    def send(self, message: Message, *, client_id: str) -> None: ...  # noqa: D102
    def send_all(self, messages: Sequence[Message], *, client_id: str) -> None: ...  # noqa: D102
    def is_waiting(self) -> bool: ...  # noqa: D102


class Deliveries(Protocol):
    """Where deliveries are kept; see `shared.deliveries.DeliveryStore`."""

    def due(self, items: Sequence[DueItem]) -> list[Delivery]: ...  # noqa: D102
    def look_again(self, delivery: Delivery, *, due_at: int) -> bool: ...  # noqa: D102


class DeadLetters(Protocol):
    """The queue of the messages that a lane gave up."""

    def receive(self) -> list[Letter]: ...  # noqa: D102
    def delete(self, letter: Letter) -> None: ...  # noqa: D102


@dataclass(frozen=True)
class Janitor:
    """Looks at what is due; `now` gives milliseconds, `has_time` says whether this tick may begin something more."""

    jobs: Jobs
    lanes: Mapping[str, Lane]
    dead_letters: Sequence[DeadLetters]
    now: Callable[[], int]
    deliveries: Deliveries
    webhooks: announcements.Lane
    webhooks_dead_letters: DeadLetters
    has_time: Callable[[], bool] = lambda: True

    def tick(self) -> Counter[str]:
        """Look at all that is due, then at the dead letters; how often each thing was done."""
        tick = _Tick(self)
        with ThreadPoolExecutor(max_workers=THREADS) as threads:
            for slot in range(DUE_SLOTS):
                try:
                    tick.look_at_slot(slot, threads)
                except Transient as error:
                    logger.warning("A slot could not be read; the next tick does", slot=slot, reason=str(error))
        for letters in self.dead_letters:
            tick.drain(letters, tick.settle)
        tick.drain(self.webhooks_dead_letters, tick.settle_webhook)
        return tick.done


class _Tick:
    """One tick. What the lanes show is asked at its beginning: what the tick itself sends is not a queue of work."""

    def __init__(self, janitor: Janitor) -> None:
        self._janitor = janitor
        self._jobs = janitor.jobs
        self._solo = janitor.lanes["solo"]
        self._is_waiting = {name: lane.is_waiting() for name, lane in janitor.lanes.items()}
        self.done: Counter[str] = Counter()

    def look_at_slot(self, slot: int, threads: ThreadPoolExecutor) -> None:
        while self._janitor.has_time():
            items = self._jobs.due(slot, now=self._janitor.now(), limit=PAGE)
            due = [*self._due_jobs(items), *self._due_deliveries(items)]
            outcomes = Counter(threads.map(_look, due))
            self.done += outcomes
            if len(items) < PAGE or not due or outcomes.keys() <= {"changed meanwhile", "not now"}:
                return

    def _due_jobs(self, items: Sequence[DueItem]) -> list[Callable[[], str]]:
        of_jobs = [item for item in items if item.part == "job"]
        jobs = self._jobs.jobs_of(of_jobs)
        # The index may lag: what has moved on since is not due.
        due = [jobs[item.id] for item in of_jobs if item.id in jobs and jobs[item.id].due_at == item.due_at]
        return [partial(self._look_at, job) for job in due]

    def _due_deliveries(self, items: Sequence[DueItem]) -> list[Callable[[], str]]:
        return [partial(self._look_at_delivery, delivery) for delivery in self._janitor.deliveries.due(items)]

    def _look_at(self, job: Job) -> str:
        now = self._janitor.now()
        if job.is_terminal:
            return self._look_at_ended(job)
        if now >= job.deadline:
            return self._end(job, "expired", DeadlineExceeded("The job was not done by its deadline"))
        if job.lease is not None and job.lease >= now:
            return _if(self._jobs.look_again(job, due_at=job.lease + 1), "at work")
        if job.shards is not None:
            return self._look_at_split(job)
        if job.attempt >= ATTEMPTS_LIMIT:
            return self._exhausted(job)
        if job.status == "queued":
            return self._look_at_queued(job)
        waited = now - (job.lease or now)
        return self._send_again(job, waited, lane="solo")

    def _look_at_ended(self, job: Job) -> str:
        if not job.is_unannounced:
            return _if(self._jobs.look_again(job, due_at=None), "done with")
        waited = self._janitor.now() - (job.completed_at or 0)
        if not self._jobs.look_again(job, due_at=self._later(waited)):
            return "changed meanwhile"
        announcements.announce(self._janitor.webhooks, job, job.status)
        return "announced"

    def _look_at_delivery(self, delivery: Delivery) -> str:
        """Its next attempt is wanted, or the last one died."""
        waited = self._janitor.now() - (delivery.next_at or 0)
        if not self._janitor.deliveries.look_again(delivery, due_at=self._later(waited)):
            return "changed meanwhile"
        self._janitor.webhooks.send(delivery.message, client_id=delivery.client)
        return "delivery sent"

    def _look_at_queued(self, job: Job) -> str:
        waited = self._janitor.now() - job.queued_at
        if self._is_waiting[job.lane]:
            return _if(self._jobs.look_again(job, due_at=self._later(waited)), "waiting")
        return self._send_again(job, waited, lane=job.lane)

    def _look_at_split(self, job: Job) -> str:
        split = self._jobs.progress(job)
        if split is None:
            return self._end(job, "failed", InputMissing("The shards of this job are gone"))
        if split.is_complete:
            is_spent = job.attempt >= MERGE_ATTEMPTS_LIMIT
            return self._exhausted(job) if is_spent else self._send_again(job, 0, lane="solo")
        if self._is_waiting["solo"]:
            return _if(self._again(job, split, again=False), "waiting")
        went_on = len(split.done) > split.seen
        if not went_on and job.attempt >= ATTEMPTS_LIMIT:
            return self._exhausted(job)
        # Nobody tells a shard at work from one whose worker died: run twice, it costs time only.
        if not self._again(job, split, again=not went_on):
            return "changed meanwhile"
        missing = [Message(job=job.id, run=job.run, shard=shard) for shard in split.missing]
        self._solo.send_all(missing, client_id=job.client_id)
        logger.warning("Shards sent again", job=job.id, run=job.run, shards=len(missing))
        return "sent again"

    def _again(self, job: Job, split: Split, *, again: bool) -> bool:
        return self._jobs.look_again_at_split(job, split, due_at=self._later(0), again=again)

    def _send_again(self, job: Job, waited: int, *, lane: str) -> str:
        if not self._jobs.look_again(job, due_at=self._later(waited)):
            return "changed meanwhile"
        self._janitor.lanes[lane].send(Message(job=job.id, run=job.run), client_id=job.client_id)
        logger.warning("Job sent again", job=job.id, run=job.run, attempt=job.attempt, lane=lane)
        return "sent again"

    def _later(self, waited: int) -> int:
        """When to look again: after as long as was waited already, so that a long queue costs little."""
        return self._janitor.now() + max(waited, LOOK_AGAIN_MS)

    def _exhausted(self, job: Job) -> str:
        return self._end(job, "failed", AttemptsExhausted(f"{job.attempt} attempts ended without a word"))

    def _end(self, job: Job, status: Status, error: JobError) -> str:
        ended = self._jobs.end(job, status, error=error, now=self._janitor.now())
        if ended:
            logger.warning("Job ended", job=job.id, run=job.run, status=status, reason=str(error))
            announcements.announce(self._janitor.webhooks, job, status)
        return _if(ended, status)

    def drain(self, letters: DeadLetters, settle: Callable[[DeadLetters, Letter], str]) -> None:
        """Queue again what is still open, drop what is done; what cannot be read stays, and an alarm sees it."""
        try:
            for _ in range(DEAD_LETTER_ROUNDS):
                received = letters.receive() if self._janitor.has_time() else []
                self.done += Counter(settle(letters, letter) for letter in received)
                if not received:
                    return
        except Transient as error:
            logger.warning("The dead letters could not be drained; the next tick does", reason=str(error))

    def settle(self, letters: DeadLetters, letter: Letter) -> str:
        """A letter of a lane that feeds the worker."""
        try:
            message = Message.model_validate_json(letter.body)
        except ValidationError:
            return _unreadable(letter)
        job = self._jobs.get(message.job, now=self._janitor.now())
        is_open = job is not None and job.run == message.run and not job.is_terminal
        if job is not None and is_open:
            self._solo.send(message, client_id=job.client_id)
        letters.delete(letter)
        return "revived" if is_open else "dropped"

    def settle_webhook(self, letters: DeadLetters, letter: Letter) -> str:
        """A letter of the queue `webhooks`: what it was about is due by itself, until it is done with."""
        try:
            WebhookMessage.model_validate_json(letter.body)
        except ValidationError:
            return _unreadable(letter)
        letters.delete(letter)
        return "dropped"


def _look(look: Callable[[], str]) -> str:
    try:
        return look()
    except Transient as error:
        logger.warning("Something due could not be looked at; the next tick does", reason=str(error))
        return "not now"


def _unreadable(letter: Letter) -> str:
    logger.error("A dead letter cannot be read", item=letter.item_id, body=letter.body[:1000])
    return "unreadable"


def _if(changed: bool, done: str) -> str:
    return done if changed else "changed meanwhile"
