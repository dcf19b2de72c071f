"""The endpoints that return and repeat the webhook deliveries of a job."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from functions.submit.schema import Answer
from functions.submit.services import Services
from functions.submit.web import Request, Response
from shared.webhooks.delivery import DeliveryState


class AttemptView(Answer):
    """One attempt to deliver an event. It has the HTTP status of the receiver's answer, or an error."""

    at: datetime
    status: int | None = None
    error: str | None = None
    latency_ms: int
    excerpt: Annotated[str, Field(description="The beginning of the receiver's answer.")] = ""


class DeliveryView(Answer):
    """One webhook event of a job, with the last attempts to deliver it."""

    webhook_id: Annotated[
        str, Field(description="The value of the header `webhook-id`. It is the same in every attempt.")
    ]
    run: int
    type: str
    url: str
    state: DeliveryState
    created_at: datetime
    attempts: int
    next_attempt_at: datetime | None = None
    log: list[AttemptView]


class Deliveries(Answer):
    """The deliveries of all runs of a job, the oldest first."""

    deliveries: list[DeliveryView]


def list_deliveries(services: Services, request: Request) -> Response:
    """Return the deliveries of a job."""
    job = services.jobs.get(request.client_id, request.job_id)
    return Response(200, services.webhooks.list_deliveries(job))


def redeliver(services: Services, request: Request) -> Response:
    """Begin the last delivery of a job again and return it."""
    job = services.jobs.get(request.client_id, request.job_id)
    return Response(202, services.webhooks.redeliver(job))
