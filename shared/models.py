"""The words of the project as types: what clients send, what is stored, what travels in messages.

Times of stored things are integers: milliseconds since the epoch, except `expires_at`, which DynamoDB's TTL
wants in seconds. Times of the API are RFC 3339 UTC.
"""

from __future__ import annotations

import secrets
import uuid
from typing import Annotated, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    field_validator,
    model_validator,
)
from pydantic_core import to_json

Feature = Literal["ents", "sents", "tokens", "noun_chunks"]
FEATURES: tuple[Feature, ...] = get_args(Feature)
FEATURES_LIMIT = 16  # repeated ones are no error
DEFAULT_FEATURES: tuple[Feature, ...] = ("ents", "sents")

Status = Literal["queued", "running", "succeeded", "failed", "canceled", "expired"]
_STATUS: TypeAdapter[Status] = TypeAdapter(Status)
TERMINAL: frozenset[Status] = frozenset({"succeeded", "failed", "canceled", "expired"})

Event = Literal["job.succeeded", "job.failed", "job.canceled", "job.expired"]
EVENTS: tuple[Event, ...] = get_args(Event)
EVENTS_LIMIT = 16  # repeated ones are no error
DeliveryState = Literal["pending", "delivered", "failed", "disabled"]

SOLO_CHARACTERS = 50_000  # a job above this is split into shards
DOCUMENTS_LIMIT = 1_000
DELIVERY_PREFIX = "delivery#"
UPLOAD_ID = r"^[A-Za-z0-9_-]{22}$"
UPLOAD_BYTES_LIMIT = 20_000_000
UPLOAD_DOCUMENTS_LIMIT = 20_000
DOCUMENT_ID_LIMIT = 128
METADATA_NAMES_LIMIT = 16
METADATA_BYTES_LIMIT = 1_024  # as JSON: it is part of the job's item, whose every update costs its whole size
RESULT_TTL_SECONDS = 7 * 24 * 3600
RICH_FEATURES_LIMIT = 5_000_000  # characters of a job that may ask for `tokens` or `noun_chunks`


def _not_blank(text: str) -> str:
    if text.isspace():
        raise ValueError("Text must hold something besides whitespace")
    return text


Text = Annotated[str, StringConstraints(min_length=1), AfterValidator(_not_blank)]


def new_job_id(now: int) -> str:
    """A UUIDv7 (RFC 9562, section 5.7) of the time `now` in milliseconds, so that ids sort by time."""
    value = (now & (1 << 48) - 1) << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))


