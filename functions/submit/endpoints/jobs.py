"""The endpoints that list, return and change jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from functions.submit.listing import list_jobs as list_page
from functions.submit.requests import ListQuery, WaitQuery
from functions.submit.schema import Answer, JobView
from functions.submit.services import Services
from functions.submit.views import RenderedJob
from functions.submit.web import Request, Response
from shared.jobs.job import Job

# A header of the request, for the OpenAPI document.
IF_NONE_MATCH: dict[str, Any] = {
    "name": "If-None-Match",
    "schema": {"type": "string"},
    "description": "The ETags that the client has. If the job's ETag is one of them, the answer is 304.",
}


class JobPage(Answer):
    """One page of a client's jobs, the newest first."""

    jobs: list[JobView]
    next_cursor: Annotated[str | None, Field(description="The cursor of the next page. Absent on the last one.")] = None


def list_jobs(services: Services, request: Request) -> Response:
    """Return one page of the client's jobs."""
    query: ListQuery = request.query
    jobs, cursor = list_page(services.jobs.store, request.client_id, query, now=services.now())
    page: dict[str, Any] = {"jobs": [services.views.render_without_result(job).body for job in jobs]}
    return Response(200, {**page, "next_cursor": cursor} if cursor else page)


def get_job(services: Services, request: Request) -> Response:
    """Return a job, or 304 if the client has its present state."""
    query: WaitQuery = request.query
    job = services.jobs.get(request.client_id, request.job_id, wait_seconds=request.limit_wait(query.wait))
    etags = request.headers.get("if-none-match")
    if etags:
        rendered = services.views.render_without_result(job)
        if _has_etag(etags, rendered):
            return Response(304, headers=_make_headers(rendered))
    return respond_with_job(services, 200, job)


def cancel_job(services: Services, request: Request) -> Response:
    """Cancel a job and return it."""
    return respond_with_job(services, 200, services.jobs.cancel(request.client_id, request.job_id))


def retry_job(services: Services, request: Request) -> Response:
    """Begin the next run of a job and return it."""
    return respond_with_job(services, 202, services.jobs.retry(request.caller, request.job_id))


def delete_job(services: Services, request: Request) -> Response:
    """Delete a job."""
    services.jobs.delete(request.client_id, request.job_id)
    return Response(204)


def respond_with_job(services: Services, status: int, job: Job, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response that describes a job: with its result, its ETag, and `Retry-After` while it is open."""
    rendered = services.views.render(job)
    return Response(status, rendered.body, {**_make_headers(rendered), **(headers or {})})


def _make_headers(rendered: RenderedJob) -> dict[str, str]:
    seconds = rendered.retry_after_seconds
    return {"etag": rendered.etag, **({} if seconds is None else {"retry-after": str(seconds)})}


def _has_etag(if_none_match: str, rendered: RenderedJob) -> bool:
    """Return whether the header lists the job's ETag, by weak comparison (RFC 9110, section 13.1.2)."""
    etags = {etag.strip().removeprefix("W/") for etag in if_none_match.split(",")}
    return "*" in etags or rendered.etag.removeprefix("W/") in etags
