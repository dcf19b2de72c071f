"""The outcomes of processing a message. An `OutcomeApplier` applies them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from shared.errors import AttemptsExhausted, JobError, Transient
from shared.jobs.job import Job
from shared.jobs.store import ATTEMPTS_LIMIT, MERGE_ATTEMPTS_LIMIT

BACKOFF_FIRST_SECONDS = 5
BACKOFF_LAST_SECONDS = 300

_T = TypeVar("_T")


@dataclass(frozen=True)
class Acknowledge:
    """Nothing is left to do about the message. SQS may delete it."""


@dataclass(frozen=True)
class Retry:
    """The message is delivered again after `seconds`. The claim of `job`, if there is one, is released."""

    seconds: int
    error: Exception
    job: Job | None = None


@dataclass(frozen=True)
class Fail:
    """The claimed job ends as failed, and the message is acknowledged."""

    job: Job
    error: JobError


Outcome = Acknowledge | Retry | Fail


def run_step(job: Job, step: Callable[[], _T]) -> _T | Retry | Fail:
    """Return the result of `step`, which is a step of processing `job`, or the outcome of the error that it raises."""
    try:
        return step()
    except JobError as error:
        return Fail(job, error)
    except Transient as error:
        return retry_or_fail(job, error)


def retry_or_fail(job: Job, error: Exception) -> Retry | Fail:
    """Return the outcome of an error that another attempt may not meet. Fail the job if it was the last attempt."""
    limit = MERGE_ATTEMPTS_LIMIT if job.shards else ATTEMPTS_LIMIT
    if job.claim_token is not None and job.attempt >= limit:
        return Fail(job, AttemptsExhausted(f"{job.attempt} attempts failed. The error of the last one: {error}"))
    return retry_later(error, job=job)


def retry_later(error: Exception, *, job: Job | None = None) -> Retry:
    """Return a retry after the backoff for the job's attempt, or for a first attempt if no job is known yet."""
    number = max(job.attempt, 1) if job is not None else 1
    return Retry(backoff_seconds(number, jitter=random.random()), error, job)  # noqa: S311 (spreads load)


def backoff_seconds(attempt: int, *, jitter: float) -> int:
    """Return the wait after attempt number `attempt` failed. `jitter` in [0, 1) shortens it by up to a half."""
    longest = min(BACKOFF_FIRST_SECONDS * int(3 ** (attempt - 1)), BACKOFF_LAST_SECONDS)
    return max(1, round(longest * (0.5 + jitter / 2)))
