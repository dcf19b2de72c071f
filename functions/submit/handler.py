"""The routes of the API. A handler wires and maps; what is done is in `jobs.py`, what is shown in `views.py`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any

import pydantic_core
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.openapi.exceptions import (
    RequestUnsupportedContentType,
    RequestValidationError,
)
from aws_lambda_powertools.event_handler.openapi.params import Body, Path, Query
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.submit import admission, openapi
from functions.submit.admission import Admission
from functions.submit.estimates import Estimates
from functions.submit.jobs import JobService
from functions.submit.listing import Filters, Instant
from functions.submit.views import View, Views
from functions.submit.webhooks import Webhooks
from shared import __version__, http
from shared.blobs import Blobs
from shared.clients import ClientTable
from shared.clock import now_ms
from shared.deliveries import DeliveryStore
from shared.errors import (
    ApiError,
    BodyTooLarge,
    InvalidRequest,
    MalformedBody,
    MethodNotAllowed,
    NotFound,
    Transient,
    Unauthorized,
    UnsupportedMediaType,
)
from shared.models import AnalyzeRequest, Job, Model, Status, UploadRequest
from shared.pace import Paces
from shared.queues import Lane
from shared.quotas import Allowances, Budget
from shared.settings import SubmitSettings
from shared.store import JobStore
from shared.tokens import Principal, Verifier
from shared.warmup import Rounds

BODY_LIMIT = 2_500_000  # bytes; its escaped copy must fit Lambda's 6 MB event
WAIT_LIMIT_SECONDS = 25
ANSWER_SECONDS = 3
PAGE_LIMIT = 100
PROTECTED = {"analyze", "jobs", "uploads"}  # first segments of the paths that need a token
WITH_BODY = {"/analyze", "/uploads"}
ERRORS_SHOWN = 20
NAMES_LIMIT = 1_000  # of one object; each unknown one would be an error of its own
_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?(\d{1,4})\"?\s*(?=,|;|$)", re.IGNORECASE)
_PATH = re.compile(r"/[\x21-\x7e]*")
POINTER_STEP_SHOWN = 100  # characters; a name in the body may be as long as the body


def _strict_json(body: str) -> Any:
    """JSON as RFC 8259 wants it exchanged: bounded depth and digits, no lone surrogate, no repeated name."""
    try:
        pydantic_core.from_json(body, allow_inf_nan=False)
        return json.loads(body, object_pairs_hook=_unique_names, parse_float=_finite)
    except ValueError as error:
        raise MalformedBody(f"The body is not JSON: {error}") from None


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > NAMES_LIMIT:
        raise ValueError(f"an object has more than {NAMES_LIMIT:,} names")
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name is repeated within an object")
    return names


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return number


app = APIGatewayHttpResolver(enable_validation=True, json_body_deserializer=_strict_json)


@cache
def _settings() -> SubmitSettings:
    return SubmitSettings.from_environment()


@cache
def _verifier() -> Verifier:
    return Verifier(issuer=_settings().public_url, public_keys=_settings().public_keys)


@cache
def _jobs() -> JobStore:
    return JobStore(_settings().jobs_table, _blobs())


@cache
def _blobs() -> Blobs:
    return Blobs(_settings().bucket)


@cache
def _admission() -> Admission:
    settings = _settings()
    return Admission(
        clients=ClientTable(settings.clients_table),
        jobs=_jobs(),
        allowances=Allowances(settings.jobs_table),
        defaults=settings.limits,
        now=now_ms,
    )


@cache
def _estimates() -> Estimates:
    table, version = _settings().jobs_table, _settings().worker_version
    return Estimates(
        rounds=Rounds(table),
        paces=Paces(table),
        worker_version=version,
        waits_for_warming=_settings().waits_for_warming,
        now=now_ms,
    )


@cache
def _service() -> JobService:
    settings = _settings()
    return JobService(
        jobs=_jobs(),
        lane=Lane(settings.jobs_queue_url),
        solo=Lane(settings.solo_queue_url),
        objects=_blobs(),
        model=Model(name=settings.model_name, version=settings.model_version),
        admit_job=_admit_job,
        leave=_estimates().leave,
        webhooks=_webhooks(),
    )


@cache
def _webhooks() -> Webhooks:
    settings = _settings()
    return Webhooks(
        client=_admission().client,
        deliveries=DeliveryStore(settings.jobs_table),
        lane=Lane(settings.webhooks_queue_url),
        base_url=settings.public_url,
        allow_loopback=settings.allow_loopback_webhooks,
        now=now_ms,
    )


@cache
def _views() -> Views:
    return Views(
        jobs=_jobs(),
        objects=_blobs(),
        estimates=_estimates(),
        webhooks=_webhooks(),
        base_url=_settings().public_url,
        now=now_ms,
    )


def _admit_job(client_id: str, size: int) -> Budget:
    budget = _admission().admit_job(client_id, size)
    app.context["budgets"].append(budget)
    return budget


def _client_id() -> str:
    principal: Principal | None = app.context["principal"]
    if principal is None:
        raise Unauthorized("This call needs an access token")
    return principal.client_id


@app.post("/analyze", status_code=202)
def analyze(request: Annotated[AnalyzeRequest, Body()]) -> Response[str]:
    """Queue a job."""
    headers = app.current_event.headers
    wait, key = _preferred_wait(headers.get("prefer")), _key(headers.get("idempotency-key"))
    submitted = _service().submit(_client_id(), request, size=app.context["size"], key=key)
    job = submitted.job
    headers = {"location": f"{_settings().public_url}/jobs/{job.id}"}
    if submitted.is_replayed:
        headers["idempotency-replayed"] = "true"
    if wait is not None:
        headers["preference-applied"] = f"wait={wait}"
        job = _service().get(_client_id(), job.id, wait_seconds=_waitable(wait))
    return _answer(200 if job.is_terminal else 202, job, headers)


@app.get("/jobs")
def list_jobs(
    status: Annotated[Status | None, Query()] = None,
    created_after: Annotated[Instant | None, Query()] = None,
    created_before: Annotated[Instant | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = 20,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response[str]:
    """The client's jobs, newest first, without their results."""
    filters = Filters(status, created_after, created_before)
    jobs, more = _service().page(_client_id(), filters, limit=limit, after=cursor)
    page: dict[str, Any] = {"jobs": [_views().listed(job).body for job in jobs]}
    return _json(200, {**page, "next_cursor": more} if more else page)


