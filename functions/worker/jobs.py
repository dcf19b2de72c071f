"""Claim → run → store → finish: what the worker does with a batch of messages.

A message says "look at this job". What there is to do about it is one of three kinds of work:

- a job within the bounds of a shard: run the model over it, store the result, finish;
- a bigger one: split it, queue its shards, let go of it; or, when all shards are done, merge them;
- a shard: run the model over it, store the outcome. It needs no lease: run twice, it costs time only.
"""

from __future__ import annotations

import random
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import IO, TYPE_CHECKING, Protocol

from pydantic_core import from_json, to_json

from functions.worker.inputs import Input, read_input
from functions.worker.leases import BEAT_SECONDS, Leases
from functions.worker.shards import SHARD_CHARACTERS, Merger, Piece, pieces, shards
from functions.worker.work import Received, Work, groups, run, shown, works_of
from shared import announcements
from shared.clock import now_ms
from shared.errors import AttemptsExhausted, JobError, ModelError, ModelFailed, ResultTooBig, Transient
from shared.log import logger
from shared.models import Job, Message, Metrics, Split
from shared.pace import Pace
from shared.store import ATTEMPTS_LIMIT, MERGE_ATTEMPTS_LIMIT

if TYPE_CHECKING:
    from functions.worker.pipeline import Pipeline

BATCH_LIMIT = 10  # messages of one invoke
BACKOFF_FIRST_SECONDS = 5
BACKOFF_LAST_SECONDS = 300
NOTE_MS = 2_000  # between notes of an environment
_SPOOL_BYTES = 8_000_000


class Jobs(Protocol):
    """Where jobs are kept; see `shared.store.JobStore`."""

    def get(self, job_id: str, *, now: int) -> Job | None: ...  # noqa: D102
    def payload(self, job: Job) -> bytes: ...  # noqa: D102
    def claim(self, message: Message, *, owner: str, now: int) -> Job | None: ...  # noqa: D102
    def claim_merge(self, message: Message, *, owner: str, now: int) -> Job | None: ...  # noqa: D102
    def extend(self, job: Job, *, now: int) -> bool: ...  # noqa: D102
    def release(self, job: Job) -> bool: ...  # noqa: D102
    def split(self, job: Job, total: int, *, now: int) -> bool: ...  # noqa: D102
    def progress(self, job: Job) -> Split | None: ...  # noqa: D102
    def shard_done(self, job: Job, shard: int, outcome: bytes) -> Split | None: ...  # noqa: D102
    def shard_outcomes(self, job: Job) -> Iterator[bytes]: ...  # noqa: D102
    def succeed(self, job: Job, result: bytes | IO[bytes], *, metrics: Metrics, now: int) -> bool: ...  # noqa: D102
    def fail(self, job: Job, error: JobError, *, metrics: Metrics, now: int) -> bool: ...  # noqa: D102


class Paces(Protocol):
    """Where the lanes' paces are noted."""

    def note(self, lane: str, pace: Pace) -> None:
        """Replace the lane's pace."""


class Lane(Protocol):
    """Where the shards are queued."""

    def send_all(self, messages: Sequence[Message], *, client_id: str) -> None:
        """Queue them."""


def backoff_seconds(attempt: int, *, jitter: float) -> int:
    """How long attempt number `attempt`, which failed, waits for the next; `jitter` in [0, 1) spreads it by half."""
    longest = min(BACKOFF_FIRST_SECONDS * int(3 ** (attempt - 1)), BACKOFF_LAST_SECONDS)
    return max(1, round(longest * (0.5 + jitter / 2)))


