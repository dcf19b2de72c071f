"""In-memory stand-ins for the services, held to the real ones' behaviour by one contract test (test_store.py)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

from shared import aws
from shared.errors import InputMissing, JobError
from shared.models import Failure, Job, Message, Metrics, Progress, Split, WebhookMessage
from shared.pace import Pace
from shared.store import ATTEMPTS_LIMIT, FIRST_LOOK_MS, LEASE_MS, MERGE_ATTEMPTS_LIMIT


@dataclass
class MemoryJobs:
    """`shared.store.JobStore` without a table."""

    jobs: dict[str, Job] = field(default_factory=dict)
    splits: dict[tuple[str, int], Split] = field(default_factory=dict)
    outcomes: dict[tuple[str, int, int], bytes] = field(default_factory=dict)
    payloads: dict[str, bytes] = field(default_factory=dict)
    results: dict[tuple[str, str], bytes] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def create(self, job: Job, payload: bytes | None) -> None:
        if payload is not None:
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
        def may_be_claimed(job: Job) -> bool:
            dead = job.status == "running" and job.lease is not None and job.lease < now
            return (job.status == "queued" or dead) and job.shards is None

        return self._claim(message, may_be_claimed, limit=ATTEMPTS_LIMIT, owner=owner, now=now)

    def claim_merge(self, message: Message, *, owner: str, now: int) -> Job | None:
        def may_be_claimed(job: Job) -> bool:
            return job.status == "running" and job.shards is not None and (job.lease is None or job.lease < now)

        return self._claim(message, may_be_claimed, limit=MERGE_ATTEMPTS_LIMIT, owner=owner, now=now)

    def _claim(
        self, message: Message, may_be_claimed: Callable[[Job], bool], *, limit: int, owner: str, now: int
    ) -> Job | None:
        with self._lock:
            job = self.jobs.get(message.job)
            if job is None:
                return None
            if job.owner == owner:
                return job
            if not may_be_claimed(job) or job.run != message.run or job.attempt >= limit:
                return None
            changes = {"attempt": job.attempt + 1, "lease": now + LEASE_MS, "started_at": job.started_at or now}
            return self._change(job, status="running", owner=owner, **changes)

    def extend(self, job: Job, *, now: int) -> bool:
        return self._leave(job, lease=now + LEASE_MS)

    def release(self, job: Job) -> bool:
        return self._leave(job, status="running" if job.shards else "queued", lease=None, owner=None)

    def split(self, job: Job, total: int, *, now: int) -> bool:
        self.splits.setdefault((job.id, job.run), Split(total=total))
        return self._leave(job, shards=total, due_at=now + FIRST_LOOK_MS, lease=None, owner=None)

    def progress(self, job: Job) -> Split | None:
        return self.splits.get((job.id, job.run)) if job.shards else None

    def shard_done(self, job: Job, shard: int, outcome: bytes) -> Split | None:
        self.outcomes[job.id, job.run, shard] = outcome
        with self._lock:
            split = self.splits.get((job.id, job.run))
            if split is None:
                return None
            self.splits[job.id, job.run] = split.model_copy(update={"done": split.done | {shard}})
            return self.splits[job.id, job.run]

    def shard_outcomes(self, job: Job) -> Iterator[bytes]:
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
        failure = Failure(code=error.code, title=error.title, detail=str(error), retryable=error.retryable)
        return self._finish(job, now, status="failed", failure=failure, metrics=metrics)

    def _finish(self, job: Job, now: int, **changes: object) -> bool:
        kept = self.jobs.get(job.id)
        ending = (job.run, job.attempt, now, changes["status"])
        if kept and (kept.run, kept.attempt, kept.completed_at, kept.status) == ending:
            return True
        ended = {"completed_at": now, "lease": None, "owner": None}
        if job.announces(changes["status"]):
            ended["due_at"] = now + FIRST_LOOK_MS
        else:
            ended |= {"due_at": None, "due_slot": None}
        return self._leave(job, **ended, **changes)

    def _leave(self, job: Job, **changes: object) -> bool:
        with self._lock:
            kept = self.jobs.get(job.id)
            if kept is None or (kept.run, kept.attempt, kept.owner, kept.status) != (
                job.run, job.attempt, job.owner, "running",
            ):  # fmt: skip
                return False
            self._change(kept, **changes)
            return True

    def _change(self, job: Job, **changes: object) -> Job:
        self.jobs[job.id] = job.model_copy(update=changes)
        return self.jobs[job.id]


@dataclass
class MemoryLane:
    """`shared.queues.Lane` as a list."""

    sent: list[tuple[Message | WebhookMessage, str]] = field(default_factory=list)

    def send(self, message: Message | WebhookMessage, *, client_id: str, delay_seconds: int = 0) -> None:
        self.sent.append((message, client_id))

    def send_all(self, messages: Sequence[Message], *, client_id: str) -> None:
        self.sent += [(message, client_id) for message in messages]


@dataclass
class MemoryPaces:
    """`shared.pace.Paces` as a dictionary."""

    noted: dict[str, Pace] = field(default_factory=dict)

    def note(self, lane: str, pace: Pace) -> None:
        self.noted[lane] = pace
