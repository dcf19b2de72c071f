"""Jobs as the API returns them. `JobView` in `schema.py` describes the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from functions.submit.estimates import Estimates
from functions.submit.webhooks import Webhooks
from shared.aws.blobs import Blobs
from shared.aws.client import Missing
from shared.errors import NotFound
from shared.jobs.job import Job, Progress
from shared.jobs.shards import ShardStore
from shared.jobs.store import JobStore
from shared.jobs.view import render_job

RESULT_URL_SECONDS = 900
ETAG_MS = 600_000  # the ETag of a job with a result URL changes so often: before the URL expires


@dataclass(frozen=True)
class RenderedJob:
    """A job as JSON, the ETag of its state, and the seconds after which the client should ask again."""

    body: dict[str, Any]
    etag: str
    retry_after_seconds: int | None


@dataclass(frozen=True)
class Views:
    """Renders jobs. Collects their progress, estimate, result and webhook."""

    store: JobStore
    shards: ShardStore
    blobs: Blobs
    estimates: Estimates
    webhooks: Webhooks
    base_url: str
    now: Callable[[], int]

    def render(self, job: Job) -> RenderedJob:
        """Return the job with its result or the URL of its result.

        Raises:
            NotFound: If the result is gone too early.
            Transient: If the result or the progress cannot be read.
        """
        rendered = self.render_without_result(job)
        body = {**rendered.body, **self._read_result(job)}
        return RenderedJob(body, rendered.etag, rendered.retry_after_seconds)

    def render_without_result(self, job: Job) -> RenderedJob:
        """Return the job without its result.

        Raises:
            Transient: If the progress cannot be read.
        """
        progress = self._read_progress(job)
        estimate = None if job.is_terminal else self.estimates.estimate(job, progress)
        members = {
            **render_job(job, base_url=self.base_url),
            "status_reason": estimate.reason if estimate else None,
            "eta_seconds": estimate.eta_seconds if estimate else None,
            "progress": progress.model_dump(),
            "webhook": self.webhooks.render(job),
        }
        body = {name: value for name, value in members.items() if value is not None}
        return RenderedJob(body, self._compute_etag(job, body), estimate.retry_after_seconds if estimate else None)

    def _compute_etag(self, job: Job, body: dict[str, Any]) -> str:
        """Return a weak ETag (RFC 9110, section 8.8.3): answers with the same one may differ in estimates and URLs."""
        state = {name: value for name, value in body.items() if name not in {"status_reason", "eta_seconds"}}
        # A client that gets a 304 keeps the URL of an earlier answer, so that URL must still work.
        state["result"] = self._has_result(job) and (self.now() // ETAG_MS if job.result_key else True)
        return f'W/"{hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]}"'

    def _read_progress(self, job: Job) -> Progress:
        split = None if job.is_terminal else self.shards.get_split(job)
        return Progress(done=len(split.done), total=split.total) if split else job.progress

    def _has_result(self, job: Job) -> bool:
        return bool(job.result_key or job.result_part) and self.now() < job.result_expires_at

    def _read_result(self, job: Job) -> dict[str, Any]:
        if not self._has_result(job):
            return {}
        if job.result_key:
            left = (job.result_expires_at - self.now()) // 1000
            seconds = max(1, min(RESULT_URL_SECONDS, left))
            return {"result_url": self.blobs.presign_get(job.result_key, seconds=seconds)}
        try:
            return {"result": json.loads(self.store.read_result(job))}
        except Missing:
            raise NotFound("The result of this job has expired") from None