class Strict(BaseModel):
    """A boundary with clients: unknown fields are errors, nothing is coerced into a string."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Record(BaseModel):
    """A boundary with our own store or queues: fields that a newer version added are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Document(Strict):
    """One text of a job; `id` is the client's own name for it, unique within the job."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=DOCUMENT_ID_LIMIT)] | None = None
    text: Text


def _not_too_big(metadata: dict[str, str]) -> dict[str, str]:
    size = len(to_json(metadata))
    if size > METADATA_BYTES_LIMIT:
        raise ValueError(f"Metadata may have {METADATA_BYTES_LIMIT:,} bytes as JSON; this has {size:,}")
    return metadata


Metadata = Annotated[
    dict[Annotated[str, StringConstraints(min_length=1, max_length=64)], str],
    Field(max_length=METADATA_NAMES_LIMIT),
    AfterValidator(_not_too_big),
]


class WebhookRequest(Strict):
    """Where the end of a job is announced to, and which ends; who submits it checks the URL."""

    url: str
    events: Annotated[tuple[Event, ...], Field(fail_fast=True, min_length=1, max_length=EVENTS_LIMIT)] = EVENTS

    @field_validator("events")
    @classmethod
    def _in_order(cls, events: tuple[Event, ...]) -> tuple[Event, ...]:
        return tuple(event for event in EVENTS if event in events)


class AnalyzeRequest(Strict):
    """The body of `POST /analyze`: `text`, `documents` or an upload, and what to find in it."""

    text: Text | None = None
    documents: (
        Annotated[tuple[Document, ...], Field(fail_fast=True, min_length=1, max_length=DOCUMENTS_LIMIT)] | None
    ) = None
    upload_id: Annotated[str, StringConstraints(pattern=UPLOAD_ID)] | None = None
    features: Annotated[tuple[Feature, ...], Field(fail_fast=True, min_length=1, max_length=FEATURES_LIMIT)] = (
        DEFAULT_FEATURES
    )
    metadata: Metadata = Field(default_factory=dict)
    result_ttl_seconds: Annotated[int, Field(strict=True, ge=60, le=RESULT_TTL_SECONDS)] = RESULT_TTL_SECONDS
    webhook: WebhookRequest | None = None

    @field_validator("features")
    @classmethod
    def _in_order(cls, features: tuple[Feature, ...]) -> tuple[Feature, ...]:
        return tuple(feature for feature in FEATURES if feature in features)

    @field_validator("documents")
    @classmethod
    def _unique_ids(cls, documents: tuple[Document, ...] | None) -> tuple[Document, ...] | None:
        seen: set[str] = set()
        for position, document in enumerate(documents or ()):
            if document.id in seen:
                raise ValueError(f"Document {position} repeats the id of an earlier one")
            if document.id is not None:
                seen.add(document.id)
        return documents

    @model_validator(mode="after")
    def _one_source(self) -> AnalyzeRequest:
        if sum(source is not None for source in (self.text, self.documents, self.upload_id)) != 1:
            raise ValueError("Give exactly one of `text`, `documents` and `upload_id`")
        return self

    @property
    def sources(self) -> tuple[Document, ...]:
        """The documents of the body, whichever way they were given; none when they were uploaded."""
        if self.text is not None:
            return (Document(text=self.text),)
        return self.documents or ()

    @property
    def is_rich(self) -> bool:
        """Whether it asks for features whose results are many times the text."""
        return not {"tokens", "noun_chunks"}.isdisjoint(self.features)


class UploadRequest(Strict):
    """The body of `POST /uploads`: what is going to be uploaded."""

    content_type: Literal["text/plain", "application/x-ndjson"]
    size: Annotated[int, Field(strict=True, ge=1, le=UPLOAD_BYTES_LIMIT, description="Bytes.")]


class Model(Record):
    """The spaCy pipeline that a result came from."""

    name: str
    version: str


class Progress(Record):
    """Units of work, shards or documents, done and in all."""

    done: int = 0
    total: int = 1


class Failure(Record):
    """Why a job failed, in the words of `shared.errors`."""

    code: str
    title: str
    detail: str
    retryable: bool = False


class Metrics(Record):
    """Where a job's time went, in milliseconds, and how much it was."""

    queue_ms: int | None = None
    cold_start_ms: int | None = None
    run_ms: int | None = None
    total_ms: int | None = None
    words: int | None = None


class Upload(Record):
    """An uploaded input, pinned to what it was when the job was submitted."""

    key: str
    etag: str
    content_type: str


class Split(Record):
    """The item `part = split#<run>` of a big job: which of its shards are done."""

    total: int
    done: frozenset[int] = frozenset()
    seen: int = 0  # how many were done when the janitor looked last

    @property
    def is_complete(self) -> bool:
        """Whether every shard is done, so that they can be merged."""
        return len(self.done) == self.total

    @property
    def missing(self) -> list[int]:
        """The shards that are not done."""
        return [shard for shard in range(self.total) if shard not in self.done]


class Limits(Record):
    """What a client may use."""

    requests_per_minute: int = Field(ge=1)
    open_jobs: int = Field(ge=1)
    bytes_per_day: int = Field(ge=1)


class IdempotencyKey(Record):
    """What a client's idempotency key was used for: which request, and the job that came of it."""

    id: str
    request_sha256: str
    job: str
    expires_at: int


class DueItem(Record):
    """An entry of the index `due`: an item for the janitor to look at."""

    id: str
    part: str
    due_at: int


class Webhook(Record):
    """Where the ends of a job's runs are announced to, and which of them."""

    url: str
    events: frozenset[Event] = frozenset(EVENTS)


