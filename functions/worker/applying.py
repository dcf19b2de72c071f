"""Applying of outcomes: the only place that releases jobs, fails them, and hides messages until a retry."""

from __future__ import annotations

from typing import assert_never

from functions.worker.finishing import Finisher
from functions.worker.heartbeat import Heartbeat
from functions.worker.outcome import Acknowledge, Fail, Outcome, Retry
from functions.worker.stores import JobStore
from functions.worker.work import BatchItem
from shared.errors import Transient
from shared.jobs.job import Job
from shared.log import logger


class OutcomeApplier:
    """Applies the outcomes of processing messages."""

    def __init__(self, jobs: JobStore, finisher: Finisher) -> None:
        """Release jobs in `jobs`, and fail jobs by `finisher`."""
        self._jobs = jobs
        self._finisher = finisher

    def apply(self, item: BatchItem, outcome: Outcome, heartbeat: Heartbeat) -> None:
        """Apply the outcome of processing the message of `item`."""
        match outcome:
            case Acknowledge():
                pass  # a message that the handler does not report is deleted
            case Retry():
                self._retry(item, outcome, heartbeat)
            case Fail():
                heartbeat.stop(outcome.job)
                self._finisher.fail(outcome.job, outcome.error)
            case _:
                assert_never(outcome)

    def _retry(self, item: BatchItem, retry: Retry, heartbeat: Heartbeat) -> None:
        attempt = retry.job.attempt if retry.job is not None else None
        job_id, reason = item.message.job, str(retry.error)
        logger.warning("The message is retried", job=job_id, attempt=attempt, seconds=retry.seconds, reason=reason)
        try:
            item.change_visibility(seconds=retry.seconds)
        except Transient:
            logger.exception("A message stays hidden for its visibility time-out", message_id=item.message_id)
        if retry.job is not None:
            heartbeat.stop(retry.job)
            self._release(retry.job)

    def _release(self, job: Job) -> None:
        if job.claim_token is None:  # a shard has no claim
            return
        try:
            self._jobs.release(job)
        except Transient:
            logger.exception("Cannot release a job; its lease expires", job=job.id)
