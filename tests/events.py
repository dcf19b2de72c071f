"""Events in the form in which the AWS services send them."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace
from typing import Any, cast

from aws_lambda_powertools.utilities.typing import LambdaContext

CONTEXT = cast(
    LambdaContext,
    SimpleNamespace(
        aws_request_id="invoke-1",
        function_name="f",
        memory_limit_in_mb=512,
        invoked_function_arn="a",
        get_remaining_time_in_millis=lambda: 29_000,
    ),
)


def http_event(
    method: str,
    path: str,
    *,
    body: str | bytes | None = None,
    headers: dict[str, str] | None = None,
    query: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Return an HTTP API event (payload 2.0). A body of bytes is encoded in base64."""
    encoded = isinstance(body, bytes)
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "&".join(f"{name}={value}" for name, value in (query or {}).items()),
        "headers": {name.lower(): value for name, value in (headers or {}).items()},
        **({"queryStringParameters": query} if query else {}),
        "requestContext": {
            "http": {"method": method, "path": path, "sourceIp": "192.0.2.1", "protocol": "HTTP/1.1", "userAgent": ""},
            "requestId": "request-1",
            "stage": "$default",
            "accountId": "123456789012",
            "apiId": "api",
            "domainName": "api.example",
            "time": "01/Jan/2026:00:00:00 +0000",
            "timeEpoch": 1767225600000,
        },
        "body": base64.b64encode(body).decode() if isinstance(body, bytes) else body,
        "isBase64Encoded": encoded,
    }


def sqs_event(*messages: dict[str, Any], queue: str = "jobs") -> dict[str, Any]:
    """Return a batch as an event source mapping delivers it."""
    return {
        "Records": [
            {
                "messageId": f"m{number}",
                "receiptHandle": f"r{number}",
                "body": json.dumps(message),
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:eu-west-2:123456789012:{queue}",
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {},
            }
            for number, message in enumerate(messages)
        ]
    }
