"""A batch of SQS messages, or a warm-up ping."""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import ValidationError

from functions.worker.jobs import Worker
from functions.worker.model import Artifact, ModelCache
from functions.worker.warming import Warming
from functions.worker.work import Received
from shared.blobs import Blobs
from shared.log import logger
from shared.models import Message, WarmUp
from shared.pace import Paces
from shared.queues import Lane
from shared.settings import WorkerSettings
from shared.store import JobStore
from shared.warmup import Rounds

if TYPE_CHECKING:
    from functions.worker.pipeline import Pipeline

_PREPARED = {"provisioned-concurrency", "snap-start"}  # how environments begin that load the model during init
_INITIALIZATION = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
_INIT_MS = round(time.process_time() * 1000)  # CPU time until everything is imported


@cache
def _environment_id() -> str:
    """Of this execution environment."""
    return secrets.token_hex(8)


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
        paces=Paces(settings.jobs_table),
        webhooks=Lane(settings.webhooks_queue_url),
    )


@cache
def _warming() -> Warming:
    is_prepared = _INITIALIZATION in _PREPARED
    return Warming(Rounds(_settings().jobs_table), _load, _work, init_ms=_INIT_MS, is_prepared=is_prepared)


def _load() -> tuple[Pipeline, int]:
    model = _model()
    was_loaded = model.is_loaded
    return model.pipeline(), 0 if was_loaded else model.load_ms


def _work(messages: Sequence[Message]) -> None:
    """Do what `messages` ask for, a batch at most, which no lane has brought."""
    batch = [Received(str(number), one, partial(_again, one)) for number, one in enumerate(messages)]
    _worker().run(batch, is_typical=False)


def _again(message: Message, *, seconds: int) -> None:
    """There is nothing to hide: it is queued, to be alone in its second attempt."""
    lane = _lanes()[_settings().solo_queue_url.rpartition("/")[2]]
    lane.send(message, client_id=message.job, delay_seconds=seconds)  # whose it is the message does not say


def prepare() -> int:
    """Load the model and use it once, before the first job; the milliseconds of the load."""
    return _warming().prepare()


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
        _warming().answer(WarmUp.model_validate(event["warm_up"]), _environment_id())
        return {}
    batch = [received for record in event["Records"] if (received := _received(record)) is not None]
    again = _worker().run(batch)
    return {"batchItemFailures": [{"itemIdentifier": item_id} for item_id in again]}


def _prepare_during_init(kind: str) -> None:
    """Load the model before the first invoke, where init has the time: on demand it is ended after 10 s and run again.

    `kind` is `AWS_LAMBDA_INITIALIZATION_TYPE`.
    """
    if kind not in _PREPARED:
        return
    prepare()
    if kind == "snap-start":
        from snapshot_restore_py import register_after_restore

        register_after_restore(_after_restore)


def _after_restore() -> None:
    """Of what is in the snapshot, every environment gets its own but the model: connections, identity, chance."""
    for cached in (_environment_id, _lanes, _worker, _warming):
        cached.cache_clear()
    random.seed()


_prepare_during_init(_INITIALIZATION)
