"""A message of the queue `webhooks`."""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import ValidationError

from functions.webhook.delivery import Deliverer
from functions.webhook.schedule import Schedule
from functions.webhook.transport import Transport
from shared.clients import ClientTable
from shared.deliveries import DeliveryStore
from shared.errors import Transient
from shared.log import logger
from shared.models import WebhookMessage
from shared.queues import Lane
from shared.settings import WebhookSettings
from shared.vault import Vault


@cache
def _deliverer() -> Deliverer:
    settings = WebhookSettings.from_environment()
    return Deliverer(
        deliveries=DeliveryStore(settings.jobs_table),
        clients=ClientTable(settings.clients_table),
        vault=Vault(),
        transport=Transport(allow_loopback=settings.allow_loopback_webhooks),
        webhooks=Lane(settings.webhooks_queue_url),
        base_url=settings.public_url,
        schedule=Schedule(settings.webhook_delays_seconds),
    )


def _handle(record: dict[str, Any]) -> None:
    try:
        message = WebhookMessage.model_validate_json(record["body"])
    except ValidationError:
        logger.error("A message cannot be read", item=record["messageId"], body=record["body"][:1000])
        return
    try:
        outcome = _deliverer().handle(message)
    except Transient as error:
        # Acknowledged all the same: what the message was about is due, and the janitor sends the next one.
        logger.warning("A delivery waits for the janitor", job=message.job, run=message.run, reason=str(error))
        return
    logger.info("Message handled", job=message.job, run=message.run, outcome=outcome)


def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """The function's entry point: every message is acknowledged."""
    logger.set_correlation_id(context.aws_request_id)
    for record in event["Records"]:
        _handle(record)