class Worker:
    """Runs batches. One at a time: an environment is never invoked twice at once."""

    def __init__(
        self,
        jobs: Jobs,
        solo: Lane,
        load: Callable[[], tuple[Pipeline, int]],
        *,
        paces: Paces,
        webhooks: announcements.Lane,
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        """With `load` giving the model, and the milliseconds spent on loading it just now."""
        self._jobs = jobs
        self._solo = solo
        self._load = load
        self._paces = paces
        self._noted_at = 0
        self._webhooks = webhooks
        self._beat_seconds = beat_seconds
        self._threads = ThreadPoolExecutor(max_workers=BATCH_LIMIT, thread_name_prefix="store")
        # The last big job's input: an environment that runs several of its shards reads it once.
        self._recent: tuple[tuple[str, int], Input, list[list[Piece]]] | None = None

    def run(self, batch: Sequence[Received], *, is_typical: bool = True) -> list[str]:
        """Do what each message asks for; what may be acknowledged is.

        The lane's pace is noted from it unless what it waited for says nothing of others.

        Returns:
            The item ids that must be delivered again.
        """
        owner = secrets.token_hex(8)
        with Leases(self._jobs, now_ms, beat_seconds=self._beat_seconds) as leases:
            taken = list(self._threads.map(lambda received: self._take(received, owner, leases), batch))
            again = {received.item_id for received, work in zip(batch, taken, strict=True) if work is _AGAIN}
            works = [work for work in taken if isinstance(work, Work)]
            again |= self._analyze(works, leases)
        if is_typical:
            self._note_pace(works)
        return [received.item_id for received in batch if received.item_id in again]

    # Taking

    def _take(self, received: Received, owner: str, leases: Leases) -> Work | object | None:
        """Claim what the message is about; None when it is done with, _AGAIN when it must come again."""
        try:
            if received.message.shard is not None:
                return self._take_shard(received, received.message.shard, leases)
            return self._take_job(received, f"{owner}.{received.item_id}", leases)
        except Transient as error:
            logger.warning("A message comes again", job=received.message.job, reason=str(error))
            _postpone(received, attempt=1)
            return _AGAIN

    def _take_job(self, received: Received, owner: str, leases: Leases) -> Work | object | None:
        job = self._jobs.claim(received.message, owner=owner, now=now_ms())
        if job is None:
            self._take_merge(received, owner, leases)
            return None
        leases.hold(job)
        with _Guard(self, received, job, leases) as guard:
            if job.characters > SHARD_CHARACTERS:
                self._split(job)
                leases.let_go(job)
                return None
            source = read_input(job, self._jobs.payload(job))
            return Work(received, job, list(pieces(source.texts)), source.ids)
        return guard.outcome

    def _take_shard(self, received: Received, shard: int, leases: Leases) -> Work | None:
        job = self._jobs.get(received.message.job, now=now_ms())
        split = self._jobs.progress(job) if job and job.run == received.message.run else None
        if job is None or job.status != "running" or split is None or shard >= split.total:
            logger.info("Nothing to do", job=received.message.job, shard=shard)
            return None
        if shard in split.done:
            self._merge_if_complete(received, job, split, leases)
            return None
        try:
            source, packed = self._big_input(job)
        except JobError:
            # Whoever merges, or splits again, meets the same and ends the job.
            logger.exception("The input of a shard is gone", job=job.id)
            return None
        # Whoever may hold the job, to merge it, it is not this work.
        job = job.model_copy(update={"owner": None})
        return Work(received, job, packed[shard], source.ids, shard=shard)

    def _take_merge(self, received: Received, owner: str, leases: Leases) -> None:
        """What is left to do for a job that cannot be claimed: it may be split, and all its shards done."""
        job = self._jobs.get(received.message.job, now=now_ms())
        split = self._jobs.progress(job) if job and job.run == received.message.run else None
        if job is None or split is None:
            logger.info("Nothing to do", job=received.message.job, run=received.message.run)
            return
        self._merge_if_complete(received, job, split, leases, owner=owner)

    # Splitting and merging

    def _split(self, job: Job) -> None:
        _, packed = self._big_input(job)
        # First the truth, then the hints: a death in between leaves the shards to the janitor.
        if self._jobs.split(job, len(packed), now=now_ms()):
            messages = [Message(job=job.id, run=job.run, shard=shard) for shard in range(len(packed))]
            self._solo.send_all(messages, client_id=job.client_id)
            logger.info("Job split", job=job.id, shards=len(packed))

    def _big_input(self, job: Job) -> tuple[Input, list[list[Piece]]]:
        key = (job.id, job.run)
        if self._recent is None or self._recent[0] != key:
            self._recent = None  # frees the former before the next is read
            source = read_input(job, self._jobs.payload(job))
            self._recent = (key, source, shards(source.texts))
        return self._recent[1:]

    def _merge_if_complete(
        self, received: Received, job: Job, split: Split, leases: Leases, *, owner: str | None = None
    ) -> None:
        if job.status != "running" or not split.is_complete:
            return
        message = Message(job=job.id, run=job.run)
        claimed = self._jobs.claim_merge(message, owner=owner or secrets.token_hex(12), now=now_ms())
        if claimed is None:
            return
        leases.hold(claimed)
        with _Guard(self, received, claimed, leases):
            try:
                self._merge(claimed, leases)
            except OSError as error:
                raise ResultTooBig(f"The result does not fit into temporary storage: {error}") from error

    def _merge(self, job: Job, leases: Leases) -> None:
        source, _ = self._big_input(job)
        words = run_ms = 0
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as file:
            merger = Merger(file, source.ids)
            for outcome in self._jobs.shard_outcomes(job):
                part = from_json(outcome)
                words, run_ms = words + part["words"], run_ms + part["run_ms"]
                for piece in part["pieces"]:
                    merger.add(Piece(piece["document"], piece["offset"], ""), piece["outcome"])
                leases.advance()
            merger.finish()
            if merger.failed == len(source.ids) == 1:
                raise ModelFailed("The model raised an error on the text")
            now = now_ms()
            stored = self._jobs.succeed(job, file, metrics=_metrics(job, now, run_ms=run_ms, words=words), now=now)
        leases.let_go(job)
        self._ended(job, stored=stored)

    # Running

    def _analyze(self, works: Sequence[Work], leases: Leases) -> set[str]:
        """Run the model over all pieces, as many at a time as bounds the memory; the ids that must come again."""
        if not works:
            return set()
        try:
            pipeline, load_ms = self._load()
        except (ModelError, Transient) as error:
            logger.exception("No model", jobs=len(works))
            return {work.received.item_id for work in works if self.give_back(work.received, work.job, error)}
        leases.advance()
        ending = []
        for group in groups(works):
            group = [(work, piece) for work, piece in group if not leases.is_lost(work.job)]
            run(pipeline, group)
            leases.advance()
            for work in works_of(group):
                work.load_ms = load_ms
                if work.is_complete:
                    # Stored while the model runs over the next group.
                    ending.append((work, self._threads.submit(self._end, work, leases)))
        return {work.received.item_id for work, ended in ending if not ended.result()}

    def _end(self, work: Work, leases: Leases) -> bool:
        """Store what came of the work; False when its message must be delivered again."""
        with _Guard(self, work.received, work.job, leases) as guard:
            if work.shard is None:
                self._finish(work, leases)
            else:
                self._finish_shard(work, work.shard, leases)
            return True
        return guard.outcome is not _AGAIN

    def _finish(self, work: Work, leases: Leases) -> None:
        out = BytesIO()
        merger = Merger(out, work.ids)
        for piece, outcome in zip(work.pieces, work.outcomes, strict=True):
            merger.add(piece, shown(outcome))
        merger.finish()
        if merger.failed == len(work.ids) == 1:
            raise ModelFailed(shown(work.outcomes[0])["error"]["detail"])
        now = now_ms()
        metrics = _metrics(work.job, now, run_ms=work.run_ms, words=work.words, load_ms=work.load_ms)
        leases.let_go(work.job)
        self._ended(work.job, stored=self._jobs.succeed(work.job, out.getvalue(), metrics=metrics, now=now))

    def _ended(self, job: Job, *, stored: bool) -> None:
        logger.info("Job succeeded" if stored else "Job lost", job=job.id, run=job.run, attempt=job.attempt)
        if stored:
            announcements.announce(self._webhooks, job, "succeeded")

    def _finish_shard(self, work: Work, shard: int, leases: Leases) -> None:
        done = [
            {"document": piece.document, "offset": piece.offset, "outcome": shown(outcome)}
            for piece, outcome in zip(work.pieces, work.outcomes, strict=True)
        ]
        outcome = to_json({"words": work.words, "run_ms": round(work.run_ms), "pieces": done})
        split = self._jobs.shard_done(work.job, shard, outcome)
        if split is None:
            logger.info("Nothing to do", job=work.job.id, shard=shard)
            return
        logger.info("Shard done", job=work.job.id, shard=shard, done=len(split.done), total=split.total)
        self._merge_if_complete(work.received, work.job, split, leases)

    def _note_pace(self, works: Sequence[Work]) -> None:
        """Say how the lane goes, by the job of the batch that was queued last; now and then is enough."""
        jobs = [work.job for work in works if work.shard is None and work.job.attempt == 1 and not work.load_ms]
        now = now_ms()
        if not jobs or now < self._noted_at + NOTE_MS:
            return
        self._noted_at = now
        last = max(jobs, key=lambda job: job.queued_at)
        started_at = last.started_at or now
        pace = Pace(at=now, wait_ms=max(0, started_at - last.queued_at), run_ms=max(0, now - started_at))
        try:
            self._paces.note(last.first_lane, pace)
        except Transient as error:
            logger.warning("The pace could not be noted", reason=str(error))

    # Not succeeding

    def fail(self, job: Job, error: JobError) -> None:
        """End a claimed job as failed."""
        now = now_ms()
        try:
            stored = self._jobs.fail(job, error, metrics=_metrics(job, now), now=now)
        except Transient:
            logger.exception("The failure could not be stored; the lease ends by itself", job=job.id)
            return
        logger.warning("Job failed", job=job.id, code=error.code, reason=str(error))
        if stored:
            announcements.announce(self._webhooks, job, "failed")

    def give_back(self, received: Received, job: Job, error: Exception) -> bool:
        """Release a job for another attempt; False when there is none left, and the job has failed."""
        logger.warning("Job given back", job=job.id, attempt=job.attempt, reason=str(error))
        claimed = job.owner is not None
        if claimed and job.attempt >= (MERGE_ATTEMPTS_LIMIT if job.shards else ATTEMPTS_LIMIT):
            self.fail(job, AttemptsExhausted(f"{job.attempt} attempts failed, the last one so: {error}"))
            return False
        _postpone(received, attempt=max(job.attempt, 1))
        try:
            if claimed:
                self._jobs.release(job)
        except Transient:
            logger.exception("The job could not be released; its lease ends by itself", job=job.id)
        return True


_AGAIN = object()  # in place of work: the message must be delivered again


class _Guard:
    """Ends or gives back a job when the block meets an error that says so; `outcome` tells what became of it."""

    def __init__(self, worker: Worker, received: Received, job: Job, leases: Leases) -> None:
        self._worker, self._received, self._job, self._leases = worker, received, job, leases
        self.outcome: object | None = None

    def __enter__(self) -> _Guard:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, JobError):
            self._leases.let_go(self._job)
            self._worker.fail(self._job, error)
            return True
        if isinstance(error, Transient):
            self._leases.let_go(self._job)
            self.outcome = _AGAIN if self._worker.give_back(self._received, self._job, error) else None
            return True
        return False


def _postpone(received: Received, *, attempt: int) -> None:
    try:
        received.postpone(seconds=backoff_seconds(attempt, jitter=random.random()))  # noqa: S311 (spreads load)
    except Transient:
        logger.exception("The message stays hidden for the whole visibility time-out", item=received.item_id)


def _metrics(job: Job, now: int, *, run_ms: float = 0, words: int = 0, load_ms: int = 0) -> Metrics:
    return Metrics(
        queue_ms=max(0, (job.started_at or now) - job.queued_at),
        cold_start_ms=load_ms,
        run_ms=round(run_ms),
        total_ms=max(0, now - job.queued_at),
        words=words,
    )
