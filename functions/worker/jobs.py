"""Claim → run → store → finish: what the worker does with a batch of messages."""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pydantic_core import to_json

from functions.worker.shards import SLICE_CHARACTERS, merged, slices
from shared.errors import AttemptsExhausted, InputMissing, JobError, ModelError, ModelFailed, Transient
from shared.log import logger
from shared.models import Job, Message, Metrics
from shared.store import ATTEMPTS_LIMIT

if TYPE_CHECKING:
    from functions.worker.pipeline import Analysis, Pipeline, Task

BATCH_LIMIT = 10  # messages of one invoke
BACKOFF_FIRST_SECONDS = 5
BACKOFF_LAST_SECONDS = 300


class Jobs(Protocol):
    """Where jobs are kept; see `shared.store.JobStore`."""

    def claim(self, message: Message, *, owner: str, now: int) -> Job | None:
        """Take the job, None when it is not to be had."""

    def payload(self, job: Job) -> bytes:
        """The job's input."""

    def release(self, job: Job) -> bool:
        """Give the job back."""

    def succeed(self, job: Job, result: bytes, *, metrics: Metrics, now: int) -> bool:
        """Store the result and finish."""

    def fail(self, job: Job, error: JobError, *, metrics: Metrics, now: int) -> bool:
        """Finish as failed."""


class Postpone(Protocol):
    """Hides a message."""

    def __call__(self, *, seconds: int) -> None:
        """For `seconds` from now."""


@dataclass(frozen=True)
class Received:
    """A message of the batch; `postpone` hides it for so many seconds before it is delivered again."""

    item_id: str
    message: Message
    postpone: Postpone


@dataclass
class Claimed:
    """A job that this invoke holds, and what has become of its texts."""

    received: Received
    job: Job
    documents: list[dict[str, Any]]
    claimed_at: int
    pieces: list[Piece] = field(default_factory=list)
    run_ms: float = 0
    words: int = 0

    def tasks(self) -> list[Piece]:
        """Slices of the job's texts that the model can take."""
        self.pieces = [
            Piece(self, at, offset, text)
            for at, document in enumerate(self.documents)
            for offset, text in slices(document["text"])
        ]
        return self.pieces

    @property
    def is_complete(self) -> bool:
        """Whether the model has been over every piece."""
        return all(piece.outcome is not None for piece in self.pieces)


@dataclass
class Piece:
    """A slice of one document of a job: where it is from, and its analysis in the end."""

    claimed: Claimed
    document: int
    offset: int
    text: str
    outcome: Analysis | Exception | None = None


def backoff_seconds(attempt: int, *, jitter: float) -> int:
    """How long attempt number `attempt`, which failed, waits for the next; `jitter` in [0, 1) spreads it by half."""
    longest = min(BACKOFF_FIRST_SECONDS * int(3 ** (attempt - 1)), BACKOFF_LAST_SECONDS)
    return max(1, round(longest * (0.5 + jitter / 2)))


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Worker:
    """Runs batches. One at a time: an environment is never invoked twice at once."""

    def __init__(self, jobs: Jobs, load: Callable[[], tuple[Pipeline, int]]) -> None:
        """With `load` giving the model, and the milliseconds spent on loading it just now."""
        self._jobs = jobs
        self._load = load
        self._threads = ThreadPoolExecutor(max_workers=BATCH_LIMIT, thread_name_prefix="store")

    def run(self, batch: Sequence[Received]) -> list[str]:
        """Claim, run and finish each message's job; what may be acknowledged is.

        Returns:
            The item ids that must be delivered again.
        """
        owner = secrets.token_hex(8)
        claims = [self._threads.submit(self._claim, received, owner) for received in batch]
        again = [received.item_id for received, claim in zip(batch, claims, strict=True) if not _known(claim)]
        held = [claimed for claim in claims if (claimed := _value(claim)) is not None]
        if held:
            again += self._run(held)
        return again

    def _claim(self, received: Received, owner: str) -> Claimed | None:
        """The claimed job with its input; None when there is nothing to do for this message.

        Raises:
            Transient: when the message must be delivered again.
        """
        now = now_ms()
        try:
            job = self._jobs.claim(received.message, owner=f"{owner}.{received.item_id}", now=now)
        except Transient:
            _postpone(received, attempt=1)
            raise
        if job is None:
            logger.info("Nothing to do", job=received.message.job, run=received.message.run)
            return None
        try:
            documents = json.loads(self._jobs.payload(job))["documents"]
        except InputMissing as error:
            self._end(Claimed(received, job, [], now), error)
            return None
        except Transient as error:
            self._give_back(Claimed(received, job, [], now), error)
            raise
        return Claimed(received, job, documents, now)

    def _run(self, held: list[Claimed]) -> list[str]:
        try:
            pipeline, load_ms = self._load()
        except (ModelError, Transient) as error:
            logger.exception("No model", jobs=len(held))
            return [claimed.received.item_id for claimed in held if self._give_back(claimed, error)]
        finishing: list[tuple[Claimed, Future[bool]]] = []
        for group in _groups(held):
            _analyze(group, pipeline)
            # Stored while the model runs over the next group.
            complete = [claimed for claimed in _jobs_of(group) if claimed.is_complete]
            finishing += [(claimed, self._threads.submit(self._finish, claimed, load_ms)) for claimed in complete]
        return [claimed.received.item_id for claimed, ended in finishing if not ended.result()]

    def _finish(self, claimed: Claimed, load_ms: int) -> bool:
        """Store the result; False when the message must be delivered again."""
        job, now = claimed.job, now_ms()
        try:
            result = to_json({"documents": _results(claimed)})
            stored = self._jobs.succeed(job, result, metrics=_metrics(claimed, load_ms, now), now=now)
        except JobError as error:
            self._end(claimed, error)
            return True
        except Transient as error:
            return not self._give_back(claimed, error)
        logger.info("Job succeeded" if stored else "Job lost", job=job.id, run=job.run, attempt=job.attempt)
        return True

    def _end(self, claimed: Claimed, error: JobError) -> None:
        now = now_ms()
        try:
            self._jobs.fail(claimed.job, error, metrics=_metrics(claimed, 0, now), now=now)
        except Transient:
            logger.exception("The failure could not be stored; the lease ends by itself", job=claimed.job.id)
            return
        logger.warning("Job failed", job=claimed.job.id, code=error.code, reason=str(error))

    def _give_back(self, claimed: Claimed, error: Exception) -> bool:
        """Release the job for another attempt; False when there is none left, and the job has failed."""
        job = claimed.job
        logger.warning("Job given back", job=job.id, attempt=job.attempt, reason=str(error))
        if job.attempt >= ATTEMPTS_LIMIT:
            self._end(claimed, AttemptsExhausted(f"{job.attempt} attempts failed, the last one so: {error}"))
            return False
        _postpone(claimed.received, attempt=job.attempt)
        try:
            self._jobs.release(job)
        except Transient:
            logger.exception("The job could not be released; its lease ends by itself", job=job.id)
        return True


