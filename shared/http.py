"""What every function behind the HTTP API does around its routes: request ids, bodies, answers to errors."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.event_handler import Response

from shared.errors import ApiError, MalformedBody, Transient, Unavailable
from shared.log import logger

JSON = "application/json"
PROBLEM = "application/problem+json"

Event = dict[str, Any]


class InternalError(ApiError):
    """A defect of ours; the log has it under the answer's request id."""

    status, code, title = 500, "internal_error", "Something went wrong on our side"


def answer(event: Event, resolve: Callable[[Event], Event]) -> Event:
    """The answer of `resolve` to an HTTP API event (payload 2.0), with `x-request-id` and never an exception."""
    request_id = event["requestContext"]["requestId"]
    logger.set_correlation_id(request_id)
    try:
        response = resolve(event)
    except ApiError as error:
        response = gateway_response(error)
    except Transient as error:
        response = gateway_response(unavailable(error))
    except Exception:  # noqa: BLE001 (the last resort: a client gets an answer, the log the trace)
        logger.exception("An error that nobody expected")
        response = gateway_response(InternalError("The request was not handled; please report its x-request-id"))
    response.setdefault("headers", {})["x-request-id"] = request_id
    return response


def unavailable(error: Transient) -> Unavailable:
    """What a client is told when a service is busy or away; the log has the reason."""
    logger.warning("A service is busy or away", reason=str(error))
    return Unavailable("A service behind the API is busy", headers={"retry-after": "1"})


def problem(error: ApiError) -> Response[str]:
    """`error` as the resolver's response (RFC 9457)."""
    return Response(
        status_code=error.status,
        content_type=PROBLEM,
        body=json.dumps(error.problem()),
        headers={**error.headers},
    )


def gateway_response(error: ApiError) -> Event:
    """`error` as the gateway's response, for what is refused before the resolver."""
    headers = {"content-type": PROBLEM, **error.headers}
    return {"statusCode": error.status, "headers": headers, "body": json.dumps(error.problem())}


def text_body(event: Event) -> str:
    """The body as text, whichever way the gateway passed it.

    Raises:
        MalformedBody: when it is not UTF-8.
    """
    body: str = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return body
    try:
        return base64.b64decode(body, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise MalformedBody("The body is not UTF-8") from None
