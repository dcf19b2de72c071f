"""In-memory stand-ins for the services, held to the real ones' behaviour by one contract test (test_store.py)."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from shared import aws
from shared.errors import InputMissing, JobError
from shared.models import Failure, Job, Message, Metrics, Progress
from shared.store import ATTEMPTS_LIMIT, LEASE_MS


@dataclass
class MemoryJobs:
    """`shared.store.JobStore` without a table."""

    jobs: dict[str, Job] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    payloads: dict[str, bytes] = field(default_factory=dict)
    results: dict[tuple[str, str], bytes] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def create(self, job: Job, payload: bytes) -> None:
        self.payloads[job.id] = payload
        self.jobs[job.id] = job.model_copy(update={"due_at": job.created_at + 60_000, "due_slot": 0})

    def get(self, job_id: str, *, now: int) -> Job | None:
        job = self.jobs.get(job_id)
        return job if job is not None and job.expires_at * 1000 > now else None

    def payload(self, job: Job) -> bytes:
        if job.id not in self.payloads:
            raise InputMissing("The input of this job cannot be read back")
        return self.payloads[job.id]

    def result(self, job: Job) -> bytes:
        if (job.id, job.result_part or "") not in self.results:
            raise aws.Missing(job.id)
        return self.results[job.id, job.result_part or ""]

    def claim(self, message: Message, *, owner: str, now: int) -> Job | None:
        with self._lock:
            job = self.jobs.get(message.job)
            if job is None:
                return None
            if self.owners.get(job.id) == owner:
                return job
            free = job.status == "queued" or (job.status == "running" and (job.lease or 0) < now)
            if not free or job.run != message.run or job.attempt >= ATTEMPTS_LIMIT:
                return None
            self.owners[job.id] = owner
            started_at = job.started_at or now
            return self._change(
                job, status="running", attempt=job.attempt + 1, lease=now + LEASE_MS, started_at=started_at
            )

    def release(self, job: Job) -> bool:
        with self._lock:
            if not self._is_mine(job):
                return False
            self.owners.pop(job.id, None)
            self._change(self.jobs[job.id], status="queued", lease=None)
            return True

    def succeed(self, job: Job, result: bytes, *, metrics: Metrics, now: int) -> bool:
        part = f"result#{job.run}.{job.attempt}"
        self.results[job.id, part] = result
        done = Progress(done=job.progress.total, total=job.progress.total)
        return self._finish(job, status="succeeded", result_part=part, metrics=metrics, progress=done, completed_at=now)

    def fail(self, job: Job, error: JobError, *, metrics: Metrics, now: int) -> bool:
        failure = Failure(code=error.code, title=error.title, detail=str(error), retryable=error.retryable)
        return self._finish(job, status="failed", failure=failure, metrics=metrics, completed_at=now)

    def _finish(self, job: Job, **changes: object) -> bool:
        with self._lock:
            if not self._is_mine(job):
                return False
            self.owners.pop(job.id, None)
            self._change(self.jobs[job.id], lease=None, due_at=None, due_slot=None, **changes)
            return True

    def _is_mine(self, job: Job) -> bool:
        kept = self.jobs.get(job.id)
        return kept is not None and (kept.run, kept.attempt, kept.status) == (job.run, job.attempt, "running")

    def _change(self, job: Job, **changes: object) -> Job:
        self.jobs[job.id] = job.model_copy(update=changes)
        return self.jobs[job.id]


@dataclass
class MemoryLane:
    """`shared.queues.Lane` as a list."""

    sent: list[tuple[Message, str]] = field(default_factory=list)

    def send(self, message: Message, *, client_id: str, delay_seconds: int = 0) -> None:
        self.sent.append((message, client_id))


class MemoryResults:
    """`shared.blobs.Blobs`, only for what the API asks of it."""

    def presigned_get(self, key: str, *, seconds: int) -> str:
        return f"https://results.example/{key}?seconds={seconds}"
