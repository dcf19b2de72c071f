"""The application of the function `janitor`: a tick every minute, and the warm-ups of schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.janitor.checks import Janitor
from functions.janitor.dead_letters import DeadLetters
from shared.aws.blobs import Blobs
from shared.aws.queue import Queue
from shared.aws.table import Table
from shared.clock import now_ms
from shared.errors import Transient
from shared.jobs.checks import JobChecks
from shared.jobs.job import QueueName
from shared.jobs.shards import ShardStore
from shared.jobs.store import JobStore
from shared.log import logger
from shared.settings import JanitorSettings
from shared.warmup.pings import PingSender, start_warm_up
from shared.warmup.records import WarmUpRequest
from shared.warmup.store import WarmUpStore
from shared.webhooks.store import DeliveryStore

MARGIN_MS = 10_000  # a tick begins nothing more if the function has less time left


class JanitorApp:
    """The events of the function `janitor`: ticks, and the warm-up requests of schedules."""

    def __init__(
        self, janitor: Janitor, warm_ups: WarmUpStore, pings: PingSender, worker_version: str, now: Callable[[], int]
    ) -> None:
        """Tick with `janitor`. Warm the worker `worker_version` with `warm_ups` and `pings`."""
        self._janitor = janitor
        self._warm_ups = warm_ups
        self._pings = pings
        self._worker_version = worker_version
        self._now = now

    def handle(self, event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
        """Handle the event of a schedule. Return the count of each outcome, or the number of pings of a warm-up.

        Raises:
            Transient: If the tick could not begin.
        """
        if "warm_up" in event:
            return {"pings": self._warm_up(WarmUpRequest.model_validate(event).warm_up)}
        counts = self._janitor.tick(lambda: context.get_remaining_time_in_millis() > MARGIN_MS)
        outcomes = dict[str, int](counts.items())
        logger.info("Tick finished", outcomes=outcomes)
        return outcomes

    def _warm_up(self, environments: int) -> int:
        """Start a warm-up without a cooldown, because the schedule sets the times. Return the number of pings."""
        version = self._worker_version
        try:
            start_warm_up(
                self._warm_ups, self._pings, version=version, environments=environments, cooldown_ms=0, now=self._now()
            )
        except Transient as error:
            # The invocation must not fail: a deployment warms the worker, too, and must succeed without it.
            logger.warning("Cannot start a warm-up; the next token tries again", reason=str(error))
            return 0
        logger.info("Warm-up started", environments=environments)
        return environments


def build(settings: JanitorSettings, clock: Callable[[], int] = now_ms) -> JanitorApp:
    """Build the application from its settings. AWS is not called."""
    table, blobs = Table(settings.jobs_table), Blobs(settings.bucket)
    jobs = JobStore(table, blobs)
    queues: dict[QueueName, Queue] = {
        "jobs": Queue(settings.jobs_queue_url),
        "isolated": Queue(settings.isolated_queue_url),
    }
    dead_letters = DeadLetters(
        jobs=jobs,
        isolated=queues["isolated"],
        job_letters=[Queue(settings.jobs_dead_letter_queue_url), Queue(settings.isolated_dead_letter_queue_url)],
        webhook_letters=Queue(settings.webhooks_dead_letter_queue_url),
        now=clock,
    )
    janitor = Janitor(
        checks=JobChecks(table),
        jobs=jobs,
        shards=ShardStore(table, blobs),
        deliveries=DeliveryStore(table),
        queues=queues,
        webhooks=Queue(settings.webhooks_queue_url),
        dead_letters=dead_letters,
        now=clock,
    )
    warm_ups = WarmUpStore(Table(settings.jobs_table, read_timeout=1, attempts=2))
    return JanitorApp(janitor, warm_ups, PingSender(settings.worker_alias_arn), settings.worker_version, clock)
