"""The OpenAPI 3.1 document of the whole API, made from the types and the errors that the code uses.

`python -m functions.submit.openapi` prints it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from functions.submit import schema
from shared import __version__, errors, http
from shared.models import AnalyzeRequest, Status, UploadRequest

_REF = "#/components/schemas/{model}"

Schema = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """One call of the API. `answers`: status → model, None for an answer without a body."""

    method: str
    path: str
    name: str
    summary: str
    answers: dict[int, type[BaseModel] | None]
    errors: Sequence[type[errors.ApiError]] = ()
    scope: str | None = None
    body: type[BaseModel] | None = None
    parameters: Sequence[Schema] = ()
    headers: dict[int, Sequence[str]] = field(default_factory=dict)
    leads_to: Sequence[str] = ()  # operations on the job that is answered


def _query(name: str, shape: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": shape, "description": description}


def _header(name: str, shape: Schema, description: str) -> Schema:
    return {"name": name, "in": "header", "required": False, "schema": shape, "description": description}


_JOB = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
_INSTANT = {"type": "string", "format": "date-time"}

_ALWAYS = (errors.Unauthorized, errors.InsufficientScope, errors.RateLimited, errors.Unavailable)
_ON_A_JOB = (*_ALWAYS, errors.NotFound, errors.Gone)
_WITH_BODY = (*_ALWAYS, errors.MalformedBody, errors.BodyTooLarge, errors.UnsupportedMediaType, errors.InvalidRequest)
_STATE = ("ETag", "Retry-After")

OPERATIONS = (
    Operation(
        "post", "/analyze", "analyze", "Queue a job.",
        scope="jobs:write", body=AnalyzeRequest, answers={202: schema.JobView, 200: schema.JobView},
        headers={202: ("Location", "Idempotency-Replayed", "Preference-Applied", *_STATE),
                 200: ("Location", "Idempotency-Replayed", "Preference-Applied", "ETag")},
        errors=(*_WITH_BODY, errors.KeyReused, errors.Gone), leads_to=("getJob", "cancelJob", "deleteJob"),
        parameters=(
            _header("Idempotency-Key", {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
                    "For 24 hours the same key and body give the same job."),
            _header("Prefer", {"type": "string", "examples": ["wait=10"]},
                    "`wait=N`: answer as soon as the job has ended, after at most N seconds, 25 at most (RFC 7240)."),
        ),
    ),
    Operation(
        "get", "/jobs", "listJobs", "The client's jobs, newest first, without their results.",
        scope="jobs:read", answers={200: schema.JobPage}, errors=(*_ALWAYS, errors.InvalidRequest),
        parameters=(
            _query("status", {"type": "string", "enum": list(get_args(Status))}, "Only jobs in this state."),
            _query("created_after", _INSTANT, "Exclusive; not in the future."),
            _query("created_before", _INSTANT, "Exclusive."),
            _query("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, "Jobs of a page."),
            _query("cursor", {"type": "string", "maxLength": 100}, "A page's `next_cursor`."),
        ),
    ),
    Operation(
        "get", "/jobs/{id}", "getJob", "The job, with its result when it has one.",
        scope="jobs:read", answers={200: schema.JobView, 304: None}, headers={200: _STATE, 304: _STATE},
        errors=(*_ON_A_JOB, errors.InvalidRequest),
        parameters=(
            _JOB,
            _query("wait", {"type": "integer", "minimum": 0, "maximum": 25, "default": 0},
                   "Seconds to wait for the job's end."),
            _header("If-None-Match", {"type": "string"}, "ETags that the client has; 304 when one is still true."),
        ),
    ),
    Operation(
        "delete", "/jobs/{id}", "deleteJob", "Delete a job with its input and its result; it is canceled if open.",
        scope="jobs:write", answers={204: None}, errors=_ON_A_JOB, parameters=(_JOB,),
    ),
    Operation(
        "post", "/jobs/{id}/cancel", "cancelJob", "End an open job at once.",
        scope="jobs:write", answers={200: schema.JobView}, headers={200: ("ETag",)}, leads_to=("retryJob", "deleteJob"),
        errors=(*_ON_A_JOB, errors.Conflict), parameters=(_JOB,),
    ),
    Operation(
        "post", "/jobs/{id}/retry", "retryJob", "Begin the next run of a job that failed, was canceled or expired.",
        scope="jobs:write", answers={202: schema.JobView}, headers={202: _STATE},
        errors=(*_ON_A_JOB, errors.Conflict), parameters=(_JOB,),
    ),
    Operation(
        "get", "/jobs/{id}/deliveries", "listDeliveries", "What was announced of the job, and how that went.",
        scope="jobs:read", answers={200: schema.Deliveries}, errors=_ON_A_JOB, parameters=(_JOB,),
    ),
    Operation(
        "post", "/jobs/{id}/deliveries", "redeliver", "Deliver the job's last announcement again, under its own id.",
        scope="jobs:write", answers={202: schema.DeliveryView}, errors=(*_ON_A_JOB, errors.Conflict),
        parameters=(_JOB,),
    ),
    Operation(
        "post", "/uploads", "announceUpload", "Get a URL to upload a text or NDJSON file to, up to 20 MB.",
        scope="jobs:write", body=UploadRequest, answers={201: schema.UploadView}, errors=_WITH_BODY,
    ),
    Operation("get", "/health", "health", "That the API answers, and how warm the worker is.",
              answers={200: schema.Health}),
)  # fmt: skip

_HEADERS = {
    "Location": ("The job.", {"type": "string", "format": "uri"}),
    "Retry-After": ("Seconds after which it is worth to ask again.", {"type": "integer", "minimum": 1}),
    "ETag": ("Of this state of the job; weak.", {"type": "string"}),
    "Idempotency-Replayed": ("`true` when an earlier request made the job.", {"const": "true"}),
    "Preference-Applied": ("The `wait` that was applied.", {"type": "string"}),
    "RateLimit": ("What is left (draft-ietf-httpapi-ratelimit-headers).", {"type": "string"}),
    "RateLimit-Policy": ("The client's limits.", {"type": "string"}),
    "WWW-Authenticate": ("RFC 6750, section 3.", {"type": "string"}),
    "Allow": ("The methods that are allowed.", {"type": "string"}),
    "x-request-id": ("Names this request in our logs.", {"type": "string"}),
}

_ERROR_HEADERS: dict[type[errors.ApiError], Sequence[str]] = {
    errors.Unauthorized: ("WWW-Authenticate",),
    errors.InsufficientScope: ("WWW-Authenticate",),
    errors.RateLimited: ("Retry-After",),
    errors.Unavailable: ("Retry-After",),
}

_EXAMPLES: dict[type[BaseModel], list[Schema]] = {
    AnalyzeRequest: [
        {"text": "Ada Lovelace lived in London.", "features": ["ents", "sents"], "metadata": {"source": "letters"}},
        {"documents": [{"id": "a", "text": "Ada lived in London."}, {"text": "Charles did, too."}]},
    ],
    UploadRequest: [{"content_type": "text/plain", "size": 3_000_000}],
}


@cache
def document(base_url: str) -> Schema:
    """The document of an API at `base_url`."""
    paths: Schema = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    paths["/oauth/token"] = {"post": _token_operation()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Samovar",
            "version": __version__,
            "summary": "An asynchronous NLP job API whose worker is warm by the time the first job arrives.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": base_url}],
        "paths": paths,
        "components": {"schemas": _schemas(), "headers": _headers(), "securitySchemes": _security(base_url)},
    }


def _operation(operation: Operation) -> Schema:
    answers = {
        str(status): _answer(operation, status, model, ("x-request-id", *operation.headers.get(status, ())))
        for status, model in operation.answers.items()
    }
    body = {"requestBody": {"required": True, "content": _content(operation.body)}} if operation.body else {}
    security = [{"oauth2": [operation.scope]}] if operation.scope else []
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "security": security,
        "parameters": list(operation.parameters),
        **body,
        "responses": {**answers, **_problems(operation.errors)},
    }


def _answer(operation: Operation, status: int, model: type[BaseModel] | None, headers: Sequence[str]) -> Schema:
    limits = ("RateLimit", "RateLimit-Policy") if operation.scope else ()
    described = (model.__doc__ or "").strip() if model else {304: "Nothing has changed.", 204: "Done."}[status]
    answer: Schema = {"description": described, "headers": _header_refs((*headers, *limits))}
    links = {name: {"operationId": name, "parameters": {"id": "$response.body#/id"}} for name in operation.leads_to}
    answer |= {"links": links} if links else {}
    return {**answer, "content": _content(model)} if model else answer


def _problems(kinds: Sequence[type[errors.ApiError]]) -> Schema:
    """One answer per status; errors that share one are told apart by `code`."""
    by_status: dict[int, list[type[errors.ApiError]]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {str(status): _problem(by_status[status]) for status in sorted(by_status)}


def _problem(kinds: Sequence[type[errors.ApiError]]) -> Schema:
    examples = {kind.code: {"value": kind("…").problem(), "summary": kind.title} for kind in kinds}
    headers = dict.fromkeys(["x-request-id", *(name for kind in kinds for name in _ERROR_HEADERS.get(kind, ()))])
    return {
        "description": "; ".join(f"`{kind.code}`: {kind.title}" for kind in kinds),
        "headers": _header_refs(tuple(headers)),
        "content": {http.PROBLEM: {"schema": _reference(schema.Problem), "examples": examples}},
    }


def _token_operation() -> Schema:
    """The token endpoint, which the function `auth` answers (RFC 6749, section 4.4)."""
    fields = {name: {"type": "string"} for name in ("scope", "client_id", "client_secret")}
    form = {
        "type": "object",
        "properties": {"grant_type": {"const": "client_credentials"}, **fields},
        "required": ["grant_type"],
    }
    refusal = {"description": "RFC 6749, section 5.2.", "content": _content(schema.TokenError)}
    return {
        "operationId": "token",
        "summary": "An access token; the client's credentials as HTTP Basic, or in the form.",
        "security": [{"basic": []}, {}],
        "requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}},
        "responses": {
            "200": {"description": (schema.TokenGrant.__doc__ or "").strip(), "content": _content(schema.TokenGrant)},
            **{str(status): refusal for status in (400, 401, 503)},
        },
    }


def _content(model: type[BaseModel]) -> Schema:
    examples = {str(number): {"value": value} for number, value in enumerate(_EXAMPLES.get(model, []), start=1)}
    return {http.JSON: {"schema": _reference(model), **({"examples": examples} if examples else {})}}


def _reference(model: type[BaseModel]) -> Schema:
    return {"$ref": _REF.format(model=model.__name__)}


def _header_refs(names: Sequence[str]) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _headers() -> Schema:
    return {name: {"description": text, "schema": shape} for name, (text, shape) in _HEADERS.items()}


def _security(base_url: str) -> Schema:
    scopes = {"jobs:write": "Submit, cancel, retry and delete jobs.", "jobs:read": "See jobs and their results."}
    flow = {"tokenUrl": f"{base_url}/oauth/token", "scopes": scopes}
    return {
        "oauth2": {"type": "oauth2", "flows": {"clientCredentials": flow}},
        "basic": {"type": "http", "scheme": "basic"},
    }


def _schemas() -> Schema:
    given: list[type[BaseModel]] = [AnalyzeRequest, UploadRequest]
    answered: list[type[BaseModel]] = [
        schema.JobView, schema.JobPage, schema.Deliveries, schema.DeliveryView,
        schema.UploadView, schema.Health, schema.TokenGrant, schema.TokenError,
        schema.Problem,
    ]  # fmt: skip
    _, definitions = models_json_schema(
        [*((model, "validation") for model in given), *((model, "serialization") for model in answered)],
        by_alias=True,
        ref_template=_REF,
    )
    schemas: Schema = definitions["$defs"]
    return schemas


if __name__ == "__main__":
    sys.stdout.write(json.dumps(document("https://api.example"), indent=2, ensure_ascii=False) + "\n")
