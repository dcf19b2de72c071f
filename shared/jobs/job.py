"""The records of a job, as the table `jobs` stores them."""

from __future__ import annotations

import secrets
import uuid
from typing import Literal, get_args

from pydantic import Field

from shared.jobs.features import DEFAULT_FEATURES, FeatureName
from shared.records import Record

Status = Literal["queued", "running", "succeeded", "failed", "canceled", "expired"]
TERMINAL: frozenset[Status] = frozenset({"succeeded", "failed", "canceled", "expired"})

EventType = Literal["job.succeeded", "job.failed", "job.canceled", "job.expired"]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)

QueueName = Literal["jobs", "isolated"]

SHARD_CHARACTERS = (
    50_000  # a job with more is split into shards of at most so many; the sm pipeline needs 340 MB for one
)
RESULT_TTL_SECONDS = 7 * 24 * 3600
LIFETIME_SECONDS = 7 * 24 * 3600
DEADLINE_MS = 24 * 3600 * 1000
DELIVERY_PREFIX = "delivery#"  # sort keys of the deliveries that are stored beside their job


def new_job_id(now: int) -> str:
    """Return a UUIDv7 (RFC 9562, section 5.7) for the time `now` in milliseconds, so that ids sort by time."""
    value = (now & (1 << 48) - 1) << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))


def job_key(job_id: str, part: str = "job") -> dict[str, str]:
    """Return the key of one of a job's items. `part` is the sort key."""
    return {"id": job_id, "part": part}


class Model(Record):
    """A spaCy pipeline."""

    name: str
    version: str


class Progress(Record):
    """Number of a job's shards or documents that are done, and their total."""

    done: int = 0
    total: int = 1


class Failure(Record):
    """The reason why a job failed. The codes are those of `shared.errors.JobError`."""

    code: str
    title: str
    detail: str
    retryable: bool = False


class Metrics(Record):
    """The times of one run in milliseconds, and its size in words (spaCy's tokens)."""

    queue_ms: int | None = None
    cold_start_ms: int | None = None
    run_ms: int | None = None
    total_ms: int | None = None
    words: int | None = None


class Upload(Record):
    """An uploaded input. The ETag pins the content that was there when the job was submitted."""

    key: str
    etag: str
    content_type: str


class Split(Record):
    """The item `split#<run>` of a big job. It records which shards are done."""

    total: int
    done: frozenset[int] = frozenset()
    done_at_last_check: int = 0  # number of shards that were done when the janitor last checked the job

    @property
    def is_complete(self) -> bool:
        """Return whether every shard is done, so that they can be merged."""
        return len(self.done) == self.total

    @property
    def missing(self) -> list[int]:
        """Return the shards that are not done."""
        return [shard for shard in range(self.total) if shard not in self.done]


class IdempotencyKey(Record):
    """The record of an idempotency key: which request used it, and which job that request created."""

    id: str
    request_sha256: str
    job: str
    expires_at: int


class WebhookEndpoint(Record):
    """The URL that receives a job's webhook events, and the types of events that it receives."""

    url: str
    events: frozenset[EventType] = frozenset(EVENT_TYPES)


class Job(Record):
    """The item `job`. It is small, because each update costs the size of the whole item."""

    id: str
    client_id: str
    status: Status = "queued"
    features: tuple[FeatureName, ...] = DEFAULT_FEATURES
    metadata: dict[str, str] = Field(default_factory=dict)
    result_ttl_seconds: int = RESULT_TTL_SECONDS
    model: Model
    characters: int  # length of the texts; for an upload its size in bytes, because the text is not read at submit

    run: int = 1  # number of the run; a retry by the client begins the next one
    attempt: int = 0  # number of attempts within this run: claims, and re-sends of shards without progress
    claim_token: str | None = None  # random token of the worker that holds the claim
    lease_expires_at: int | None = None  # the claim holds until this time
    shards: int | None = None  # number of shards, once the job is split

    created_at: int
    queued_at: int  # start of this run; equals `created_at` in the first
    started_at: int | None = None  # first claim of this run
    completed_at: int | None = None  # end of this run
    deadline: int  # the janitor ends the job as expired after this time
    expires_at: int  # DynamoDB deletes the item after this time (seconds)
    deleted_at: int | None = None  # set on the tombstone that remains of a deleted job

    next_check_at: int | None = None  # the janitor checks the job at this time
    check_partition: int | None = None  # partition of the index `checks`

    input_key: str | None = None  # S3 key of an input that is too big for an item
    upload: Upload | None = None
    webhook: WebhookEndpoint | None = None
    result_part: str | None = None  # sort key of a small result
    result_key: str | None = None  # S3 key of a big result
    progress: Progress = Progress()
    failure: Failure | None = None
    metrics: Metrics = Metrics()

    @property
    def is_big(self) -> bool:
        """Return whether the job is split into shards."""
        return self.characters > SHARD_CHARACTERS

    @property
    def first_queue(self) -> QueueName:
        """Return the queue for the first message about this job."""
        return "isolated" if self.is_big else "jobs"

    @property
    def queue(self) -> QueueName:
        """Return the queue for the next message. After a lost attempt the job must not share a batch with others."""
        return "isolated" if self.attempt else self.first_queue

    @property
    def result_expires_at(self) -> int:
        """Return the time in milliseconds after which the API no longer returns the result."""
        kept_until = (self.completed_at or self.created_at) + self.result_ttl_seconds * 1000
        return min(kept_until, self.expires_at * 1000)

    @property
    def is_terminal(self) -> bool:
        """Return whether this run has ended."""
        return self.status in TERMINAL

    def has_webhook_for(self, status: Status) -> bool:
        """Return whether the client receives a webhook event when the run ends as `status`."""
        return self.webhook is not None and f"job.{status}" in self.webhook.events

    @property
    def awaits_delivery(self) -> bool:
        """Return whether the run has ended with a webhook event for which no delivery exists yet.

        An ended job is scheduled for a check for this reason only.
        """
        return self.is_terminal and self.next_check_at is not None and self.has_webhook_for(self.status)