@app.get("/jobs/<job_id>")
def get_job(
    job_id: Annotated[str, Path()],
    wait: Annotated[int, Query(ge=0, le=WAIT_LIMIT_SECONDS, description="Seconds to wait for the end.")] = 0,
) -> Response[str]:
    """The job, with its result when it has one."""
    job = _service().get(_client_id(), job_id, wait_seconds=_waitable(wait))
    known = app.current_event.headers.get("if-none-match")
    if known and _is_known(known, seen := _views().listed(job)):
        return Response(status_code=304, body="", headers=_hints(seen))
    return _answer(200, job)


@app.post("/jobs/<job_id>/cancel")
def cancel_job(job_id: Annotated[str, Path()]) -> Response[str]:
    """End an open job at once."""
    return _answer(200, _service().cancel(_client_id(), job_id))


@app.post("/jobs/<job_id>/retry", status_code=202)
def retry_job(job_id: Annotated[str, Path()]) -> Response[str]:
    """Begin the next run of a job that failed, was canceled or expired."""
    return _answer(202, _service().retry(_client_id(), job_id))


@app.delete("/jobs/<job_id>", status_code=204)
def delete_job(job_id: Annotated[str, Path()]) -> Response[str]:
    """Delete a job with its input and its result."""
    _service().delete(_client_id(), job_id)
    return Response(status_code=204, body="")


