"""Claiming: a message becomes work for the model, or it is done with at once."""

from __future__ import annotations

from collections.abc import Callable

from functions.worker.big_jobs import BigJobs
from functions.worker.heartbeat import Heartbeat
from functions.worker.inputs import parse_input
from functions.worker.outcome import Acknowledge, Outcome, retry_later, run_step
from functions.worker.shards import cut_pieces
from functions.worker.stores import JobStore, ShardStore
from functions.worker.work import BatchItem, Work
from shared.errors import JobError, Transient
from shared.jobs.job import Job, Split
from shared.jobs.message import JobMessage
from shared.log import logger


class Claimer:
    """Claims jobs and reads their inputs. A big job is split, or its shards are merged, instead."""

    def __init__(self, jobs: JobStore, shards: ShardStore, big_jobs: BigJobs, clock: Callable[[], int]) -> None:
        """Claim jobs in `jobs`. `clock` returns the time in milliseconds."""
        self._jobs = jobs
        self._shards = shards
        self._big_jobs = big_jobs
        self._clock = clock

    def claim(self, item: BatchItem, claim_token: str, heartbeat: Heartbeat) -> Work | Outcome:
        """Return the work that the message of `item` brings, or the outcome if there is none."""
        step = self._claim_job if item.message.shard is None else self._read_shard
        try:
            return step(item, claim_token, heartbeat)
        except Transient as error:
            return retry_later(error)

    def _claim_job(self, item: BatchItem, claim_token: str, heartbeat: Heartbeat) -> Work | Outcome:
        job = self._jobs.claim(item.message, claim_token=claim_token, now=self._clock())
        if job is None:
            return self._merge_job(item.message, claim_token, heartbeat)
        heartbeat.start(job)
        return run_step(job, lambda: self._read_job(item, job, heartbeat))

    def _read_job(self, item: BatchItem, job: Job, heartbeat: Heartbeat) -> Work | Outcome:
        if job.is_big:
            self._big_jobs.split(job)
            heartbeat.stop(job)
            return Acknowledge()
        source = parse_input(job, self._jobs.read_input(job))
        return Work(item, job, list(cut_pieces(source.texts)), source.ids)

    def _merge_job(self, message: JobMessage, claim_token: str, heartbeat: Heartbeat) -> Outcome:
        """Merge the shards of a job that could not be claimed, if it is split and all of them are done."""
        job, split = self._find_split(message)
        if job is None or split is None:
            logger.info("The message is out of date", job=message.job, run=message.run)
            return Acknowledge()
        return self._big_jobs.merge_if_complete(job, split, heartbeat, claim_token=claim_token)

    def _read_shard(self, item: BatchItem, claim_token: str, heartbeat: Heartbeat) -> Work | Outcome:
        """Return the work of a shard. It needs no claim: a shard that runs twice costs time only."""
        shard = item.message.shard or 0
        job, split = self._find_split(item.message)
        if job is None or job.status != "running" or split is None or shard >= split.total:
            logger.info("The message is out of date", job=item.message.job, shard=shard)
            return Acknowledge()
        if shard in split.done:
            return self._big_jobs.merge_if_complete(job, split, heartbeat, claim_token=claim_token)
        try:
            big = self._big_jobs.read(job)
        except JobError:
            # The worker that merges the shards meets the same error, and ends the job.
            logger.exception("Cannot read the input of a shard", job=job.id)
            return Acknowledge()
        # Another worker may hold the claim, to merge the shards. Forget its claim token.
        job = job.model_copy(update={"claim_token": None})
        return Work(item, job, big.shards[shard], big.source.ids, shard=shard)

    def _find_split(self, message: JobMessage) -> tuple[Job | None, Split | None]:
        """Return the job, and which of its shards are done. Both may not exist."""
        job = self._jobs.get(message.job, now=self._clock())
        split = self._shards.get_split(job) if job and job.run == message.run else None
        return job, split
