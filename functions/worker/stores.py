"""Protocols of the stores and queues that the worker uses. `shared` implements them, and so do the tests' fakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO, Protocol

from shared.errors import JobError
from shared.jobs.job import Job, Metrics, Split
from shared.jobs.latency import QueueLatency
from shared.jobs.message import JobMessage


class JobStore(Protocol):
    """The jobs, their inputs and their results, as `shared.jobs.store.JobStore` stores them."""

    def get(self, job_id: str, *, now: int) -> Job | None:
        """Return the job, or None if there is none."""

    def read_input(self, job: Job) -> bytes:
        """Return the job's input."""

    def claim(self, message: JobMessage, *, claim_token: str, now: int) -> Job | None:
        """Claim a job. Return None if it cannot be claimed."""

    def claim_merge(self, message: JobMessage, *, claim_token: str, now: int) -> Job | None:
        """Claim a split job to merge its shards. Return None if it cannot be claimed."""

    def extend(self, job: Job, *, now: int) -> bool:
        """Extend the lease of a claimed job. Return False if the claim was lost."""

    def release(self, job: Job) -> bool:
        """Give up the claim of a job. Return False if it was lost."""

    def succeed(self, job: Job, result: bytes | IO[bytes], *, metrics: Metrics, now: int) -> bool:
        """Store the result and end the job as succeeded. Return False if the claim was lost."""

    def fail(self, job: Job, error: JobError, *, metrics: Metrics, now: int) -> bool:
        """End a claimed job as failed. Return False if the claim was lost."""


class ShardStore(Protocol):
    """The shards of big jobs, as `shared.jobs.shards.ShardStore` stores them."""

    def get_split(self, job: Job) -> Split | None:
        """Return which shards are done, or None if the job is not split."""

    def split(self, job: Job, total: int, *, now: int) -> bool:
        """Split a claimed job and give up the claim. Return False if the claim was lost."""

    def record_done(self, job: Job, shard: int, outcome: bytes) -> Split | None:
        """Store the outcome of a shard. Return which shards are done now, or None if the job was deleted."""

    def read_outcomes(self, job: Job) -> Iterator[bytes]:
        """Yield the outcomes of all shards in order."""


class QueueLatencies(Protocol):
    """The latencies of the queues, as `shared.jobs.latency.QueueLatencies` stores them."""

    def record(self, queue: str, latency: QueueLatency) -> None:
        """Replace the latency of a queue."""


class ShardQueue(Protocol):
    """The queue `isolated`, for the sender of the messages about shards."""

    def send_many(self, messages: Sequence[JobMessage], *, client_id: str) -> None:
        """Send the messages."""