@app.get("/jobs/<job_id>/deliveries")
def list_deliveries(job_id: Annotated[str, Path()]) -> Response[str]:
    """What was announced of the job, and every attempt to deliver it."""
    return _json(200, _webhooks().list(_service().get(_client_id(), job_id)))


@app.post("/jobs/<job_id>/deliveries", status_code=202)
def redeliver(job_id: Annotated[str, Path()]) -> Response[str]:
    """Deliver the job's last announcement again."""
    return _json(202, _webhooks().redeliver(_service().get(_client_id(), job_id)))


@app.post("/uploads", status_code=201)
def announce_upload(request: Annotated[UploadRequest, Body()]) -> Response[str]:
    """Get a URL to upload a text or NDJSON file to, up to 20 MB."""
    return _json(201, _service().announce_upload(_client_id(), request))


@app.get("/health")
def health() -> Response[str]:
    """That the API answers, and how warm the worker is."""
    return _json(200, {"status": "ok", "version": __version__, "worker": _estimates().warmth().model_dump()})


@app.get("/openapi.json")
def specification() -> Response[str]:
    """This API, in OpenAPI 3.1."""
    return _json(200, openapi.document(_settings().public_url), {"cache-control": "public, max-age=300"})


def _answer(status: int, job: Job, headers: dict[str, str] | None = None) -> Response[str]:
    view = _views().whole(job)
    return _json(status, view.body, {**_hints(view), **(headers or {})})


def _json(status: int, document: dict[str, Any], headers: dict[str, str] | None = None) -> Response[str]:
    body = pydantic_core.to_json(document).decode()
    return Response(status_code=status, content_type=http.JSON, body=body, headers={**(headers or {})})


def _hints(view: View) -> dict[str, str]:
    hint = {} if view.retry_after_seconds is None else {"retry-after": str(view.retry_after_seconds)}
    return {"etag": view.etag, **hint}


def _is_known(if_none_match: str, view: View) -> bool:
    """Whether the client has this state already (RFC 9110, section 13.1.2: compared weakly)."""
    known = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in known or view.etag.removeprefix("W/") in known


def _key(given: str | None) -> str | None:
    if given is not None and not _KEY.fullmatch(given):
        detail = "An Idempotency-Key has 1 to 255 printable ASCII characters"
        raise InvalidRequest(detail, errors=[{"header": "Idempotency-Key", "detail": detail}])
    return given


def _waitable(seconds: int) -> float:
    """As much of a wait as leaves time to answer: the gateway waits no longer than the function may take."""
    left = app.lambda_context.get_remaining_time_in_millis() / 1000 - ANSWER_SECONDS
    return max(0, min(seconds, left))


def _preferred_wait(prefer: str | None) -> int | None:
    """The seconds of `Prefer: wait=N` (RFC 7240), as far as they can be waited; what is not understood is ignored."""
    found = _WAIT.search(prefer or "")
    return min(int(found[1]), WAIT_LIMIT_SECONDS) if found else None


@app.exception_handler(ApiError)
def _on_api_error(error: ApiError) -> Response[str]:
    return http.problem(error)


@app.exception_handler(Transient)
def _on_transient(error: Transient) -> Response[str]:
    return http.problem(http.unavailable(error))


@app.exception_handler(RequestUnsupportedContentType)
def _on_content_type(error: RequestUnsupportedContentType) -> Response[str]:  # noqa: ARG001 (the resolver's signature)
    return http.problem(UnsupportedMediaType(f"Send {http.JSON}"))


@app.exception_handler(RequestValidationError)
def _on_invalid(error: RequestValidationError) -> Response[str]:
    errors = error.errors()
    found = [one for one in errors if not _is_echo(one, errors)]
    detail = f"{len(found)} part{'s' if len(found) > 1 else ''} of the request cannot be accepted"
    return http.problem(InvalidRequest(detail, errors=[_located(one) for one in found[:ERRORS_SHOWN]]))


