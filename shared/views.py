"""Stored things as clients see them: the job of an answer is the job of a webhook."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from shared.models import Delivery, DeliveryAttempt, Job


def job_view(job: Job, *, base_url: str) -> dict[str, Any]:
    """The job without its result; what has no value is None."""
    url = f"{base_url}/jobs/{job.id}"
    return {
        "id": job.id,
        "status": job.status,
        "created_at": rfc3339(job.created_at),
        "started_at": rfc3339(job.started_at),
        "completed_at": rfc3339(job.completed_at),
        "deadline": rfc3339(job.deadline),
        "expires_at": rfc3339(job.expires_at * 1000),
        "result_expires_at": rfc3339(job.result_expires_at) if job.status == "succeeded" else None,
        "run": job.run,
        "attempt": job.attempt,
        "model": job.model.model_dump(),
        "features": job.features,
        "metadata": job.metadata,
        "progress": job.progress.model_dump(),
        "error": job.failure.model_dump() if job.failure else None,
        "metrics": job.metrics.model_dump(exclude_none=True),
        "links": {
            "self": url,
            "cancel": f"{url}/cancel",
            "retry": f"{url}/retry",
            "deliveries": f"{url}/deliveries",
        },
    }


def webhook_view(job: Job, delivery: Delivery | None) -> dict[str, Any] | None:
    """The job's webhook and how far the delivery of its run's end is; no `state` after an end that nobody asked for."""
    if job.webhook is None:
        return None
    if delivery is not None:
        return {"url": delivery.url, "state": delivery.state, "attempts": delivery.made}
    wanted = not job.is_terminal or job.announces(job.status)
    return {"url": job.webhook.url, **({"state": "pending"} if wanted else {}), "attempts": 0}


def announcement(job: Job, *, base_url: str) -> bytes:
    """What a webhook says of a run that has ended: the job without its result, as JSON."""
    view = {**job_view(job, base_url=base_url), "webhook": webhook_view(job, None)}
    data = {name: value for name, value in view.items() if value is not None}
    return to_json({"type": f"job.{job.status}", "timestamp": rfc3339(job.completed_at), "data": data})


def delivery_view(delivery: Delivery) -> dict[str, Any]:
    """A delivery and its last attempts; what has no value is missing."""
    shown = {
        "webhook_id": delivery.name,
        "run": delivery.run,
        "type": f"job.{delivery.status}",
        "url": delivery.url,
        "state": delivery.state,
        "created_at": rfc3339(delivery.created_at),
        "attempts": delivery.made,
        "next_attempt_at": rfc3339(delivery.next_at),
        "log": [_attempt_view(attempt) for attempt in delivery.attempts],
    }
    return {name: value for name, value in shown.items() if value is not None}


def _attempt_view(attempt: DeliveryAttempt) -> dict[str, Any]:
    return {"at": rfc3339(attempt.at), **attempt.model_dump(exclude={"at"}, exclude_none=True)}


def rfc3339(milliseconds: int | None) -> str | None:
    """A time in UTC, to the millisecond (RFC 3339)."""
    if milliseconds is None:
        return None
    instant = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
