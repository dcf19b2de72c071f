"""The check of one job: it ends the job, sends its message again, or only sets the time of the next check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from functions.janitor.outcomes import CheckOutcome
from shared.aws.queue import Queue
from shared.errors import AttemptsExhausted, DeadlineExceeded, InputMissing, JobError
from shared.jobs.checks import JobChecks
from shared.jobs.job import Job, QueueName, Split
from shared.jobs.message import JobMessage
from shared.jobs.shards import ShardStore
from shared.jobs.store import ATTEMPTS_LIMIT, MERGE_ATTEMPTS_LIMIT
from shared.log import logger
from shared.webhooks.event import notify

MIN_INTERVAL_MS = 60_000


def compute_next_check(now: int, waited_ms: int) -> int:
    """Return the time of the next check (ms) of an item that has waited for `waited_ms`.

    The interval is as long as the wait so far, but at least a minute. So a long backlog costs few checks.
    """
    return now + max(waited_ms, MIN_INTERVAL_MS)


@dataclass(frozen=True)
class JobChecker:
    """The checks of jobs during one tick.

    `backlogged_queues` are those that had visible messages when the tick began. `now` returns the current time (ms).
    """

    checks: JobChecks
    shards: ShardStore
    queues: Mapping[QueueName, Queue]
    webhooks: Queue
    backlogged_queues: frozenset[QueueName]
    now: Callable[[], int]

    def check(self, job: Job) -> CheckOutcome:
        """Check the job: end it, send its message again, or only reschedule its check. Return the outcome.

        Raises:
            Transient: If a service is throttled or unreachable. The job stays scheduled for a check.
        """
        now = self.now()
        if job.is_terminal:
            return self._check_ended(job)
        if now >= job.deadline:
            return self._end(job, "expired", DeadlineExceeded("The job was not done by its deadline"))
        if job.lease_expires_at is not None and job.lease_expires_at >= now:
            return _outcome(self.checks.reschedule(job, next_check_at=job.lease_expires_at + 1), "at_work")
        if job.shards is not None:
            return self._check_split(job)
        if job.attempt >= ATTEMPTS_LIMIT:
            return self._exhaust(job)
        if job.status == "queued":
            return self._check_queued(job)
        return self._resend(job, now - (job.lease_expires_at or now), "isolated")

    def _check_ended(self, job: Job) -> CheckOutcome:
        if not job.awaits_delivery:
            return _outcome(self.checks.reschedule(job, next_check_at=None), "unscheduled")
        if not self._reschedule(job, self.now() - (job.completed_at or 0)):
            return "changed_meanwhile"
        notify(self.webhooks, job, job.status)
        return "notified"

    def _check_queued(self, job: Job) -> CheckOutcome:
        waited_ms = self.now() - job.queued_at
        if job.queue in self.backlogged_queues:  # the message is probably among the waiting ones
            return _outcome(self._reschedule(job, waited_ms), "waiting")
        return self._resend(job, waited_ms, job.queue)

    def _check_split(self, job: Job) -> CheckOutcome:
        split = self.shards.get_split(job)
        if split is None:
            return self._end(job, "failed", InputMissing("The shards of this job are gone"))
        if split.is_complete:
            is_exhausted = job.attempt >= MERGE_ATTEMPTS_LIMIT
            return self._exhaust(job) if is_exhausted else self._resend(job, 0, "isolated")
        if "isolated" in self.backlogged_queues:
            return _outcome(self._reschedule_split(job, split, counts_as_attempt=False), "waiting")
        has_progress = len(split.done) > split.done_at_last_check
        if not has_progress and job.attempt >= ATTEMPTS_LIMIT:
            return self._exhaust(job)
        return self._resend_shards(job, split, counts_as_attempt=not has_progress)

    def _resend(self, job: Job, waited_ms: int, queue: QueueName) -> CheckOutcome:
        if not self._reschedule(job, waited_ms):
            return "changed_meanwhile"
        self.queues[queue].send(JobMessage(job=job.id, run=job.run), client_id=job.client_id)
        logger.warning("Job's message sent again", job=job.id, run=job.run, attempt=job.attempt, queue=queue)
        return "resent"

    def _resend_shards(self, job: Job, split: Split, *, counts_as_attempt: bool) -> CheckOutcome:
        # A shard has no lease, so the janitor cannot see whether a worker is at work on it. Running a shard twice only
        # costs time.
        if not self._reschedule_split(job, split, counts_as_attempt=counts_as_attempt):
            return "changed_meanwhile"
        missing = [JobMessage(job=job.id, run=job.run, shard=shard) for shard in split.missing]
        self.queues["isolated"].send_many(missing, client_id=job.client_id)
        logger.warning("Messages of missing shards sent again", job=job.id, run=job.run, shards=len(missing))
        return "resent"

    def _reschedule(self, job: Job, waited_ms: int) -> bool:
        return self.checks.reschedule(job, next_check_at=compute_next_check(self.now(), waited_ms))

    def _reschedule_split(self, job: Job, split: Split, *, counts_as_attempt: bool) -> bool:
        next_at = compute_next_check(self.now(), 0)
        return self.checks.reschedule_split(job, split, next_check_at=next_at, counts_as_attempt=counts_as_attempt)

    def _exhaust(self, job: Job) -> CheckOutcome:
        return self._end(job, "failed", AttemptsExhausted(f"All {job.attempt} attempts ended without a result"))

    def _end(self, job: Job, status: Literal["expired", "failed"], error: JobError) -> CheckOutcome:
        if not self.checks.end(job, status, error=error, now=self.now()):
            return "changed_meanwhile"
        logger.warning("Job ended by the janitor", job=job.id, run=job.run, status=status, reason=str(error))
        notify(self.webhooks, job, status)
        return status


def _outcome(is_written: bool, outcome: CheckOutcome) -> CheckOutcome:
    return outcome if is_written else "changed_meanwhile"
