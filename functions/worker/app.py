"""The application of the function `worker`: it processes batches of SQS messages, and pings."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import ValidationError

from functions.worker.model import Artifact, ModelCache
from functions.worker.pings import PingHandler, run_assigned
from functions.worker.work import BatchItem
from functions.worker.worker import Worker
from shared.aws.blobs import Blobs
from shared.aws.queue import Queue
from shared.aws.table import Table
from shared.clock import now_ms
from shared.jobs.latency import QueueLatencies
from shared.jobs.message import JobMessage
from shared.jobs.shards import ShardStore
from shared.jobs.store import JobStore
from shared.log import logger
from shared.settings import WorkerSettings
from shared.warmup.records import Ping
from shared.warmup.store import WarmUpStore

ON_DEMAND = "on-demand"
SNAP_START = "snap-start"
# Lambda's types of initialization that may take longer than 10 s, so that they can load the model.
_PREPARED = {"provisioned-concurrency", SNAP_START}


@dataclass(frozen=True)
class Collaborators:
    """The objects that belong to one environment. Two environments of one snapshot must not share them."""

    environment_id: str
    queues: Mapping[str, Queue]  # by the names of the queues
    worker: Worker
    pings: PingHandler


class App:
    """The function `worker` in one environment."""

    def __init__(self, model: ModelCache, connect: Callable[[ModelCache], Collaborators], initialization: str) -> None:
        """Use the model, and the collaborators that `connect` builds.

        `initialization` is Lambda's type of initialization, the value of `AWS_LAMBDA_INITIALIZATION_TYPE`.
        """
        self.model = model
        self._connect = connect
        self._initialization = initialization
        self.collaborators = connect(model)

    def handle(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Process a ping or a batch of messages.

        Returns:
            For a batch, the ids of the messages to deliver again, as an SQS partial batch response.

        Raises:
            ModelError: If a ping finds no usable model.
        """
        logger.set_correlation_id(context.aws_request_id)
        if "warm_up" in event:
            self.collaborators.pings.handle(Ping.model_validate(event["warm_up"]), self.collaborators.environment_id)
            return {}
        batch = [item for record in event["Records"] if (item := self._read(record)) is not None]
        retried = self.collaborators.worker.run(batch)
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in retried]}

    def _read(self, record: dict[str, Any]) -> BatchItem | None:
        try:
            message = JobMessage.model_validate_json(record["body"])
        except ValidationError:
            # No later delivery can use the message either. Acknowledge it; the log keeps it.
            logger.error("A message cannot be read", message_id=record["messageId"], body=record["body"][:1000])
            return None
        queue = self.collaborators.queues[record["eventSourceARN"].rpartition(":")[2]]
        return BatchItem(record["messageId"], message, partial(queue.change_visibility, record["receiptHandle"]))

    def prepare(self) -> int:
        """Load the model and use it once, before the first job. Return the loading time in milliseconds."""
        return self.collaborators.pings.prepare()

    def initialize(self) -> None:
        """Load the model before the first invocation, if this type of initialization has the time.

        Lambda ends an on-demand initialization after 10 s and runs it again.
        """
        if self._initialization not in _PREPARED:
            return
        self.prepare()
        if self._initialization == SNAP_START:
            from snapshot_restore_py import register_after_restore

            register_after_restore(self.after_restore)

    def after_restore(self) -> None:
        """Replace everything but the model: connections, the environment's id, the state of the random generator."""
        random.seed()
        self.collaborators = self._connect(self.model)


def build(
    settings: WorkerSettings,
    clock: Callable[[], int] = now_ms,
    *,
    initialization: str = ON_DEMAND,
    init_ms: int = 0,
) -> App:
    """Build the application.

    Args:
        settings: The settings.
        clock: Returns the time in milliseconds.
        initialization: Lambda's type of initialization.
        init_ms: CPU time that the imports took, in milliseconds. Pings record it.
    """
    artifact = Artifact(key=settings.model_key, sha256=settings.model_sha256, size=settings.model_size)

    def connect(model: ModelCache) -> Collaborators:
        return _connect(settings, clock, model, init_ms=init_ms, is_prepared=initialization in _PREPARED)

    return App(ModelCache(Blobs(settings.bucket), artifact), connect, initialization)


def _connect(
    settings: WorkerSettings, clock: Callable[[], int], model: ModelCache, *, init_ms: int, is_prepared: bool
) -> Collaborators:
    table = Table(settings.jobs_table)
    quick_table = Table(settings.jobs_table, read_timeout=1, attempts=2)  # for records that may be lost
    blobs = Blobs(settings.bucket)
    isolated = Queue(settings.isolated_queue_url)
    worker = Worker(
        JobStore(table, blobs),
        ShardStore(table, blobs),
        isolated,
        model.load,
        latencies=QueueLatencies(quick_table),
        webhooks=Queue(settings.webhooks_queue_url),
        clock=clock,
    )
    pings = PingHandler(
        WarmUpStore(quick_table),
        model.load,
        partial(run_assigned, worker, isolated),
        init_ms=init_ms,
        is_prepared=is_prepared,
        clock=clock,
    )
    queues = {name_queue(settings.jobs_queue_url): Queue(settings.jobs_queue_url)}
    queues[name_queue(settings.isolated_queue_url)] = isolated
    return Collaborators(secrets.token_hex(8), queues, worker, pings)


def name_queue(url: str) -> str:
    """Return the name of the queue at `url`."""
    return url.rpartition("/")[2]
