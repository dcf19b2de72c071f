"""The words of the project as types: what clients send, what is stored, what travels in messages.

Times of stored things are integers: milliseconds since the epoch, except `expires_at`, which DynamoDB's TTL
wants in seconds. Times of the API are RFC 3339 UTC.
"""

from __future__ import annotations

import secrets
import uuid
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

Feature = Literal["ents", "sents", "tokens", "noun_chunks"]
FEATURES: tuple[Feature, ...] = get_args(Feature)
DEFAULT_FEATURES: tuple[Feature, ...] = ("ents", "sents")

Status = Literal["queued", "running", "succeeded", "failed", "canceled", "expired"]
TERMINAL: frozenset[Status] = frozenset({"succeeded", "failed", "canceled", "expired"})

DOCUMENTS_LIMIT = 1_000
DOCUMENT_ID_LIMIT = 128
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


class AnalyzeRequest(Strict):
    """The body of `POST /analyze`: either `text` or `documents`, and what to find in them."""

    text: Text | None = None
    documents: Annotated[tuple[Document, ...], Field(min_length=1, max_length=DOCUMENTS_LIMIT)] | None = None
    features: Annotated[tuple[Feature, ...], Field(min_length=1)] = DEFAULT_FEATURES

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
        if (self.text is None) == (self.documents is None):
            raise ValueError("Give exactly one of `text` and `documents`")
        if not {"tokens", "noun_chunks"}.isdisjoint(self.features) and self.characters > RICH_FEATURES_LIMIT:
            raise ValueError(f"`tokens` and `noun_chunks` take at most {RICH_FEATURES_LIMIT:,} characters")
        return self

    @property
    def sources(self) -> tuple[Document, ...]:
        """The documents of the job, whichever way they were given."""
        return self.documents if self.documents is not None else (Document(text=self.text or ""),)

    @property
    def characters(self) -> int:
        """Unicode characters over all documents."""
        return sum(len(document.text) for document in self.sources)


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


class Job(Record):
    """The item `part = job`: small, because an update costs the whole item."""

    id: str
    client_id: str
    status: Status = "queued"
    features: tuple[Feature, ...] = DEFAULT_FEATURES
    model: Model
    characters: int
    run: int = 1
    attempt: int = 0
    created_at: int
    started_at: int | None = None
    completed_at: int | None = None
    deadline: int
    lease: int | None = None
    due_at: int | None = None
    due_slot: int | None = None
    expires_at: int
    input_key: str | None = None
    result_part: str | None = None
    result_key: str | None = None
    progress: Progress = Progress()
    failure: Failure | None = None
    metrics: Metrics = Metrics()

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more will happen in this run."""
        return self.status in TERMINAL


class Message(Record):
    """What a lane carries: a hint to look at a run of a job. It may be lost, doubled or late without harm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str
    run: int = Field(ge=1)


class WarmUp(Record):
    """A warm-up ping: the payload of an asynchronous invoke of the worker."""

    key: str
    round: str
    began_at: int


class Warmth(Record):
    """How warm the worker is, as the token response says it; all of it estimates.

    `ready_in_seconds` is 0 when warm, and null when nothing is warming the worker.
    """

    state: Literal["cold", "warming", "warm"]
    ready_in_seconds: int | None
    environments: int
