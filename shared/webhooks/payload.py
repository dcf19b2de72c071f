"""The body of a webhook, and its view in the API."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from shared.clock import format_rfc3339
from shared.jobs.job import Job
from shared.jobs.view import render_job
from shared.webhooks.delivery import Delivery, DeliveryAttempt


def render_event(job: Job, *, base_url: str) -> bytes:
    """Return the webhook event for the end of the job's run: the job without its result, as JSON."""
    view = {**render_job(job, base_url=base_url), "webhook": render_webhook(job, None)}
    data = {name: value for name, value in view.items() if value is not None}
    return to_json({"type": f"job.{job.status}", "timestamp": format_rfc3339(job.completed_at), "data": data})


def render_webhook(job: Job, delivery: Delivery | None) -> dict[str, Any] | None:
    """Return the job's webhook and the state of its delivery. The state is absent if the client wants no event."""
    if job.webhook is None:
        return None
    if delivery is not None:
        return {"url": delivery.url, "state": delivery.state, "attempts": delivery.attempt_count}
    is_expected = not job.is_terminal or job.has_webhook_for(job.status)
    return {"url": job.webhook.url, **({"state": "pending"} if is_expected else {}), "attempts": 0}


def render_delivery(delivery: Delivery) -> dict[str, Any]:
    """Return a delivery and its last attempts. A member that has no value is left out."""
    view = {
        "webhook_id": delivery.webhook_id,
        "run": delivery.run,
        "type": f"job.{delivery.status}",
        "url": delivery.url,
        "state": delivery.state,
        "created_at": format_rfc3339(delivery.created_at),
        "attempts": delivery.attempt_count,
        "next_attempt_at": format_rfc3339(delivery.next_attempt_at),
        "log": [_render_attempt(attempt) for attempt in delivery.attempts],
    }
    return {name: value for name, value in view.items() if value is not None}


def _render_attempt(attempt: DeliveryAttempt) -> dict[str, Any]:
    return {"at": format_rfc3339(attempt.at), **attempt.model_dump(exclude={"at"}, exclude_none=True)}
