"""Heartbeats: the leases of what is being worked on are extended, and it is learnt what was taken away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from shared.errors import Transient
from shared.log import logger
from shared.models import Job

BEAT_SECONDS = 20.0  # a third of a lease: two beats may fail
STALL_SECONDS = 25.0  # without progress for this long the leases are left to end: the worker may hang


class Jobs(Protocol):
    """Where leases are kept; see `shared.store.JobStore`."""

    def extend(self, job: Job, *, now: int) -> bool:
        """Prolong the claim, False when it is lost."""


class Leases:
    """The claims of one batch, extended by a thread for as long as the block runs and makes progress."""

    def __init__(self, jobs: Jobs, now: Callable[[], int], *, beat_seconds: float = BEAT_SECONDS) -> None:
        """Extend in `jobs`, every `beat_seconds`."""
        self._jobs = jobs
        self._now = now
        self._beat_seconds = beat_seconds
        self._held: dict[str, Job] = {}
        self._lost: set[str] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._progress = time.monotonic()
        self._thread = threading.Thread(target=self._beat_until_over, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        """Start beating."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop: a handler returns without threads that a frozen environment would keep."""
        self._over.set()
        self._thread.join()

    def hold(self, job: Job) -> None:
        """Extend the claim of `job` from now on."""
        with self._lock:
            self._held[job.id] = job

    def let_go(self, job: Job) -> None:
        """Extend it no longer."""
        with self._lock:
            self._held.pop(job.id, None)

    def is_lost(self, job: Job) -> bool:
        """Whether a heartbeat found that the job is no longer this claim's."""
        return job.id in self._lost

    def advance(self) -> None:
        """Something was done: the worker does not hang."""
        self._progress = time.monotonic()

    def _beat_until_over(self) -> None:
        while not self._over.wait(self._beat_seconds):
            if time.monotonic() - self._progress > STALL_SECONDS:
                logger.warning("No progress; the leases are left to end", jobs=list(self._held))
                continue
            with self._lock:
                held = list(self._held.values())
            for job in held:
                self._extend(job)

    def _extend(self, job: Job) -> None:
        try:
            if self._jobs.extend(job, now=self._now()):
                return
        except Transient as error:
            logger.warning("A heartbeat failed", job=job.id, reason=str(error))
            return
        with self._lock:
            # Finished in the meantime is not lost.
            if self._held.pop(job.id, None):
                self._lost.add(job.id)
                logger.warning("The job was taken away", job=job.id, attempt=job.attempt)
