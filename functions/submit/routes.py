"""The table of routes: every call of the API, with everything that the service and its description know about it.

To add a call, write its handler in `functions/submit/endpoints` and list it in `ROUTES`. Authorization, the answers
404 and 405, the reading of bodies and parameters, the OpenAPI document and the gateway's routes
(`terraform/routes.json`) are derived from this table. A path that is not in the table is a 404.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from enum import Enum
from functools import cached_property
from typing import Any, Final, Literal

from pydantic import BaseModel

from functions.submit.endpoints import analyze, deliveries, inputs, jobs, service, uploads
from functions.submit.requests import AnalyzeRequest, Body, ListQuery, Query, UploadRequest, WaitQuery
from functions.submit.schema import JobView
from functions.submit.services import Services
from functions.submit.web import Request, Response
from shared.auth.tokens import SCOPES
from shared.errors import ApiError, Conflict, Gone, KeyReused, MethodNotAllowed, NotFound

Scope = Literal["jobs:read", "jobs:write"]
Handler = Callable[[Services, Request], Response]


class Access(Enum):
    """Access without a token."""

    PUBLIC = "public"


PUBLIC: Final = Access.PUBLIC

_UNDECIDED: Any = None
_PATH = re.compile(r"/[\x21-\x7e]*")  # printable ASCII without a space
_PATH_SHOWN = 200  # characters


@dataclass(frozen=True)
class Returns:
    """A successful answer: the model of its body, and the headers that not every answer has.

    An answer without a body has a `description` in place of a model.
    """

    model: type[BaseModel] | None = None
    headers: Sequence[str] = ()
    description: str = ""


@dataclass(frozen=True)
class Route:
    """One call of the API.

    Attributes:
        method: The HTTP method.
        path: The path. It may contain the parameter `{id}`, which is the id of a job.
        operation_id: The name of the call in the OpenAPI document.
        summary: One sentence for the OpenAPI document.
        handler: The function that serves the call.
        answers: The successful answers by status.
        scope: The scope that the token must carry, or PUBLIC.
        body: The model of the request's body, if it has one.
        query: The model of the query parameters, if there are any.
        headers: The headers of the request, in the form of OpenAPI's parameters.
        errors: The errors besides those that follow from the other fields.
        leads_to: The calls that can follow with the id in the answer, by their `operation_id`.
        throttle: The throttle of the gateway, by its name in Terraform.
        is_described: Whether the OpenAPI document describes the call.

    Raises:
        TypeError: If the route has neither a scope nor PUBLIC.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    operation_id: str
    summary: str
    handler: Handler
    answers: Mapping[int, Returns]
    _: KW_ONLY
    scope: Scope | Access = _UNDECIDED
    body: type[Body] | None = None
    query: type[Query] | None = None
    headers: Sequence[Mapping[str, Any]] = ()
    errors: Sequence[type[ApiError]] = ()
    leads_to: Sequence[str] = ()
    throttle: Literal["default", "token"] = "default"
    is_described: bool = True

    def __post_init__(self) -> None:
        if self.scope is not PUBLIC and self.scope not in SCOPES:
            raise TypeError(
                f"The route {self.key} does not say who may call it. Add `scope=` to it in functions/submit/routes.py: "
                f"one of {', '.join(SCOPES)}, or PUBLIC if the call needs no token."
            )

    @property
    def key(self) -> str:
        """Return the gateway's name of the route, such as `GET /jobs/{id}`."""
        return f"{self.method} {self.path}"

    @property
    def names_job(self) -> bool:
        """Return whether the path contains the id of a job."""
        return "{id}" in self.path

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Return the pattern of the paths of this route. Its group `id` is the id of a job."""
        return re.compile(re.escape(self.path).replace(r"\{id\}", "(?P<id>[^/]+)"))


def find_route(method: str, path: str) -> tuple[Route, str]:
    """Return the route of a request, and the id of a job in its path, or an empty text if it names none.

    Raises:
        NotFound: If no route has this path.
        MethodNotAllowed: If the routes with this path have other methods.
    """
    if not _PATH.fullmatch(path):
        raise NotFound("There is nothing at this path")
    found = {route.method: (route, match) for route in ROUTES if (match := route.pattern.fullmatch(path))}
    if not found:
        raise NotFound(f"There is nothing at {path[:_PATH_SHOWN]}")
    for allowed, (route, match) in found.items():
        if allowed == method:
            return route, match.groupdict().get("id", "")
    listed = ", ".join(sorted(found))
    raise MethodNotAllowed(f"Allowed here: {listed}", headers={"allow": listed})


ROUTES = (
    Route(
        "POST",
        "/analyze",
        "analyze",
        "Submit a job.",
        analyze.analyze,
        {
            202: Returns(
                JobView, headers=("Location", "Idempotency-Replayed", "Preference-Applied", "ETag", "Retry-After")
            ),
            200: Returns(JobView, headers=("Location", "Idempotency-Replayed", "Preference-Applied", "ETag")),
        },
        scope="jobs:write",
        body=AnalyzeRequest,
        headers=(analyze.IDEMPOTENCY_KEY, analyze.PREFER),
        errors=(KeyReused, Gone),
        leads_to=("getJob", "cancelJob", "deleteJob"),
    ),
    Route(
        "POST",
        "/uploads",
        "createUpload",
        "Create an upload: a URL to which a text or NDJSON file of up to 20 MB can be sent.",
        uploads.create_upload,
        {201: Returns(uploads.UploadView)},
        scope="jobs:write",
        body=UploadRequest,
    ),
    Route(
        "GET",
        "/jobs",
        "listJobs",
        "List the client's jobs, newest first, without their results.",
        jobs.list_jobs,
        {200: Returns(jobs.JobPage)},
        scope="jobs:read",
        query=ListQuery,
    ),
    Route(
        "GET",
        "/jobs/{id}",
        "getJob",
        "Get a job, with its result if it has one.",
        jobs.get_job,
        {
            200: Returns(JobView, headers=("ETag", "Retry-After")),
            304: Returns(headers=("ETag", "Retry-After"), description="The job has not changed."),
        },
        scope="jobs:read",
        query=WaitQuery,
        headers=(jobs.IF_NONE_MATCH,),
    ),
    Route(
        "DELETE",
        "/jobs/{id}",
        "deleteJob",
        "Delete a job with its input and its result. An open job is canceled first.",
        jobs.delete_job,
        {204: Returns(description="The job is deleted.")},
        scope="jobs:write",
    ),
    Route(
        "POST",
        "/jobs/{id}/cancel",
        "cancelJob",
        "Cancel an open job. It ends at once.",
        jobs.cancel_job,
        {200: Returns(JobView, headers=("ETag",))},
        scope="jobs:write",
        errors=(Conflict,),
        leads_to=("retryJob", "deleteJob"),
    ),
    Route(
        "POST",
        "/jobs/{id}/retry",
        "retryJob",
        "Begin the next run of a job that failed, was canceled or expired.",
        jobs.retry_job,
        {202: Returns(JobView, headers=("ETag", "Retry-After"))},
        scope="jobs:write",
        errors=(Conflict,),
    ),
    Route(
        "GET",
        "/jobs/{id}/input",
        "getInput",
        "Get the input of a job: its documents, or the URL of the uploaded file.",
        inputs.get_input,
        {200: Returns(inputs.InputView)},
        scope="jobs:read",
    ),
    Route(
        "GET",
        "/jobs/{id}/deliveries",
        "listDeliveries",
        "List the webhook deliveries of a job, with the last attempts of each.",
        deliveries.list_deliveries,
        {200: Returns(deliveries.Deliveries)},
        scope="jobs:read",
    ),
    Route(
        "POST",
        "/jobs/{id}/deliveries",
        "redeliver",
        "Begin the last delivery of a job again, with the same `webhook-id`.",
        deliveries.redeliver,
        {202: Returns(deliveries.DeliveryView)},
        scope="jobs:write",
        errors=(Conflict,),
    ),
    Route(
        "GET",
        "/health",
        "health",
        "Get the state of the service, and how warm the worker is.",
        service.get_health,
        {200: Returns(service.Health)},
        scope=PUBLIC,
    ),
    Route(
        "GET",
        "/openapi.json",
        "specification",
        "Get this document.",
        service.get_specification,
        {200: Returns(description="The OpenAPI document.")},
        scope=PUBLIC,
        is_described=False,
    ),
)
