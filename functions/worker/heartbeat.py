"""The heartbeat: it extends the leases of the claimed jobs of a batch, and finds the claims that were lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from shared.errors import Transient
from shared.jobs.job import Job
from shared.log import logger

BEAT_SECONDS = 20.0  # a third of a lease: two beats may fail
STALL_SECONDS = 25.0  # a worker without progress for so long may hang, so its leases are left to expire


class LeaseStore(Protocol):
    """The store of claimed jobs, as `shared.jobs.store.JobStore` implements it."""

    def extend(self, job: Job, *, now: int) -> bool:
        """Extend the lease of a claimed job. Return False if the claim was lost."""


class Heartbeat:
    """A thread that extends the leases of one batch while the `with` block runs and makes progress."""

    def __init__(self, jobs: LeaseStore, clock: Callable[[], int], *, beat_seconds: float = BEAT_SECONDS) -> None:
        """Extend leases in `jobs` every `beat_seconds`. `clock` returns the time in milliseconds."""
        self._jobs = jobs
        self._clock = clock
        self._beat_seconds = beat_seconds
        self._claimed: dict[str, Job] = {}
        self._lost: set[str] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._progress_at = time.monotonic()
        self._thread = threading.Thread(target=self._beat_until_ended, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread, because Lambda would freeze it together with the environment."""
        self._ended.set()
        self._thread.join()

    def start(self, job: Job) -> None:
        """Extend the lease of `job` from now on."""
        with self._lock:
            self._claimed[job.id] = job

    def stop(self, job: Job) -> None:
        """Stop extending the lease of `job`. Do nothing if it is not extended."""
        with self._lock:
            self._claimed.pop(job.id, None)

    def is_lost(self, job: Job) -> bool:
        """Return whether a beat has found that the job no longer belongs to this claim."""
        return job.id in self._lost

    def report_progress(self) -> None:
        """Report that the worker does not hang."""
        self._progress_at = time.monotonic()

    def _beat_until_ended(self) -> None:
        while not self._ended.wait(self._beat_seconds):
            with self._lock:
                claimed = list(self._claimed.values())
            if time.monotonic() - self._progress_at > STALL_SECONDS:
                logger.warning("The worker makes no progress; its leases expire", jobs=[job.id for job in claimed])
                continue
            for job in claimed:
                self._extend(job)

    def _extend(self, job: Job) -> None:
        try:
            holds = self._jobs.extend(job, now=self._clock())
        except Transient as error:
            logger.warning("Cannot extend a lease; the next beat tries again", job=job.id, reason=str(error))
            return
        if not holds:
            self._mark_lost(job)

    def _mark_lost(self, job: Job) -> None:
        with self._lock:
            if self._claimed.pop(job.id, None) is None:  # the job has ended since this beat began
                return
            self._lost.add(job.id)
        logger.warning("The claim of a job was lost", job=job.id, attempt=job.attempt)
