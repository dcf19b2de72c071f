"""Handling of HTTP API events that all routes share: request ids, bodies, and answers to errors."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any

from shared.errors import ApiError, MalformedBody, Transient, Unavailable
from shared.log import logger

JSON = "application/json"
PROBLEM = "application/problem+json"

Event = dict[str, Any]


class InternalError(ApiError):
    """A defect of the service. The log holds it under the request id of the answer."""

    status, code, title = 500, "internal_error", "Something went wrong on our side"


def answer(event: Event, respond: Callable[[Event], Event]) -> Event:
    """Return the answer of `respond` to an HTTP API event (payload 2.0), with `x-request-id`. Never raise."""
    request_id = event["requestContext"]["requestId"]
    logger.set_correlation_id(request_id)
    try:
        response = respond(event)
    except ApiError as error:
        response = gateway_response(error)
    except Transient as error:
        response = gateway_response(unavailable(error))
    except Exception:  # noqa: BLE001 (the client must get an answer; the log keeps the traceback)
        logger.exception("Unexpected error")
        response = gateway_response(InternalError("The request failed because of a defect. Report its x-request-id."))
    response.setdefault("headers", {})["x-request-id"] = request_id
    return response


def unavailable(error: Transient) -> Unavailable:
    """Return the answer to a client when a service is throttled or unreachable. Log the reason."""
    logger.warning("A service is throttled or unreachable", reason=str(error))
    return Unavailable("A service behind the API is busy", headers={"retry-after": "1"})


def gateway_response(error: ApiError) -> Event:
    """Return `error` as a response of the gateway (RFC 9457)."""
    headers = {"content-type": PROBLEM, **error.headers}
    return {"statusCode": error.status, "headers": headers, "body": json.dumps(error.problem())}


def text_body(event: Event) -> str:
    """Return the body as text. The gateway may have encoded it as base64.

    Raises:
        MalformedBody: If the body is not UTF-8.
    """
    body: str = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return body
    try:
        return base64.b64decode(body, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise MalformedBody("The body is not UTF-8") from None
