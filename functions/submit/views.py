"""Jobs as the API shows them; `schema.py` says the same as types."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from functions.submit.estimates import Estimate
from shared import aws
from shared.errors import NotFound
from shared.models import Job, Progress, Split
from shared.views import job_view

RESULT_URL_SECONDS = 900
_URL_RENEWED_MS = 600_000


class Jobs(Protocol):
    """Where jobs are kept."""

    def result(self, job: Job) -> bytes:
        """The result kept beside the job, as JSON."""

    def progress(self, job: Job) -> Split | None:
        """How far the job's shards are."""


class Objects(Protocol):
    """Where big results are."""

    def presigned_get(self, key: str, *, seconds: int) -> str:
        """A URL that reads `key` for `seconds`."""


class Estimates(Protocol):
    """When jobs will be done."""

    def of(self, job: Job, progress: Progress) -> Estimate:
        """The estimate for an open job."""


class Webhooks(Protocol):
    """What is told of jobs' webhooks."""

    def view(self, job: Job) -> dict[str, Any] | None:
        """The job's webhook, and how far the announcement of its end is."""


@dataclass(frozen=True)
class View:
    """What is shown of a job, what tells this state from others, and when it is worth to ask again."""

    body: dict[str, Any]
    etag: str
    retry_after_seconds: int | None


@dataclass(frozen=True)
class Views:
    """Shows jobs, with what belongs to them."""

    jobs: Jobs
    objects: Objects
    estimates: Estimates
    webhooks: Webhooks
    base_url: str
    now: Callable[[], int]

    def whole(self, job: Job) -> View:
        """The job with its result, or the URL of it.

        Raises:
            NotFound: when the result is gone before its time.
            Transient: when the result cannot be read now.
        """
        view = self.listed(job)
        return View({**view.body, **self._result(job)}, view.etag, view.retry_after_seconds)

    def listed(self, job: Job) -> View:
        """The job without its result.

        Raises:
            Transient: when its progress cannot be read now.
        """
        progress = self._progress(job)
        estimate = None if job.is_terminal else self.estimates.of(job, progress)
        shown = {
            **job_view(job, base_url=self.base_url),
            "status_reason": estimate.reason if estimate else None,
            "eta_seconds": estimate.eta_seconds if estimate else None,
            "progress": progress.model_dump(),
            "webhook": self.webhooks.view(job),
        }
        body = {name: value for name, value in shown.items() if value is not None}
        return View(body, self._etag(job, body), estimate.retry_after_seconds if estimate else None)

    def _etag(self, job: Job, body: dict[str, Any]) -> str:
        """A weak one (RFC 9110, section 8.8.3): estimates may differ, and URLs of the same result do.

        It changes before such a URL ends, so that a 304 never leaves a client with a dead one.
        """
        state = {name: value for name, value in body.items() if name not in {"status_reason", "eta_seconds"}}
        state["result"] = self._has_result(job) and (self.now() // _URL_RENEWED_MS if job.result_key else True)
        return f'W/"{hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]}"'

    def _progress(self, job: Job) -> Progress:
        split = None if job.is_terminal else self.jobs.progress(job)
        return Progress(done=len(split.done), total=split.total) if split else job.progress

    def _has_result(self, job: Job) -> bool:
        return bool(job.result_key or job.result_part) and self.now() < job.result_expires_at

    def _result(self, job: Job) -> dict[str, Any]:
        if not self._has_result(job):
            return {}
        if job.result_key:
            left = (job.result_expires_at - self.now()) // 1000
            seconds = max(1, min(RESULT_URL_SECONDS, left))
            return {"result_url": self.objects.presigned_get(job.result_key, seconds=seconds)}
        try:
            return {"result": json.loads(self.jobs.result(job))}
        except aws.Missing:
            raise NotFound("The result of this job has expired") from None
