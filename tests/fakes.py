"""In-memory fakes of the stores and queues. tests/integration/test_store.py holds them to the real ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

from pydantic import BaseModel

from shared.aws.client import Missing
from shared.errors import InputMissing, JobError
from shared.jobs.job import Job, Metrics, Progress, Split, Status
from shared.jobs.latency import QueueLatency
from shared.jobs.message import JobMessage
from shared.jobs.store import ATTEMPTS_LIMIT, LEASE_MS, MERGE_ATTEMPTS_LIMIT
from shared.jobs.writes import FIRST_CHECK_MS, to_failure


@dataclass
class MemoryJobs:
    """The stores of jobs and of shards (`JobStore`, `ShardStore`) without a table."""

    jobs: dict[str, Job] = field(default_factory=dict)
    splits: dict[tuple[str, int], Split] = field(default_factory=dict)
    outcomes: dict[tuple[str, int, int], bytes] = field(default_factory=dict)
    payloads: dict[str, bytes] = field(default_factory=dict)
    results: dict[tuple[str, str], bytes] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def create(self, job: Job, payload: bytes | None) -> None:
        if payload is not None:
            self.payloads[job.id] = payload
        self.jobs[job.id] = job.model_copy(update={"next_check_at": job.created_at + 60_000, "check_partition": 0})

    def get(self, job_id: str, *, now: int) -> Job | None:
        job = self.jobs.get(job_id)
        return job if job is not None and job.expires_at * 1000 > now else None

    def read_input(self, job: Job) -> bytes:
        if job.id not in self.payloads:
            raise InputMissing("The input of this job cannot be read back")
        return self.payloads[job.id]

    def read_result(self, job: Job) -> bytes:
        if (job.id, job.result_part or "") not in self.results:
            raise Missing(job.id)
        return self.results[job.id, job.result_part or ""]

    def claim(self, message: JobMessage, *, claim_token: str, now: int) -> Job | None:
        def is_claimable(job: Job) -> bool:
            is_expired = job.status == "running" and job.lease_expires_at is not None and job.lease_expires_at < now
            return (job.status == "queued" or is_expired) and job.shards is None

        return self._claim(message, is_claimable, limit=ATTEMPTS_LIMIT, claim_token=claim_token, now=now)

    def claim_merge(self, message: JobMessage, *, claim_token: str, now: int) -> Job | None:
        def is_claimable(job: Job) -> bool:
            return (
                job.status == "running"
                and job.shards is not None
                and (job.lease_expires_at is None or job.lease_expires_at < now)
            )

        return self._claim(message, is_claimable, limit=MERGE_ATTEMPTS_LIMIT, claim_token=claim_token, now=now)

    def _claim(
        self, message: JobMessage, is_claimable: Callable[[Job], bool], *, limit: int, claim_token: str, now: int
    ) -> Job | None:
        with self._lock:
            job = self.jobs.get(message.job)
            if job is None:
                return None
            if job.claim_token == claim_token:
                return job
            if not is_claimable(job) or job.run != message.run or job.attempt >= limit:
                return None
            changes = {
                "attempt": job.attempt + 1,
                "lease_expires_at": now + LEASE_MS,
                "started_at": job.started_at or now,
            }
            return self._change(job, status="running", claim_token=claim_token, **changes)

    def extend(self, job: Job, *, now: int) -> bool:
        return self._update_claimed(job, lease_expires_at=now + LEASE_MS)

    def release(self, job: Job) -> bool:
        return self._update_claimed(
            job, status="running" if job.shards else "queued", lease_expires_at=None, claim_token=None
        )

    def split(self, job: Job, total: int, *, now: int) -> bool:
        self.splits.setdefault((job.id, job.run), Split(total=total))
        return self._update_claimed(
            job, shards=total, next_check_at=now + FIRST_CHECK_MS, lease_expires_at=None, claim_token=None
        )

    def get_split(self, job: Job) -> Split | None:
        return self.splits.get((job.id, job.run)) if job.shards else None

    def record_done(self, job: Job, shard: int, outcome: bytes) -> Split | None:
        self.outcomes[job.id, job.run, shard] = outcome
        with self._lock:
            split = self.splits.get((job.id, job.run))
            if split is None:
                return None
            self.splits[job.id, job.run] = split.model_copy(update={"done": split.done | {shard}})
            return self.splits[job.id, job.run]

    def read_outcomes(self, job: Job) -> Iterator[bytes]:
        for shard in range(job.shards or 0):
            yield self.outcomes[job.id, job.run, shard]

    def succeed(self, job: Job, result: bytes | IO[bytes], *, metrics: Metrics, now: int) -> bool:
        if not isinstance(result, bytes):
            result.seek(0)
            result = result.read()
        part = f"result#{job.run}.{job.attempt}"
        self.results[job.id, part] = result
        total = job.shards or job.progress.total
        done = Progress(done=total, total=total)
        return self._finish(job, now, status="succeeded", result_part=part, metrics=metrics, progress=done)

    def fail(self, job: Job, error: JobError, *, metrics: Metrics, now: int) -> bool:
        failure = to_failure(error)
        return self._finish(job, now, status="failed", failure=failure, metrics=metrics)

    def _finish(self, job: Job, now: int, *, status: Status, **changes: object) -> bool:
        kept = self.jobs.get(job.id)
        ending = (job.run, job.attempt, now, status)
        if kept and (kept.run, kept.attempt, kept.completed_at, kept.status) == ending:
            return True
        ended: dict[str, object] = {"completed_at": now, "lease_expires_at": None, "claim_token": None}
        if job.has_webhook_for(status):
            ended["next_check_at"] = now + FIRST_CHECK_MS
        else:
            ended |= {"next_check_at": None, "check_partition": None}
        return self._update_claimed(job, status=status, **ended, **changes)

    def _update_claimed(self, job: Job, **changes: object) -> bool:
        with self._lock:
            kept = self.jobs.get(job.id)
            if kept is None or (kept.run, kept.attempt, kept.claim_token, kept.status) != (
                job.run, job.attempt, job.claim_token, "running",
            ):  # fmt: skip
                return False
            self._change(kept, **changes)
            return True

    def _change(self, job: Job, **changes: object) -> Job:
        self.jobs[job.id] = job.model_copy(update=changes)
        return self.jobs[job.id]


@dataclass
class MemoryQueue:
    """`shared.aws.queue.Queue` as a list of the messages that were sent."""

    sent: list[tuple[BaseModel, str]] = field(default_factory=list)

    def send(self, message: BaseModel, *, client_id: str, delay_seconds: int = 0) -> None:
        self.sent.append((message, client_id))

    def send_many(self, messages: Sequence[BaseModel], *, client_id: str) -> None:
        self.sent += [(message, client_id) for message in messages]


@dataclass
class MemoryQueueLatencies:
    """`shared.jobs.latency.QueueLatencies` as a dictionary."""

    recorded: dict[str, QueueLatency] = field(default_factory=dict)

    def record(self, queue: str, latency: QueueLatency) -> None:
        self.recorded[queue] = latency