@app.not_found
def _on_not_found(error: Exception) -> Response[str]:  # noqa: ARG001 (the resolver's signature)
    path = app.current_event.path
    routes = app._static_routes + app._dynamic_routes
    allowed = sorted({route.method for route in routes if route.rule.match(path)})
    if not allowed:
        return http.problem(NotFound(f"There is nothing at {path[:200]}"))
    listed = ", ".join(allowed)
    return http.problem(MethodNotAllowed(f"Allowed here: {listed}", headers={"allow": listed}))


def _is_echo(error: dict[str, Any], errors: Sequence[dict[str, Any]]) -> bool:
    """Whether it only says that a list is too short, without the item that has an error of its own."""
    place = error["loc"]
    return error["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in errors
    )


def _plain(error: dict[str, Any]) -> str:
    """What is wrong, in words of JSON instead of Python's."""
    if error["type"] in {"model_type", "model_attributes_type", "dict_type"}:
        return "Input should be an object"
    detail = str(error["msg"]).removeprefix("Value error, ")
    return detail.replace("Tuple", "List", 1).replace(" after validation", "", 1)


def _located(error: dict[str, Any]) -> dict[str, str]:
    """One validation error: where (a JSON pointer into the body, RFC 6901, or a parameter's name) and why."""
    place, *path = error["loc"]
    detail = _plain(error)
    if place != "body":
        return {"parameter": ".".join(map(str, path)), "detail": detail}
    steps = (str(step).replace("~", "~0").replace("/", "~1")[:POINTER_STEP_SHOWN] for step in path)
    return {"pointer": "#" + "".join(f"/{step}" for step in steps), "detail": detail}


def _admit(event: http.Event) -> Principal | None:
    """Check what can be checked before the body is parsed: who calls, and whether the body may be read at all.

    The resolver validates bodies before anything of ours runs; an unauthenticated caller learns nothing of that.
    """
    method, path = event["requestContext"]["http"]["method"], event["rawPath"]
    if not _PATH.fullmatch(path):
        # A route's pattern would match in front of a final newline: what is not checked here is not let through.
        raise NotFound("There is nothing at this path")
    if path.split("/")[1] not in PROTECTED:
        return None
    principal = _verifier().authenticate(event["headers"].get("authorization"))
    principal.require("jobs:read" if method in {"GET", "HEAD"} else "jobs:write")
    app.context["budgets"].append(_admission().admit(principal.client_id))
    if method == "POST" and path in WITH_BODY:
        app.append_context(size=_check_body(event))
    return principal


def _check_body(event: http.Event) -> int:
    """The body's size in bytes, if it is to be read at all."""
    media_type = event["headers"].get("content-type", "").partition(";")[0].strip().lower()
    if media_type != http.JSON:
        raise UnsupportedMediaType(f"Send {http.JSON}")
    event["headers"]["content-type"] = http.JSON  # as the resolver compares it: in this case, without parameters
    size = len(http.text_body(event).encode("utf-8", "surrogatepass"))
    if size > BODY_LIMIT:
        raise BodyTooLarge(f"The body has {size:,} bytes; at most {BODY_LIMIT:,} are taken")
    if not size:
        raise MalformedBody("The body is empty")
    return size


def _resolve(event: http.Event, context: LambdaContext) -> http.Event:
    budgets: list[Budget] = []
    app.append_context(budgets=budgets)
    try:
        app.append_context(principal=_admit(event))
        response: http.Event = app.resolve(event, context)
    except ApiError as error:
        response = http.gateway_response(error)
    finally:
        app.clear_context()
    if budgets:
        response["headers"] = {**admission.headers(*budgets), **response["headers"]}
    return response


def handler(event: http.Event, context: LambdaContext) -> http.Event:
    """The function's entry point: an HTTP API event, payload 2.0."""
    return http.answer(event, lambda accepted: _resolve(accepted, context))
