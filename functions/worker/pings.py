"""Handling of pings: the environment loads the model, records that it is ready, and runs the jobs that wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from functions.worker.work import BatchItem
from shared.clock import now_ms
from shared.errors import Transient
from shared.jobs.message import JobMessage
from shared.log import logger
from shared.warmup.records import Environment, Ping, WarmUp

if TYPE_CHECKING:
    from functions.worker.pipeline import Pipeline

HOLD_MS = 3_000  # an environment waits for the other pings until so long after the warm-up started
POLL_SECONDS = 0.1
POLL_SECONDS_EACH = 0.01  # for each environment of the warm-up, because all of them read the same item
_T = TypeVar("_T")
_TEXT = "Ada Lovelace wrote the first program in London."


class WarmUpStore(Protocol):
    """The warm-ups, as `shared.warmup.store.WarmUpStore` stores them."""

    def get(self, key: str) -> WarmUp:
        """Return the warm-up that is stored under `key`."""

    def record_arrival(self, ping: Ping, environment_id: str, *, now: int) -> None:
        """Record that a ping has reached an environment."""

    def record_ready(
        self, ping: Ping, environment_id: str, environment: Environment, *, ready_ms: int
    ) -> list[JobMessage]:
        """Record that an environment is ready. Return the jobs that are assigned to it."""


class JobRunner(Protocol):
    """A processor of batches, as `functions.worker.worker.Worker` implements it."""

    def run(self, batch: Sequence[BatchItem], *, records_latency: bool = True) -> list[str]:
        """Process the messages of a batch. Return the ids of those that must be delivered again."""


class MessageQueue(Protocol):
    """The queue `isolated`, for a sender."""

    def send(self, message: JobMessage, *, client_id: str, delay_seconds: int = 0) -> None:
        """Send a message."""


@dataclass(frozen=True)
class PingHandler:
    """The handler of the pings of one environment.

    `load` returns the model, and the milliseconds that the call spent on loading it. `run_assigned` runs jobs. The
    environment `is_prepared` if it loaded the model before its first invocation, as SnapStart does.
    """

    warm_ups: WarmUpStore
    load: Callable[[], tuple[Pipeline, int]]
    run_assigned: Callable[[Sequence[JobMessage]], None]
    init_ms: int = 0
    is_prepared: bool = False
    clock: Callable[[], int] = now_ms
    sleep: Callable[[float], None] = time.sleep
    _handled: list[str] = field(default_factory=list)  # the last warm-up whose ping this environment has handled

    def handle(self, ping: Ping, environment_id: str) -> None:
        """Get ready, record it, run the assigned jobs, then leave the other pings to other environments.

        Raises:
            ModelError: If there is no usable model. The warm-up then records an environment that is not ready.
            Transient: If S3 is throttled or unreachable. The same holds.
        """
        self._try(lambda: self.warm_ups.record_arrival(ping, environment_id, now=self.clock()))
        load_ms = self.prepare()
        assigned = self._record_ready(ping, environment_id, load_ms)
        if assigned:
            self.run_assigned(assigned)
        self._wait_for_others(ping)

    def prepare(self) -> int:
        """Load the model and run a short text, so that the first job does not wait. Return the loading time in ms."""
        pipeline, load_ms = self.load()
        pipeline.run([(_TEXT, ("ents", "sents", "tokens"))])
        return load_ms

    def _record_ready(self, ping: Ping, environment_id: str, load_ms: int) -> list[JobMessage]:
        now = self.clock()
        # A model that was loaded during init also shows how long a new environment takes.
        is_cold = load_ms > 0 or (self.is_prepared and not self._handled)
        self._handled[:] = [ping.warm_up]
        environment = Environment(ready_at=now, cold=is_cold, load_ms=load_ms, init_ms=self.init_ms)
        ready_ms = max(0, now - ping.started_at)
        record = partial(self.warm_ups.record_ready, ping, environment_id, environment, ready_ms=ready_ms)
        assigned = self._try(record) or []
        logger.info("Warm", environment=environment_id, cold=is_cold, load_ms=load_ms, assigned=len(assigned))
        return assigned

    def _wait_for_others(self, ping: Ping) -> None:
        """Stay busy until the warm-up's other pings have arrived: Lambda would send them to an idle environment."""
        until = ping.started_at + HOLD_MS
        pause = max(POLL_SECONDS, ping.environments * POLL_SECONDS_EACH)
        while self.clock() < until:
            latest = self._try(lambda: self.warm_ups.get(ping.key))
            if latest and (latest.warm_up != ping.warm_up or latest.has_all_arrived):
                return
            self.sleep(pause)

    def _try(self, call: Callable[[], _T]) -> _T | None:
        try:
            return call()
        except Transient as error:
            logger.warning("Cannot reach the warm-up; continuing without it", reason=str(error))
            return None


def run_assigned(worker: JobRunner, isolated: MessageQueue, messages: Sequence[JobMessage]) -> None:
    """Run jobs that were assigned to a warm-up, a batch at most.

    No SQS message stands behind them. A job that must be retried gets a new message in the queue `isolated`.
    """
    batch = [
        BatchItem(str(number), message, partial(_send_again, isolated, message))
        for number, message in enumerate(messages)
    ]
    worker.run(batch, records_latency=False)


def _send_again(isolated: MessageQueue, message: JobMessage, *, seconds: int) -> None:
    # The message does not name its client, so the job is its message group.
    isolated.send(message, client_id=message.job, delay_seconds=seconds)
