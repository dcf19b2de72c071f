"""What the API answers, as types: the source of the OpenAPI document, and what the tests hold the answers against."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field

from functions.submit.estimates import StatusReason
from shared.models import DeliveryState, Failure, Feature, Metrics, Model, Progress, Status, Warmth


class Answer(BaseModel):
    """Something that the API answers; a field that is not here is a defect."""

    model_config = ConfigDict(extra="forbid")


class Span(Answer):
    """A part of a document's text, in Unicode characters."""

    start: int
    end: int


class Entity(Span):
    """A named entity."""

    label: str
    kb_id: str = ""
    id: str = ""


class Token(Span):
    """A token, in spaCy's words; `id` and `head` count in the document."""

    id: int
    tag: str
    pos: str
    morph: str
    lemma: str
    dep: str
    head: int


class ResultDocument(Answer):
    """One document, in the vocabulary of spaCy's `Doc.to_json()`, or the error that the model ended in."""

    id: str | None = None
    text: str | None = None
    ents: list[Entity] | None = None
    sents: list[Span] | None = None
    tokens: list[Token] | None = None
    noun_chunks: list[dict[str, Any]] | None = None
    error: dict[str, Any] | None = None


class Result(Answer):
    """The documents, in the order in which they were sent."""

    documents: list[ResultDocument]


class WebhookView(Answer):
    """A job's webhook, and how far the announcement of its end is."""

    url: str
    state: Annotated[
        DeliveryState | None, Field(description="Absent after an end that the client did not ask for.")
    ] = None
    attempts: Annotated[int, Field(ge=0)]


class AttemptView(Answer):
    """One attempt to deliver: the receiver's status, or why there was none."""

    at: datetime
    status: int | None = None
    error: str | None = None
    latency_ms: int
    excerpt: Annotated[str, Field(description="How the receiver's answer began.")] = ""


class DeliveryView(Answer):
    """One announcement, with its last attempts."""

    webhook_id: Annotated[str, Field(description="The header `webhook-id`: the same in every attempt.")]
    run: int
    type: str
    url: str
    state: DeliveryState
    created_at: datetime
    attempts: int
    next_attempt_at: datetime | None = None
    log: list[AttemptView]


class Deliveries(Answer):
    """What was announced of a job's runs, the oldest first."""

    deliveries: list[DeliveryView]


class Links(Answer):
    """Where to go from here."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    self_: Annotated[AnyHttpUrl, Field(alias="self")]
    cancel: AnyHttpUrl
    retry: AnyHttpUrl
    deliveries: AnyHttpUrl


class JobView(Answer):
    """A job."""

    id: str
    status: Status
    status_reason: Annotated[StatusReason | None, Field(description="Why an open job waits.")] = None
    eta_seconds: Annotated[int | None, Field(description="When an open job should be done: an estimate.")] = None
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    deadline: Annotated[datetime, Field(description="When the job ends as `expired` if it is not done.")]
    expires_at: Annotated[datetime, Field(description="When the job is gone.")]
    result_expires_at: Annotated[datetime | None, Field(description="When the result is gone.")] = None
    run: Annotated[int, Field(ge=1, description="1, and one more with each retry.")]
    attempt: Annotated[int, Field(ge=0)]
    model: Model
    features: list[Feature]
    metadata: dict[str, str]
    progress: Progress
    result: Result | None = None
    result_url: Annotated[AnyHttpUrl | None, Field(description="Of a big result; anyone may read it for 15 min.")] = (
        None
    )
    error: Failure | None = None
    webhook: WebhookView | None = None
    metrics: Metrics
    links: Links


class JobPage(Answer):
    """A page of a client's jobs, newest first."""

    jobs: list[JobView]
    next_cursor: Annotated[str | None, Field(description="Leads to the next page; absent on the last.")] = None


class UploadView(Answer):
    """Where and how to upload what was announced."""

    upload_id: str
    method: Literal["PUT"]
    url: AnyHttpUrl
    headers: Annotated[dict[str, str], Field(description="To be sent exactly so.")]
    expires_at: datetime


class Health(Answer):
    """That the API answers."""

    status: Literal["ok"]
    version: str
    worker: Warmth


class TokenGrant(Answer):
    """An access token (RFC 6749, section 5.1), and how warm the worker is."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    scope: str
    worker: Warmth


class TokenError(Answer):
    """An error of the token endpoint (RFC 6749, section 5.2)."""

    error: str
    error_description: str


class Located(Answer):
    """One thing that is not valid: where, in one of three ways, and why."""

    pointer: Annotated[str | None, Field(description="JSON pointer into the body (RFC 6901).")] = None
    parameter: str | None = None
    header: str | None = None
    detail: str


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: Annotated[str, Field(description="Stable: what programs should look at.")]
    errors: list[Located] | None = None
    limit: Annotated[str | None, Field(description="Of `rate_limited`: which limit.")] = None
