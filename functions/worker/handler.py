"""A batch of SQS messages, or a warm-up ping."""

from __future__ import annotations

import secrets
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import ValidationError

from functions.worker.jobs import Received, Worker
from functions.worker.model import Artifact, ModelCache
from shared.blobs import Blobs
from shared.clock import now_ms
from shared.log import logger
from shared.models import Message, WarmUp
from shared.queues import Lane
from shared.settings import WorkerSettings
from shared.store import JobStore
from shared.warmup import Environment, Rounds

if TYPE_CHECKING:
    from functions.worker.pipeline import Pipeline

ENVIRONMENT_ID = secrets.token_hex(8)  # of this execution environment
_PING_TEXT = "Ada Lovelace wrote the first program in London."


@cache
def _settings() -> WorkerSettings:
    return WorkerSettings.from_environment()


@cache
def _model() -> ModelCache:
    settings = _settings()
    artifact = Artifact(key=settings.model_key, sha256=settings.model_sha256, size=settings.model_size)
    return ModelCache(Blobs(settings.bucket), artifact)


@cache
def _lanes() -> dict[str, Lane]:
    """The lanes by their queues' names."""
    settings = _settings()
    return {url.rpartition("/")[2]: Lane(url) for url in (settings.jobs_queue_url, settings.solo_queue_url)}


@cache
def _worker() -> Worker:
    settings = _settings()
    return Worker(
        JobStore(settings.jobs_table, Blobs(settings.bucket)),
        Lane(settings.solo_queue_url),
        _load,
        webhooks=Lane(settings.webhooks_queue_url),
    )


@cache
def _rounds() -> Rounds:
    return Rounds(_settings().jobs_table)


def _load() -> tuple[Pipeline, int]:
    model = _model()
    was_loaded = model.is_loaded
    return model.pipeline(), 0 if was_loaded else model.load_ms


def _warm_up(ping: WarmUp) -> None:
    """Load the model and run a short text, so that nothing is left for the first job; then report to the round."""
    was_loaded = _model().is_loaded
    pipeline, load_ms = _load()
    pipeline.run([(_PING_TEXT, ("ents", "sents", "tokens"))])
    now = now_ms()
    environment = Environment(ready_at=now, cold=not was_loaded, load_ms=load_ms)
    _rounds().ready(ping, ENVIRONMENT_ID, environment, ready_ms=now - ping.began_at)
    logger.info("Warm", environment=ENVIRONMENT_ID, cold=environment.cold, load_ms=load_ms)


def _received(record: dict[str, Any]) -> Received | None:
    try:
        message = Message.model_validate_json(record["body"])
    except ValidationError:
        # Nothing here can use it, now or later: acknowledged, and on record.
        logger.error("A message cannot be read", item=record["messageId"], body=record["body"][:1000])
        return None
    lane = _lanes()[record["eventSourceARN"].rpartition(":")[2]]
    return Received(record["messageId"], message, partial(lane.postpone, record["receiptHandle"]))


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The function's entry point.

    Returns:
        For a batch the item ids to deliver again, in the form of SQS partial batch responses.
    """
    logger.set_correlation_id(context.aws_request_id)
    if "warm_up" in event:
        _warm_up(WarmUp.model_validate(event["warm_up"]))
        return {}
    batch = [received for record in event["Records"] if (received := _received(record)) is not None]
    again = _worker().run(batch)
    return {"batchItemFailures": [{"itemIdentifier": item_id} for item_id in again]}