class Job(Record):
    """The item `part = job`: small, because an update costs the whole item."""

    id: str
    client_id: str
    status: Status = "queued"
    features: tuple[Feature, ...] = DEFAULT_FEATURES
    metadata: dict[str, str] = Field(default_factory=dict)
    result_ttl_seconds: int = RESULT_TTL_SECONDS
    model: Model
    characters: int
    run: int = 1
    attempt: int = 0
    created_at: int
    queued_at: int  # of this run; the first is queued when the job is created
    started_at: int | None = None
    completed_at: int | None = None
    deadline: int
    lease: int | None = None
    owner: str | None = None
    shards: int | None = None
    due_at: int | None = None
    due_slot: int | None = None
    expires_at: int
    deleted_at: int | None = None
    input_key: str | None = None
    upload: Upload | None = None
    webhook: Webhook | None = None
    result_part: str | None = None
    result_key: str | None = None
    progress: Progress = Progress()
    failure: Failure | None = None
    metrics: Metrics = Metrics()

    @property
    def first_lane(self) -> Literal["jobs", "solo"]:
        """The lane that the first message about this job goes to."""
        return "solo" if self.characters > SOLO_CHARACTERS else "jobs"

    @property
    def lane(self) -> Literal["jobs", "solo"]:
        """The lane that a new message about this job goes to."""
        return "solo" if self.attempt else self.first_lane

    @property
    def result_expires_at(self) -> int:
        """When the result is no longer given out, in milliseconds."""
        kept_until = (self.completed_at or self.created_at) + self.result_ttl_seconds * 1000
        return min(kept_until, self.expires_at * 1000)

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more will happen in this run."""
        return self.status in TERMINAL

    def announces(self, status: Status) -> bool:
        """Whether an end as `status` is to be announced."""
        return self.webhook is not None and f"job.{status}" in self.webhook.events

    @property
    def is_unannounced(self) -> bool:
        """Whether its run has ended and nobody has made the announcement yet: an ended job is due for nothing else."""
        return self.is_terminal and self.due_at is not None and self.announces(self.status)


class Message(Record):
    """What a lane carries: a hint to look at a run of a job. It may be lost, doubled or late without harm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str
    run: int = Field(ge=1)
    shard: int | None = Field(default=None, ge=0)


def announced_part(run: int, status: Status) -> str:
    """The sort key of the delivery of a run's end."""
    return f"{DELIVERY_PREFIX}{run}.{status}"


class WebhookMessage(Record):
    """What the queue `webhooks` carries: a hint to announce the end of a run, or to attempt it again.

    `attempt` is how many attempts were made before, so that of two copies one makes the next.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str
    run: int = Field(ge=1)
    status: Status
    attempt: int = Field(default=0, ge=0)

    @property
    def part(self) -> str:
        """The sort key of the delivery."""
        return announced_part(self.run, self.status)


class DeliveryAttempt(Record):
    """One attempt of a delivery: when it began (ms), and the answer's `status` or the `error` that took its place."""

    at: int
    status: int | None = None
    error: str | None = None
    latency_ms: int
    excerpt: str = ""


class Delivery(Record):
    """The item `part = delivery#<run>.<status>`: one announcement on its way, with all that is needed to make it.

    It outlives the job's next run and its deletion, so the text that is sent is its own. The client is not named
    `client_id`: the index of a client's jobs would hold it.
    """

    id: str
    part: str
    client: str
    url: str
    body: bytes
    state: DeliveryState = "pending"
    created_at: int
    made: int = 0  # attempts in all
    since: int = 0  # attempts made before this passage through the schedule
    attempts: tuple[DeliveryAttempt, ...] = ()  # the last ones
    next_at: int | None = None  # when the next attempt is wanted, while one is
    lease: int | None = None
    owner: str | None = None
    due_at: int | None = None
    due_slot: int | None = None
    expires_at: int

    @property
    def name(self) -> str:
        """The value of the header `webhook-id`: one for each end of a run, whoever announces it and how often."""
        return f"{self.id}.{self.part.removeprefix(DELIVERY_PREFIX)}"

    @property
    def run(self) -> int:
        """The run that ended."""
        return int(self.part.removeprefix(DELIVERY_PREFIX).partition(".")[0])

    @property
    def status(self) -> Status:
        """What the run ended as."""
        return _STATUS.validate_python(self.part.rpartition(".")[2])

    @property
    def message(self) -> WebhookMessage:
        """What asks for the next attempt."""
        return WebhookMessage(job=self.id, run=self.run, status=self.status, attempt=self.made)


class WarmUp(Record):
    """A warm-up ping: the payload of an asynchronous invoke of the worker; one of `environments` in its round."""

    key: str
    round: str
    began_at: int
    environments: int = 1


ROUND_LIMIT = 100  # environments of a warm-up round


class WarmUpOrder(Strict):
    """What a schedule asks of the janitor: a round that warms so many environments."""

    warm_up: int = Field(ge=1, le=ROUND_LIMIT)


class Warmth(Record):
    """How warm the worker is, as the token response says it; all of it estimates.

    `ready_in_seconds`, to the tenth, is 0 when warm, and null when nothing is warming the worker.
    """

    state: Literal["cold", "warming", "warm"]
    ready_in_seconds: float | None
    environments: int
