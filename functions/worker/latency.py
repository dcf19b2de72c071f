"""Recording of the queue latency, from which the API estimates when a job will be done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from functions.worker.stores import QueueLatencies
from functions.worker.work import Work
from shared.errors import Transient
from shared.jobs.latency import QueueLatency
from shared.log import logger

RECORD_MS = 2_000  # time between two records of an environment, because many environments write the same item


class LatencyRecorder:
    """Records the latency of a queue every two seconds at most."""

    def __init__(self, latencies: QueueLatencies, clock: Callable[[], int]) -> None:
        """Record in `latencies`. `clock` returns the time in milliseconds."""
        self._latencies = latencies
        self._clock = clock
        self._recorded_at = 0

    def record(self, works: Sequence[Work]) -> None:
        """Record the latency from the job of the batch that was queued last.

        Shards, later attempts, and works that waited for the model to load say nothing about other jobs.
        """
        jobs = [work.job for work in works if work.shard is None and work.job.attempt == 1 and not work.load_ms]
        now = self._clock()
        if not jobs or now < self._recorded_at + RECORD_MS:
            return
        self._recorded_at = now
        last = max(jobs, key=lambda job: job.queued_at)
        started_at = last.started_at or now
        latency = QueueLatency(at=now, wait_ms=max(0, started_at - last.queued_at), run_ms=max(0, now - started_at))
        try:
            self._latencies.record(last.first_queue, latency)
        except Transient as error:
            logger.warning("Cannot record the queue latency", reason=str(error))
