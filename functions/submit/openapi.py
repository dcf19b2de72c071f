"""The OpenAPI 3.1 document of the whole API, made from the table of routes.

`python -m functions.submit.openapi` prints it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from functions.submit.requests import Query
from functions.submit.routes import PUBLIC, ROUTES, Returns, Route
from functions.submit.schema import Problem, TokenError, TokenGrant
from shared import __version__, errors, http

Schema = dict[str, Any]

_REF = "#/components/schemas/{model}"
_JOB_ID: Schema = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}

_TOKEN_ERRORS = (errors.Unauthorized, errors.InsufficientScope, errors.RateLimited, errors.Unavailable)
_BODY_ERRORS = (errors.MalformedBody, errors.BodyTooLarge, errors.UnsupportedMediaType, errors.InvalidRequest)
_JOB_ERRORS = (errors.NotFound, errors.Gone)

_HEADERS = {
    "Location": ("The URL of the job.", {"type": "string", "format": "uri"}),
    "Retry-After": ("Seconds after which the client should ask again.", {"type": "integer", "minimum": 1}),
    "ETag": ("A weak ETag of the job's present state.", {"type": "string"}),
    "Idempotency-Replayed": ("`true` if an earlier request created the job.", {"const": "true"}),
    "Preference-Applied": ("The `wait` that was applied.", {"type": "string"}),
    "RateLimit": ("The remaining quotas (draft-ietf-httpapi-ratelimit-headers).", {"type": "string"}),
    "RateLimit-Policy": ("The client's quotas.", {"type": "string"}),
    "WWW-Authenticate": ("The challenge (RFC 6750, section 3).", {"type": "string"}),
    "Allow": ("The methods that are allowed.", {"type": "string"}),
    "x-request-id": ("The id of this request in the logs of the service.", {"type": "string"}),
}

_ERROR_HEADERS: dict[type[errors.ApiError], Sequence[str]] = {
    errors.Unauthorized: ("WWW-Authenticate",),
    errors.InsufficientScope: ("WWW-Authenticate",),
    errors.RateLimited: ("Retry-After",),
    errors.Unavailable: ("Retry-After",),
}


@dataclass(frozen=True)
class Specification:
    """The description of the API at `base_url`."""

    base_url: str

    def document(self) -> Mapping[str, Any]:
        """Return the OpenAPI document. It is made at the first call."""
        return self._document

    @cached_property
    def _document(self) -> Schema:
        paths: dict[str, Schema] = {"/oauth/token": {"post": _describe_token_operation()}}
        for route in ROUTES:
            if route.is_described:
                paths.setdefault(route.path, {})[route.method.lower()] = _describe_operation(route)
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "Samovar",
                "version": __version__,
                "summary": "An asynchronous NLP job API whose worker is warm by the time the first job arrives.",
                "license": {"name": "MIT", "identifier": "MIT"},
            },
            "servers": [{"url": self.base_url}],
            "paths": paths,
            "components": {
                "schemas": _collect_schemas(),
                "headers": {name: {"description": text, "schema": shape} for name, (text, shape) in _HEADERS.items()},
                "securitySchemes": _describe_security(self.base_url),
            },
        }


# Operations


def _describe_operation(route: Route) -> Schema:
    content = _describe_content(route.body, route.body.examples) if route.body else None
    return {
        "operationId": route.operation_id,
        "summary": route.summary,
        "security": [] if route.scope is PUBLIC else [{"oauth2": [route.scope]}],
        "parameters": list(_describe_parameters(route)),
        **({"requestBody": {"required": True, "content": content}} if content else {}),
        "responses": {
            **{str(status): _describe_answer(route, returns) for status, returns in route.answers.items()},
            **_describe_problems(_list_errors(route)),
        },
    }


def _describe_parameters(route: Route) -> Iterator[Schema]:
    if route.names_job:
        yield _JOB_ID
    if route.query:
        yield from _describe_query(route.query)
    for header in route.headers:
        yield {"in": "header", "required": False, **header}


def _describe_query(model: type[Query]) -> Iterator[Schema]:
    for name, described in model.model_json_schema()["properties"].items():
        # An optional parameter is absent, never null.
        options = [option for option in described.get("anyOf", []) if option != {"type": "null"}]
        shape = {**described, **(options[0] if options else {})}
        left_out = {"anyOf", "title", "description"} | ({"default"} if shape.get("default") is None else set())
        yield {
            "name": name,
            "in": "query",
            "required": False,
            "schema": {key: value for key, value in shape.items() if key not in left_out},
            "description": described["description"],
        }


def _list_errors(route: Route) -> list[type[errors.ApiError]]:
    """Return the errors of a route: those that follow from its fields, then its own."""
    kinds: list[type[errors.ApiError]] = []
    kinds += [] if route.scope is PUBLIC else _TOKEN_ERRORS
    kinds += _JOB_ERRORS if route.names_job else ()
    kinds += _BODY_ERRORS if route.body else ()
    kinds += [errors.InvalidRequest] if route.query else []
    return list(dict.fromkeys([*kinds, *route.errors]))


def _describe_answer(route: Route, returns: Returns) -> Schema:
    quotas = () if route.scope is PUBLIC else ("RateLimit", "RateLimit-Policy")
    answer: Schema = {
        "description": _get_description(returns.model) if returns.model else returns.description,
        "headers": _refer_to_headers(("x-request-id", *returns.headers, *quotas)),
    }
    if route.leads_to:
        links = {name: {"operationId": name, "parameters": {"id": "$response.body#/id"}} for name in route.leads_to}
        answer["links"] = links
    return {**answer, "content": _describe_content(returns.model)} if returns.model else answer


def _describe_problems(kinds: Sequence[type[errors.ApiError]]) -> Schema:
    """Return one answer per status. Errors with the same status differ in their `code`."""
    by_status: dict[int, list[type[errors.ApiError]]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {str(status): _describe_problem(by_status[status]) for status in sorted(by_status)}


def _describe_problem(kinds: Sequence[type[errors.ApiError]]) -> Schema:
    examples = {kind.code: {"value": kind("…").problem(), "summary": kind.title} for kind in kinds}
    headers = dict.fromkeys(["x-request-id", *(name for kind in kinds for name in _ERROR_HEADERS.get(kind, ()))])
    return {
        "description": "; ".join(f"`{kind.code}`: {kind.title}" for kind in kinds),
        "headers": _refer_to_headers(tuple(headers)),
        "content": {http.PROBLEM: {"schema": _refer_to(Problem), "examples": examples}},
    }


def _describe_token_operation() -> Schema:
    """Return the token endpoint, which the function `auth` serves (RFC 6749, section 4.4)."""
    fields = {name: {"type": "string"} for name in ("scope", "client_id", "client_secret")}
    form = {
        "type": "object",
        "properties": {"grant_type": {"const": "client_credentials"}, **fields},
        "required": ["grant_type"],
    }
    refusal = {"description": "An error (RFC 6749, section 5.2).", "content": _describe_content(TokenError)}
    return {
        "operationId": "token",
        "summary": "Get an access token. Send the client's credentials as HTTP Basic or in the form.",
        "security": [{"basic": []}, {}],
        "requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}},
        "responses": {
            "200": {"description": _get_description(TokenGrant), "content": _describe_content(TokenGrant)},
            **{str(status): refusal for status in (400, 401, 503)},
        },
    }


# Components


def _collect_schemas() -> Schema:
    bodies: set[type[BaseModel]] = {route.body for route in ROUTES if route.body}
    answers = {returns.model for route in ROUTES for returns in route.answers.values() if returns.model}
    answers |= {TokenGrant, TokenError, Problem}
    models: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = []
    models += [(model, "validation") for model in sorted(bodies, key=_get_name)]
    models += [(model, "serialization") for model in sorted(answers, key=_get_name)]
    _, definitions = models_json_schema(models, by_alias=True, ref_template=_REF)
    schemas: Schema = definitions["$defs"]
    return schemas


def _describe_security(base_url: str) -> Schema:
    scopes = {"jobs:write": "Submit, cancel, retry and delete jobs.", "jobs:read": "Read jobs and their results."}
    flow = {"tokenUrl": f"{base_url}/oauth/token", "scopes": scopes}
    return {
        "oauth2": {"type": "oauth2", "flows": {"clientCredentials": flow}},
        "basic": {"type": "http", "scheme": "basic"},
    }


def _describe_content(model: type[BaseModel], examples: Sequence[Schema] = ()) -> Schema:
    named = {str(number): {"value": value} for number, value in enumerate(examples, start=1)}
    return {http.JSON: {"schema": _refer_to(model), **({"examples": named} if named else {})}}


def _refer_to(model: type[BaseModel]) -> Schema:
    return {"$ref": _REF.format(model=_get_name(model))}


def _refer_to_headers(names: Sequence[str]) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _get_description(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip()


def _get_name(model: type[BaseModel]) -> str:
    return model.__name__


if __name__ == "__main__":
    document = Specification("https://api.example").document()
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
