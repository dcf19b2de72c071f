"""A job as clients see it, in answers of the API and in webhooks."""

from __future__ import annotations

from typing import Any

from shared.clock import format_rfc3339
from shared.jobs.job import Job

# The links of a job: name → path below the URL of the job.
LINKS = {
    "self": "",
    "cancel": "/cancel",
    "retry": "/retry",
    "input": "/input",
    "deliveries": "/deliveries",
}


def render_job(job: Job, *, base_url: str) -> dict[str, Any]:
    """Return the job as a JSON object without its result. A member that has no value is None."""
    url = f"{base_url}/jobs/{job.id}"
    return {
        "id": job.id,
        "status": job.status,
        "created_at": format_rfc3339(job.created_at),
        "started_at": format_rfc3339(job.started_at),
        "completed_at": format_rfc3339(job.completed_at),
        "deadline": format_rfc3339(job.deadline),
        "expires_at": format_rfc3339(job.expires_at * 1000),
        "result_expires_at": format_rfc3339(job.result_expires_at) if job.status == "succeeded" else None,
        "run": job.run,
        "attempt": job.attempt,
        "model": job.model.model_dump(),
        "features": job.features,
        "metadata": job.metadata,
        "progress": job.progress.model_dump(),
        "error": job.failure.model_dump() if job.failure else None,
        "metrics": job.metrics.model_dump(exclude_none=True),
        "links": {name: f"{url}{path}" for name, path in LINKS.items()},
    }
