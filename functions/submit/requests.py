"""The bodies and query parameters that clients send."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_core import to_json

from shared.jobs.document import Document, Text
from shared.jobs.features import DEFAULT_FEATURES, FeatureName, in_order
from shared.jobs.job import EVENT_TYPES, RESULT_TTL_SECONDS, EventType, Status
from shared.records import RequestBody

DOCUMENTS_LIMIT = 1_000
FEATURES_LIMIT = 16  # items; a repeated feature is not an error
EVENTS_LIMIT = 16  # items; a repeated event is not an error
UPLOAD_ID = r"^[A-Za-z0-9_-]{22}$"
UPLOAD_BYTES_LIMIT = 20_000_000
METADATA_NAMES_LIMIT = 16
METADATA_BYTES_LIMIT = 1_024  # as JSON: the metadata is part of the job's item, and each update costs the whole item
WAIT_LIMIT_SECONDS = 25
PAGE_LIMIT = 100  # jobs
CURSOR_LIMIT = 100  # characters

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


# Bodies


def _check_size(metadata: dict[str, str]) -> dict[str, str]:
    size = len(to_json(metadata))
    if size > METADATA_BYTES_LIMIT:
        raise ValueError(f"Metadata may have {METADATA_BYTES_LIMIT:,} bytes as JSON; this has {size:,}")
    return metadata


Metadata = Annotated[
    dict[Annotated[str, StringConstraints(min_length=1, max_length=64)], str],
    Field(max_length=METADATA_NAMES_LIMIT),
    AfterValidator(_check_size),
]


class Body(RequestBody):
    """A body of this function. `examples` appear in the OpenAPI document."""

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()


class WebhookRequest(RequestBody):
    """The URL that receives the job's webhook events, and the types of events to send. The URL is checked later."""

    url: str
    events: Annotated[tuple[EventType, ...], Field(fail_fast=True, min_length=1, max_length=EVENTS_LIMIT)] = EVENT_TYPES

    @field_validator("events")
    @classmethod
    def _order(cls, events: tuple[EventType, ...]) -> tuple[EventType, ...]:
        return tuple(event for event in EVENT_TYPES if event in events)


class AnalyzeRequest(Body):
    """The body of `POST /analyze`: a text, documents or an upload, and the features to find in them."""

    examples = (
        {"text": "Ada Lovelace lived in London.", "features": ["ents", "sents"], "metadata": {"source": "letters"}},
        {"documents": [{"id": "a", "text": "Ada lived in London."}, {"text": "Charles did, too."}]},
    )

    text: Text | None = None
    documents: (
        Annotated[tuple[Document, ...], Field(fail_fast=True, min_length=1, max_length=DOCUMENTS_LIMIT)] | None
    ) = None
    upload_id: Annotated[str, StringConstraints(pattern=UPLOAD_ID)] | None = None
    features: Annotated[tuple[FeatureName, ...], Field(fail_fast=True, min_length=1, max_length=FEATURES_LIMIT)] = (
        DEFAULT_FEATURES
    )
    metadata: Metadata = Field(default_factory=dict)
    result_ttl_seconds: Annotated[int, Field(strict=True, ge=60, le=RESULT_TTL_SECONDS)] = RESULT_TTL_SECONDS
    webhook: WebhookRequest | None = None

    @field_validator("features")
    @classmethod
    def _order(cls, features: tuple[FeatureName, ...]) -> tuple[FeatureName, ...]:
        return in_order(features)

    @field_validator("documents")
    @classmethod
    def _check_ids(cls, documents: tuple[Document, ...] | None) -> tuple[Document, ...] | None:
        seen: set[str] = set()
        for position, document in enumerate(documents or ()):
            if document.id in seen:
                raise ValueError(f"Document {position} repeats the id of an earlier one")
            if document.id is not None:
                seen.add(document.id)
        return documents

    @model_validator(mode="after")
    def _check_source(self) -> AnalyzeRequest:
        if sum(source is not None for source in (self.text, self.documents, self.upload_id)) != 1:
            raise ValueError("Give exactly one of `text`, `documents` and `upload_id`")
        return self

    @property
    def sources(self) -> tuple[Document, ...]:
        """Return the documents in the body, given as `text` or as `documents`. There are none if they were uploaded."""
        if self.text is not None:
            return (Document(text=self.text),)
        return self.documents or ()


class UploadRequest(Body):
    """The body of `POST /uploads`: the type and the size of the file that the client is going to upload."""

    examples = ({"content_type": "text/plain", "size": 3_000_000},)

    content_type: Literal["text/plain", "application/x-ndjson"]
    size: Annotated[int, Field(strict=True, ge=1, le=UPLOAD_BYTES_LIMIT, description="Bytes.")]


# Query parameters


def _check_rfc3339(given: object) -> object:
    # pydantic alone would also accept seconds since the epoch.
    if not isinstance(given, str) or not _RFC_3339.fullmatch(given):
        raise ValueError("Input should be a date and time with an offset, as in 2026-11-24T12:00:00Z (RFC 3339)")
    return given


Instant = Annotated[AwareDatetime, BeforeValidator(_check_rfc3339)]


class Query(BaseModel):
    """The query parameters of a route. Unknown ones are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class WaitQuery(Query):
    """The query parameters of a route that can wait for the end of a job."""

    wait: Annotated[int, Field(ge=0, le=WAIT_LIMIT_SECONDS, description="Seconds to wait for the end of the job.")] = 0


class ListQuery(Query):
    """The query parameters of `GET /jobs`."""

    status: Annotated[Status | None, Field(description="Return only jobs with this status.")] = None
    created_after: Annotated[
        Instant | None, Field(description="Return only jobs created later. It must not be in the future.")
    ] = None
    created_before: Annotated[Instant | None, Field(description="Return only jobs created earlier.")] = None
    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT, description="The most jobs to return in one page.")] = 20
    cursor: Annotated[
        str | None, Field(max_length=CURSOR_LIMIT, description="The `next_cursor` of the page before.")
    ] = None


def to_milliseconds(instant: datetime) -> int:
    """Return a time in milliseconds since the epoch."""
    return int(instant.timestamp() * 1000)
