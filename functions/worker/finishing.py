"""Finishing of jobs: the result or the failure is stored, and the client's webhook is notified."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any

from functions.worker.heartbeat import Heartbeat
from functions.worker.merge import Merger
from functions.worker.stores import JobStore
from functions.worker.work import Work
from shared.errors import JobError, ModelFailed, Transient
from shared.jobs.job import Job, Metrics
from shared.log import logger
from shared.webhooks.event import WebhookQueue, notify

if TYPE_CHECKING:
    from functions.worker.pipeline import Analysis


class Finisher:
    """Ends claimed jobs as succeeded or failed."""

    def __init__(self, jobs: JobStore, webhooks: WebhookQueue, clock: Callable[[], int]) -> None:
        """Store the ends in `jobs`, and send messages about them to the queue `webhooks`."""
        self._jobs = jobs
        self._webhooks = webhooks
        self._clock = clock

    def finish(self, work: Work, heartbeat: Heartbeat) -> None:
        """Store the result of a job that is not split.

        Raises:
            JobError: If the job must end as failed.
            Transient: If the outcome is unknown.
        """
        out = BytesIO()
        with Merger(out, work.ids) as merger:
            for piece, analysis in zip(work.pieces, work.analyses, strict=True):
                merger.add(piece, render_analysis(analysis))
            merger.finish()
        merger.raise_if_failed()
        heartbeat.stop(work.job)
        self.succeed(work.job, out.getvalue(), run_ms=work.run_ms, words=work.words, load_ms=work.load_ms)

    def succeed(self, job: Job, result: bytes | IO[bytes], *, run_ms: float, words: int, load_ms: int = 0) -> None:
        """End a claimed job as succeeded, unless the claim was lost.

        Raises:
            Transient: If the outcome is unknown.
        """
        now = self._clock()
        metrics = compute_metrics(job, now, run_ms=run_ms, words=words, load_ms=load_ms)
        stored = self._jobs.succeed(job, result, metrics=metrics, now=now)
        logger.info("Job succeeded" if stored else "Job lost", job=job.id, run=job.run, attempt=job.attempt)
        if stored:
            notify(self._webhooks, job, "succeeded")

    def fail(self, job: Job, error: JobError) -> None:
        """End a claimed job as failed, unless the claim was lost."""
        now = self._clock()
        try:
            stored = self._jobs.fail(job, error, metrics=compute_metrics(job, now), now=now)
        except Transient:
            logger.exception("Cannot store the failure of a job; its lease expires", job=job.id)
            return
        logger.warning("Job failed", job=job.id, code=error.code, reason=str(error))
        if stored:
            notify(self._webhooks, job, "failed")


def render_analysis(analysis: Analysis | Exception) -> dict[str, Any]:
    """Return the members that a result shows of a piece, or `{"error": …}` if the model raised an exception on it."""
    if not isinstance(analysis, Exception):
        return analysis.document
    logger.error("The model failed on a document", exc_info=analysis)
    detail = f"The model raised {type(analysis).__name__}"
    return {"error": {"code": ModelFailed.code, "title": ModelFailed.title, "detail": detail}}


def compute_metrics(job: Job, now: int, *, run_ms: float = 0, words: int = 0, load_ms: int = 0) -> Metrics:
    """Return the metrics of a run that ends at `now` (ms)."""
    return Metrics(
        queue_ms=max(0, (job.started_at or now) - job.queued_at),
        cold_start_ms=load_ms,
        run_ms=round(run_ms),
        total_ms=max(0, now - job.queued_at),
        words=words,
    )
