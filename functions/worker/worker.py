"""Processing of a batch of messages: claim the jobs, run the model over their texts, finish them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from functions.worker.applying import OutcomeApplier
from functions.worker.big_jobs import BigJobs
from functions.worker.claiming import Claimer
from functions.worker.finishing import Finisher
from functions.worker.heartbeat import BEAT_SECONDS, Heartbeat
from functions.worker.latency import LatencyRecorder
from functions.worker.outcome import Acknowledge, Outcome, Retry, retry_or_fail, run_step
from functions.worker.running import group_pieces, run_group
from functions.worker.stores import JobStore, QueueLatencies, ShardQueue, ShardStore
from functions.worker.work import BatchItem, Work
from shared.clock import now_ms
from shared.errors import ModelError, Transient
from shared.log import logger
from shared.webhooks.event import WebhookQueue

if TYPE_CHECKING:
    from functions.worker.pipeline import Pipeline

BATCH_LIMIT = 10  # messages of one invocation


class Worker:
    """Processes batches, one at a time: Lambda never invokes an environment twice at once."""

    def __init__(
        self,
        jobs: JobStore,
        shards: ShardStore,
        isolated: ShardQueue,
        load: Callable[[], tuple[Pipeline, int]],
        *,
        latencies: QueueLatencies,
        webhooks: WebhookQueue,
        clock: Callable[[], int] = now_ms,
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        """Use the stores and queues.

        Args:
            jobs: The store of jobs.
            shards: The store of shards.
            isolated: The queue for messages about shards.
            load: Returns the model, and the milliseconds that this call spent on loading it.
            latencies: The latencies of the queues.
            webhooks: The queue for messages about webhook events.
            clock: Returns the time in milliseconds.
            beat_seconds: Time between two beats of the heartbeat.
        """
        self._jobs = jobs
        self._load = load
        self._clock = clock
        self._beat_seconds = beat_seconds
        self._finisher = Finisher(jobs, webhooks, clock)
        self._big_jobs = BigJobs(jobs, shards, isolated, self._finisher, clock)
        self._claimer = Claimer(jobs, shards, self._big_jobs, clock)
        self._applier = OutcomeApplier(jobs, self._finisher)
        self._latency = LatencyRecorder(latencies, clock)
        self._threads = ThreadPoolExecutor(max_workers=BATCH_LIMIT, thread_name_prefix="store")

    def run(self, batch: Sequence[BatchItem], *, records_latency: bool = True) -> list[str]:
        """Process the messages of a batch.

        Args:
            batch: The messages, ten at most.
            records_latency: Whether the times of these jobs say something about other jobs in the queue.

        Returns:
            The ids of the messages that must be delivered again.
        """
        with Heartbeat(self._jobs, self._clock, beat_seconds=self._beat_seconds) as heartbeat:
            works, outcomes = self._claim_all(batch, heartbeat)
            outcomes |= self._analyze_all(works, heartbeat)
        if records_latency:
            self._latency.record(works)
        return [item.message_id for item in batch if isinstance(outcomes.get(item.message_id), Retry)]

    def _claim_all(self, batch: Sequence[BatchItem], heartbeat: Heartbeat) -> tuple[list[Work], dict[str, Outcome]]:
        """Return the works that the messages bring, and by message ids the outcomes of messages that bring none."""
        token = secrets.token_hex(8)
        claimed = list(self._threads.map(lambda item: self._claim(item, token, heartbeat), batch))
        outcomes = {item.message_id: one for item, one in zip(batch, claimed, strict=True) if not isinstance(one, Work)}
        return [one for one in claimed if isinstance(one, Work)], outcomes

    def _claim(self, item: BatchItem, token: str, heartbeat: Heartbeat) -> Work | Outcome:
        claimed = self._claimer.claim(item, f"{token}.{item.message_id}", heartbeat)
        return claimed if isinstance(claimed, Work) else self._apply(item, claimed, heartbeat)

    def _analyze_all(self, works: Sequence[Work], heartbeat: Heartbeat) -> dict[str, Outcome]:
        """Run the model over the works, and finish them. Return the outcomes by message ids."""
        if not works:
            return {}
        try:
            pipeline, load_ms = self._load()
        except (ModelError, Transient) as error:
            logger.exception("Cannot load the model", jobs=len(works))
            return {
                work.item.message_id: self._apply(work.item, retry_or_fail(work.job, error), heartbeat)
                for work in works
            }
        heartbeat.report_progress()
        # A work is finished in a thread while the model runs over the next group.
        finishing: dict[str, Future[Outcome]] = {}
        for work in self._run_model(pipeline, works, heartbeat):
            work.load_ms = load_ms
            finishing[work.item.message_id] = self._threads.submit(self._finish, work, heartbeat)
        return {message_id: finished.result() for message_id, finished in finishing.items()}

    def _run_model(self, pipeline: Pipeline, works: Sequence[Work], heartbeat: Heartbeat) -> Iterator[Work]:
        """Yield each work when all of its pieces are analyzed. Skip jobs whose claim was lost."""
        for group in group_pieces(works):
            remaining = [(work, piece) for work, piece in group if not heartbeat.is_lost(work.job)]
            ran = run_group(pipeline, remaining)
            heartbeat.report_progress()
            yield from (work for work in ran if work.is_complete)

    def _finish(self, work: Work, heartbeat: Heartbeat) -> Outcome:
        outcome = run_step(work.job, lambda: self._store(work, heartbeat))
        return self._apply(work.item, outcome, heartbeat)

    def _store(self, work: Work, heartbeat: Heartbeat) -> Outcome:
        if work.shard is not None:
            return self._big_jobs.finish_shard(work, work.shard, heartbeat)
        self._finisher.finish(work, heartbeat)
        return Acknowledge()

    def _apply(self, item: BatchItem, outcome: Outcome, heartbeat: Heartbeat) -> Outcome:
        self._applier.apply(item, outcome, heartbeat)
        return outcome
