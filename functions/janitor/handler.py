"""One tick, or one warm-up round, each on a schedule."""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.janitor.due import Janitor
from shared.blobs import Blobs
from shared.clock import now_ms
from shared.deliveries import DeliveryStore
from shared.due import DueJobs
from shared.errors import Transient
from shared.log import logger
from shared.models import WarmUpOrder
from shared.queues import DeadLetterQueue, Lane
from shared.settings import JanitorSettings
from shared.warmup import Pings, Rounds, begin_round

MARGIN_MS = 10_000  # a tick begins nothing when less time is left


@cache
def _settings() -> JanitorSettings:
    return JanitorSettings.from_environment()


@cache
def _services() -> dict[str, Any]:
    settings = _settings()
    urls = (settings.jobs_dead_letter_queue_url, settings.solo_dead_letter_queue_url)
    return {
        "jobs": DueJobs(settings.jobs_table, Blobs(settings.bucket)),
        "lanes": {"jobs": Lane(settings.jobs_queue_url), "solo": Lane(settings.solo_queue_url)},
        "dead_letters": [DeadLetterQueue(url) for url in urls],
        "deliveries": DeliveryStore(settings.jobs_table),
        "webhooks": Lane(settings.webhooks_queue_url),
        "webhooks_dead_letters": DeadLetterQueue(settings.webhooks_dead_letter_queue_url),
    }


@cache
def _rounds() -> tuple[Rounds, Pings]:
    settings = _settings()
    return Rounds(settings.jobs_table), Pings(settings.worker_alias_arn)


def _warm_up(order: WarmUpOrder) -> dict[str, int]:
    """Begin a round, however recent the last one is: a schedule says when."""
    rounds, pings = _rounds()
    version, now = _settings().worker_version, now_ms()
    try:
        begin_round(rounds, pings, version=version, environments=order.warm_up, cooldown_ms=0, now=now)
    except Transient as error:
        # A deploy or a schedule goes on without: the next token tries again.
        logger.warning("No ping could be sent", reason=str(error))
        return {"pings": 0}
    logger.info("Warm-up", environments=order.warm_up)
    return {"pings": order.warm_up}


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """The function's entry point; how often each thing was done."""
    if "warm_up" in event:
        return _warm_up(WarmUpOrder.model_validate(event))
    janitor = Janitor(**_services(), now=now_ms, has_time=lambda: context.get_remaining_time_in_millis() > MARGIN_MS)
    done = dict(janitor.tick())
    logger.info("Tick", extra={"done": done})
    return done
