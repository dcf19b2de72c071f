"""Splitting of big jobs into shards, and merging of the outcomes of the shards into the result."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from pydantic_core import from_json, to_json

from functions.worker.finishing import Finisher, render_analysis
from functions.worker.heartbeat import Heartbeat
from functions.worker.inputs import Input, parse_input
from functions.worker.merge import Merger
from functions.worker.outcome import Acknowledge, Outcome, run_step
from functions.worker.shards import Piece, pack_shards
from functions.worker.stores import JobStore, ShardQueue, ShardStore
from functions.worker.values import encode_document
from functions.worker.work import Work
from shared.errors import ModelFailed, ResultTooBig
from shared.jobs.features import MEMBERS
from shared.jobs.job import Job, Split
from shared.jobs.message import JobMessage
from shared.log import logger

_SPOOL_BYTES = 8_000_000


@dataclass(frozen=True)
class BigInput:
    """The input of a big job, and its shards."""

    job_id: str
    run: int
    source: Input
    shards: list[list[Piece]]


@dataclass
class _Totals:
    """The sums over the shards of a job."""

    words: int = 0
    run_ms: int = 0


class BigJobs:
    """Splits big jobs, records the outcomes of their shards, and merges them."""

    def __init__(
        self,
        jobs: JobStore,
        shards: ShardStore,
        isolated: ShardQueue,
        finisher: Finisher,
        clock: Callable[[], int],
    ) -> None:
        """Send the messages about shards to the queue `isolated`. End merged jobs by `finisher`."""
        self._jobs = jobs
        self._shards = shards
        self._isolated = isolated
        self._finisher = finisher
        self._clock = clock
        # An environment that runs several shards of a job reads the input once.
        self._latest: BigInput | None = None

    def read(self, job: Job) -> BigInput:
        """Return the input of a big job. The input that was read last is kept.

        Raises:
            JobError: If the input is gone or cannot be read.
            Transient: If DynamoDB or S3 is throttled or unreachable.
        """
        latest = self._latest
        if latest is not None and (latest.job_id, latest.run) == (job.id, job.run):
            return latest
        latest = self._latest = None  # frees the former input before the next one is read
        source = parse_input(job, self._jobs.read_input(job))
        latest = self._latest = BigInput(job.id, job.run, source, pack_shards(source.texts))
        return latest

    def split(self, job: Job) -> None:
        """Split a claimed job, and send a message about every shard.

        Raises:
            JobError: If the input is gone or cannot be read.
            Transient: If the outcome is unknown.
        """
        total = len(self.read(job).shards)
        # Store the split before the messages are sent. If the process dies in between, the janitor sends them.
        if self._shards.split(job, total, now=self._clock()):
            messages = [JobMessage(job=job.id, run=job.run, shard=shard) for shard in range(total)]
            self._isolated.send_many(messages, client_id=job.client_id)
            logger.info("Job split", job=job.id, shards=total)

    def finish_shard(self, work: Work, shard: int, heartbeat: Heartbeat) -> Outcome:
        """Store the outcome of a shard. If every shard is done then, merge them.

        Raises:
            Transient: If the outcome is unknown.
        """
        outcome = _encode_outcome(work)
        split = self._shards.record_done(work.job, shard, outcome)
        if split is None:
            logger.info("The job of a shard was deleted", job=work.job.id, shard=shard)
            return Acknowledge()
        logger.info("Shard done", job=work.job.id, shard=shard, done=len(split.done), total=split.total)
        return self.merge_if_complete(work.job, split, heartbeat)

    def merge_if_complete(
        self, job: Job, split: Split, heartbeat: Heartbeat, *, claim_token: str | None = None
    ) -> Outcome:
        """Merge the shards of a job if all of them are done and no other worker merges them.

        Raises:
            Transient: If it is unknown whether the job was claimed.
        """
        if job.status != "running" or not split.is_complete:
            return Acknowledge()
        message = JobMessage(job=job.id, run=job.run)
        token = claim_token or secrets.token_hex(12)
        claimed = self._jobs.claim_merge(message, claim_token=token, now=self._clock())
        if claimed is None:
            return Acknowledge()
        heartbeat.start(claimed)
        return run_step(claimed, lambda: self._merge(claimed, heartbeat))

    def _merge(self, job: Job, heartbeat: Heartbeat) -> Acknowledge:
        try:
            self._store_merged(job, heartbeat)
        except OSError as error:
            raise ResultTooBig(f"The result does not fit into temporary storage: {error}") from error
        heartbeat.stop(job)
        return Acknowledge()

    def _store_merged(self, job: Job, heartbeat: Heartbeat) -> None:
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as file:
            totals = self._write_result(job, file, heartbeat)
            self._finisher.succeed(job, file, run_ms=totals.run_ms, words=totals.words)

    def _write_result(self, job: Job, file: IO[bytes], heartbeat: Heartbeat) -> _Totals:
        totals = _Totals()
        with Merger(file, self.read(job).source.ids) as merger:
            for shard, outcome in enumerate(self._shards.read_outcomes(job)):
                decoded = _decode_outcome(outcome, shard)
                totals.words += decoded["words"]
                totals.run_ms += decoded["run_ms"]
                _add_pieces(merger, decoded["pieces"])
                heartbeat.report_progress()
            merger.finish()
        merger.raise_if_failed()
        return totals


def _encode_outcome(work: Work) -> bytes:
    """Return the outcome of a shard as JSON: its words, its time, and for each piece its analysis.

    A piece has a member `refused` instead of its analysis if a value does not fit its merge rule. It fails the job.
    """
    pieces = [
        b'{"document":%d,"offset":%d,%s}' % (piece.document, piece.offset, _encode_piece(render_analysis(analysis)))
        for piece, analysis in zip(work.pieces, work.analyses, strict=True)
    ]
    return b'{"words":%d,"run_ms":%d,"pieces":[%s]}' % (work.words, round(work.run_ms), b",".join(pieces))


def _encode_piece(analysis: dict[str, Any]) -> bytes:
    if "error" in analysis:
        return b'"analysis":' + to_json(analysis)
    try:
        return b'"analysis":' + encode_document(MEMBERS, analysis)
    except ModelFailed as error:
        # A shard has no claim on the job. The worker that merges the shards can fail it.
        return b'"refused":' + to_json(str(error))


def _decode_outcome(outcome: bytes, shard: int) -> dict[str, Any]:
    try:
        decoded: dict[str, Any] = from_json(outcome)
    except ValueError as error:  # objects in too many levels, for example
        raise ModelFailed(f"The outcome of shard {shard} cannot be read: {error}") from None
    return decoded


def _add_pieces(merger: Merger, pieces: list[dict[str, Any]]) -> None:
    for piece in pieces:
        if "refused" in piece:
            raise ModelFailed(piece["refused"])
        merger.add(Piece(piece["document"], piece["offset"], ""), piece["analysis"])
