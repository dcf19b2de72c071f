"""The endpoints that describe the service itself. They need no token."""

from __future__ import annotations

from typing import Literal

from functions.submit.schema import Answer
from functions.submit.services import Services
from functions.submit.web import Request, Response
from shared import __version__
from shared.warmup.records import Warmth


class Health(Answer):
    """The state of the service, and how warm the worker is."""

    status: Literal["ok"]
    version: str
    worker: Warmth


def get_health(services: Services, request: Request) -> Response:  # noqa: ARG001 (the signature of handlers)
    """Return the version of the service and how warm the worker is."""
    return Response(
        200, {"status": "ok", "version": __version__, "worker": services.estimates.estimate_warmth().model_dump()}
    )


def get_specification(services: Services, request: Request) -> Response:  # noqa: ARG001 (the signature of handlers)
    """Return the OpenAPI document."""
    return Response(200, services.describe_api(), {"cache-control": "public, max-age=300"})
