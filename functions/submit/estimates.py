"""Estimates: when a job will be done, and why it waits. They use the latest warm-up and the queue latencies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from shared.errors import Transient
from shared.jobs.job import Job, Progress, QueueName
from shared.jobs.latency import QueueLatencies, QueueLatency
from shared.jobs.message import JobMessage
from shared.log import logger
from shared.warmup.records import Warmth, WarmUp
from shared.warmup.store import WarmUpStore

READ_AGAIN_MS = 2_000  # the warm-up and the latencies are read at most so often
RETRY_AFTER_LIMIT_SECONDS = 60

StatusReason = Literal["queued", "warming", "retrying"]

_QUEUES: tuple[QueueName, ...] = get_args(QueueName)


@dataclass(frozen=True)
class Estimate:
    """The reason why a job is not done, and the seconds until it should be. Each is None if it is unknown."""

    reason: StatusReason | None
    eta_seconds: int | None

    @property
    def retry_after_seconds(self) -> int:
        """Return after how many seconds the client should ask again."""
        return min(self.eta_seconds or 1, RETRY_AFTER_LIMIT_SECONDS)


@dataclass
class _Snapshot:
    """The warm-up and the latencies, as they were at `read_at` (ms)."""

    read_at: int = 0
    warm_up: WarmUp = field(default_factory=lambda: WarmUp(id=""))
    latencies: Mapping[QueueName, QueueLatency] = field(
        default_factory=lambda: {queue: QueueLatency() for queue in _QUEUES}
    )


@dataclass(frozen=True)
class Estimates:
    """The estimates for all jobs. Not thread-safe."""

    warm_ups: WarmUpStore
    latencies: QueueLatencies
    worker_version: str
    assigns_to_warm_ups: bool  # False if workers other than the one that is warming up can take a job
    now: Callable[[], int]
    _snapshot: _Snapshot = field(default_factory=_Snapshot)

    def estimate_warmth(self) -> Warmth:
        """Return how warm the worker is. It counts as cold if that is unknown."""
        return self._read().warm_up.warmth(self.now())

    def assign(self, message: JobMessage) -> bool:
        """Assign a new job to the environment that is warming up. Return False if its message must be sent.

        That environment is busy with loading the model, so a message would start a second cold environment. The
        environment handles its assigned jobs as soon as it is ready. If it dies, the janitor finds the job.
        """
        if not self.assigns_to_warm_ups or self._is_any_running() or self.estimate_warmth().state == "warm":
            return False
        # A warm-up may have started a moment ago, so the snapshot is not recent enough.
        warm_up = self._snapshot.warm_up = self._read_warm_up() or WarmUp(id="")
        if warm_up.warmth(self.now()).state != "warming":
            return False
        try:
            return self.warm_ups.assign(warm_up, message)
        except Transient as error:
            logger.warning("Cannot assign a job to the warm-up; sending it", job=message.job, reason=str(error))
            return False

    def _is_any_running(self) -> bool:
        """Return whether jobs ran within the last minute, so that warm environments exist."""
        now = self.now()
        return any(latency.is_fresh(now) for latency in self._read().latencies.values())

    def estimate(self, job: Job, progress: Progress) -> Estimate:
        """Return the estimate for an open job."""
        return self._estimate_running(job, progress) if job.status == "running" else self._estimate_queued(job)

    def _estimate_queued(self, job: Job) -> Estimate:
        now, snapshot = self.now(), self._read()
        latency, warmth = snapshot.latencies[job.first_queue], self.estimate_warmth()
        waited = now - job.queued_at
        left: float = latency.wait_ms + latency.run_ms - waited if latency.is_fresh(now) else 0
        is_warming = warmth.state == "warming"
        if is_warming:
            left = max(left, (warmth.ready_in_seconds or 0) * 1000)
        elif warmth.state == "cold" and not latency.is_fresh(now):
            # No environment runs. The job's own message starts one.
            is_warming = True
            left = snapshot.warm_up.ready_ms - waited
        reason: StatusReason = "retrying" if job.attempt else "warming" if is_warming else "queued"
        return Estimate(reason, _to_seconds(left))

    def _estimate_running(self, job: Job, progress: Progress) -> Estimate:
        now = self.now()
        if job.lease_expires_at is not None and job.lease_expires_at < now:
            return Estimate("retrying", None)
        elapsed = now - (job.started_at or now)
        if progress.total > 1:
            left = elapsed / progress.done * (progress.total - progress.done) if progress.done else None
        else:
            latency = self._read().latencies[job.first_queue]
            left = latency.run_ms - elapsed if latency.is_fresh(now) else None
        return Estimate(None, None if left is None else _to_seconds(left))

    def _read(self) -> _Snapshot:
        """Return the snapshot, and read it again first if it is older than two seconds."""
        snapshot = self._snapshot
        if snapshot.read_at > self.now() - READ_AGAIN_MS:
            return snapshot
        snapshot.read_at = self.now()
        snapshot.warm_up = self._read_warm_up() or WarmUp(id="")
        try:
            snapshot.latencies = {queue: self.latencies.latest(queue) for queue in _QUEUES}
        except Transient as error:
            logger.warning("Cannot read the queue latencies; estimating with old ones", reason=str(error))
        return snapshot

    def _read_warm_up(self) -> WarmUp | None:
        try:
            return self.warm_ups.latest(self.worker_version)
        except Transient as error:
            logger.warning("Cannot read the warm-up; estimating without it", reason=str(error))
            return None


def _to_seconds(milliseconds: float) -> int:
    return max(1, math.ceil(milliseconds / 1000))
