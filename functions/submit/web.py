"""The request that the handler of a route receives, and the response that it returns."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from functions.submit.admission import Caller
from shared import http

ANSWER_SECONDS = 3  # a request that waits ends so long before the function's time-out
TEXT_BYTES_LIMIT = 1_000_000  # a longer body is sent in base64


@dataclass(frozen=True)
class Request:
    """An admitted request.

    `caller` is empty on a public route. `body` and `query` are instances of the models that the route names.
    """

    caller: Caller
    headers: Mapping[str, str]  # by names in lower case
    remaining_ms: Callable[[], int]  # time that is left for the invocation
    job_id: str = ""  # the `{id}` of the path
    query: Any = None
    body: Any = None
    body_bytes: int = 0

    @property
    def client_id(self) -> str:
        """Return the id of the client."""
        return self.caller.client_id

    def limit_wait(self, seconds: int) -> float:
        """Return `seconds`, limited so that the function can still answer in time."""
        return max(0, min(seconds, self.remaining_ms() / 1000 - ANSWER_SECONDS))


@dataclass(frozen=True)
class Response:
    """A response with a JSON document as its body, or with no body if `document` is None."""

    status: int
    document: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_gateway(self) -> http.Event:
        """Return the response in the form that the gateway expects (payload 2.0)."""
        if self.document is None:
            return {"statusCode": self.status, "headers": {**self.headers}, "body": ""}
        body = to_json(self.document)
        # The runtime escapes text, to three times its length at worst, and Lambda limits an answer to 6 MB.
        is_encoded = len(body) > TEXT_BYTES_LIMIT
        return {
            "statusCode": self.status,
            "headers": {"content-type": http.JSON, **self.headers},
            "body": (base64.b64encode(body) if is_encoded else body).decode(),
            "isBase64Encoded": is_encoded,
        }