def _known(claim: Future[Claimed | None]) -> bool:
    error = claim.exception()
    if error is not None and not isinstance(error, Transient):
        raise error
    return error is None


def _value(claim: Future[Claimed | None]) -> Claimed | None:
    return None if claim.exception() else claim.result()


def _postpone(received: Received, *, attempt: int) -> None:
    try:
        received.postpone(seconds=backoff_seconds(attempt, jitter=random.random()))  # noqa: S311 (spreads load)
    except Transient:
        logger.exception("The message stays hidden for the whole visibility time-out", item=received.item_id)


def _groups(held: Sequence[Claimed]) -> Iterator[list[Piece]]:
    """The jobs' slices in order, as many at a time as one slice may be long: that bounds the memory."""
    group: list[Piece] = []
    characters = 0
    for piece in (piece for claimed in held for piece in claimed.tasks()):
        if group and characters + len(piece.text) > SLICE_CHARACTERS:
            yield group
            group, characters = [], 0
        group.append(piece)
        characters += len(piece.text)
    yield group


def _analyze(group: Sequence[Piece], pipeline: Pipeline) -> None:
    began = time.perf_counter()
    tasks: list[Task] = [(piece.text, piece.claimed.job.features) for piece in group]
    for piece, outcome in zip(group, pipeline.run(tasks), strict=True):
        piece.outcome = outcome
    took_ms = (time.perf_counter() - began) * 1000
    for claimed in _jobs_of(group):
        claimed.run_ms += took_ms


def _jobs_of(group: Sequence[Piece]) -> Iterable[Claimed]:
    return {piece.claimed.job.id: piece.claimed for piece in group}.values()


def _results(claimed: Claimed) -> list[dict[str, Any]]:
    """The result's documents, in the order and with the ids of the client's.

    Raises:
        ModelFailed: when the model failed on the only document there is.
    """
    results = [_result(claimed, at, document.get("id")) for at, document in enumerate(claimed.documents)]
    if len(results) == 1 and "error" in results[0]:
        raise ModelFailed(results[0]["error"]["detail"])
    return results


def _result(claimed: Claimed, at: int, document_id: str | None) -> dict[str, Any]:
    identity = {} if document_id is None else {"id": document_id}
    parts: list[tuple[int, dict[str, Any]]] = []
    for piece in (piece for piece in claimed.pieces if piece.document == at):
        if isinstance(piece.outcome, Exception):
            logger.error("The model failed on a document", exc_info=piece.outcome)
            detail = f"The model raised {type(piece.outcome).__name__}"
            return {**identity, "error": {"code": ModelFailed.code, "title": ModelFailed.title, "detail": detail}}
        if piece.outcome is not None:
            claimed.words += piece.outcome.words
            parts.append((piece.offset, piece.outcome.document))
    return {**identity, **merged(parts)}


def _metrics(claimed: Claimed, load_ms: int, now: int) -> Metrics:
    return Metrics(
        queue_ms=max(0, claimed.claimed_at - claimed.job.created_at),
        cold_start_ms=load_ms,
        run_ms=round(claimed.run_ms),
        total_ms=max(0, now - claimed.job.created_at),
        words=claimed.words,
    )
