"""Reading of bodies and query parameters, and the answer to invalid ones."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qsl

import pydantic_core
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from shared import http
from shared.errors import BodyTooLarge, InvalidRequest, MalformedBody, UnsupportedMediaType

BODY_LIMIT = 2_500_000  # bytes; the gateway escapes the body, and the event of an invocation may have 6 MB
NAMES_LIMIT = 1_000  # names of one object; each unknown name would be an error of its own
ERRORS_SHOWN = 20
POINTER_STEP_SHOWN = 100  # characters; a name in the body can be as long as the body

Model = TypeVar("Model", bound=BaseModel)


def read_body(event: http.Event, model: type[Model]) -> tuple[Model, int]:
    """Return the JSON body of an HTTP API event as `model`, and its size in bytes.

    Raises:
        UnsupportedMediaType: If the content type is not JSON.
        BodyTooLarge: If the body exceeds the limit.
        MalformedBody: If the body is empty or not JSON.
        InvalidRequest: If the body does not match `model`.
    """
    media_type = event["headers"].get("content-type", "").partition(";")[0].strip().lower()
    if media_type != http.JSON:
        raise UnsupportedMediaType(f"Send {http.JSON}")
    body = http.text_body(event)
    size = len(body.encode("utf-8", "surrogatepass"))
    if size > BODY_LIMIT:
        raise BodyTooLarge(f"The body has {size:,} bytes. The limit is {BODY_LIMIT:,}")
    if not size:
        raise MalformedBody("The body is empty")
    return _validate(model, _parse_json(body), place="body"), size


def read_query(event: http.Event, model: type[Model]) -> Model:
    """Return the query parameters of an HTTP API event as `model`.

    Raises:
        InvalidRequest: If a parameter does not match `model`, or is given more than once.
    """
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(event.get("rawQueryString", ""), keep_blank_values=True):
        if name in parameters and name in model.model_fields:
            detail = "The parameter is given more than once"
            raise InvalidRequest(f"`{name}`: {detail}", errors=[{"parameter": name, "detail": detail}])
        parameters[name] = value
    return _validate(model, parameters, place="query")


def _parse_json(body: str) -> Any:
    """Return the value of a JSON text (RFC 8259).

    Refuse deep nesting, numbers out of range, lone surrogates and repeated names, which parsers read differently.
    """
    try:
        pydantic_core.from_json(body, allow_inf_nan=False)
        return json.loads(body, object_pairs_hook=_make_object, parse_float=_parse_number)
    except ValueError as error:
        raise MalformedBody(f"The body is not JSON: {error}") from None


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > NAMES_LIMIT:
        raise ValueError(f"an object has more than {NAMES_LIMIT:,} names")
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name is repeated within an object")
    return names


def _parse_number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return number


def _validate(model: type[Model], value: Any, *, place: Literal["body", "query"]) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
    relevant = [one for one in errors if not _is_consequence(one, errors)]
    detail = f"{len(relevant)} part{'s' if len(relevant) > 1 else ''} of the request cannot be accepted"
    render = _render_body_error if place == "body" else _render_query_error
    raise InvalidRequest(detail, errors=[render(one) for one in relevant[:ERRORS_SHOWN]])


def _is_consequence(error: ErrorDetails, errors: Sequence[ErrorDetails]) -> bool:
    """Return whether the error only says that a list is too short because one of its items has an error of its own."""
    place = error["loc"]
    return error["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in errors
    )


def _render_body_error(error: ErrorDetails) -> dict[str, str]:
    """Return the place of an error as a JSON pointer into the body (RFC 6901), and its reason."""
    steps = (str(step).replace("~", "~0").replace("/", "~1")[:POINTER_STEP_SHOWN] for step in error["loc"])
    return {"pointer": "#" + "".join(f"/{step}" for step in steps), "detail": _explain(error)}


def _render_query_error(error: ErrorDetails) -> dict[str, str]:
    """Return the name of the parameter that has an error, and its reason."""
    return {"parameter": ".".join(map(str, error["loc"])), "detail": _explain(error)}


def _explain(error: ErrorDetails) -> str:
    """Return the reason of an error in the terms of JSON. pydantic uses the terms of Python."""
    if error["type"] in {"model_type", "model_attributes_type", "dict_type"}:
        return "Input should be an object"
    detail = error["msg"].removeprefix("Value error, ")
    return detail.replace("Tuple", "List", 1).replace(" after validation", "", 1)
