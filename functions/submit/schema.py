"""The answers of the API as types. The OpenAPI document is made from them, and tests check real answers with them.

An answer that only one endpoint returns is declared beside the endpoint instead.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, create_model

from functions.submit.estimates import StatusReason
from shared.jobs.features import MEMBERS, FeatureName
from shared.jobs.job import Failure, Metrics, Model, Progress, Status
from shared.jobs.view import LINKS
from shared.warmup.records import Warmth
from shared.webhooks.delivery import DeliveryState


class Answer(BaseModel):
    """An answer of the API. A field that is not declared is a defect."""

    model_config = ConfigDict(extra="forbid")


# Each feature adds members to a result document; see `shared.jobs.features`.
_DOCUMENT_FIELDS: dict[str, Any] = {
    "id": (str | None, None),
    **{name: (member.type | None, None) for name, member in MEMBERS.items()},
    "error": (dict[str, Any] | None, None),
}
ResultDocument = create_model(
    "ResultDocument",
    __base__=Answer,
    __doc__="One document with the members of spaCy's `Doc.to_json()`, or the error that the model raised on it.",
    **_DOCUMENT_FIELDS,
)


class Result(Answer):
    """The documents of a job, in the order in which they were sent."""

    documents: list[ResultDocument]


class WebhookView(Answer):
    """The webhook of a job, and the state of the delivery for its last run."""

    url: str
    state: Annotated[
        DeliveryState | None, Field(description="Absent if the client does not want an event for this status.")
    ] = None
    attempts: Annotated[int, Field(ge=0)]


_LINK_FIELDS: dict[str, Any] = dict.fromkeys(LINKS, (AnyHttpUrl, ...))
Links = create_model("Links", __base__=Answer, __doc__="The URLs of calls about the job.", **_LINK_FIELDS)


class JobView(Answer):
    """A job."""

    id: str
    status: Status
    status_reason: Annotated[StatusReason | None, Field(description="The reason why an open job waits.")] = None
    eta_seconds: Annotated[
        int | None, Field(description="An estimate: the seconds until an open job should be done.")
    ] = None
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    deadline: Annotated[datetime, Field(description="A job that is not done at this time ends as `expired`.")]
    expires_at: Annotated[datetime, Field(description="The job no longer exists after this time.")]
    result_expires_at: Annotated[
        datetime | None, Field(description="The result is no longer returned after this time.")
    ] = None
    run: Annotated[int, Field(ge=1, description="The number of the run. Each retry adds one.")]
    attempt: Annotated[int, Field(ge=0)]
    model: Model
    features: list[FeatureName]
    metadata: dict[str, str]
    progress: Progress
    result: Result | None = None
    result_url: Annotated[
        AnyHttpUrl | None, Field(description="The URL of a big result. Anyone can read it for 15 minutes.")
    ] = None
    error: Failure | None = None
    webhook: WebhookView | None = None
    metrics: Metrics
    links: Links


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
    """One invalid value: its place, as one of three members, and the reason."""

    pointer: Annotated[str | None, Field(description="A JSON pointer into the body (RFC 6901).")] = None
    parameter: str | None = None
    header: str | None = None
    detail: str


class Problem(BaseModel):
    """An error as problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: Annotated[str, Field(description="A stable code for programs.")]
    errors: list[Located] | None = None
    limit: Annotated[str | None, Field(description="The limit that is reached, if the code is `rate_limited`.")] = None
