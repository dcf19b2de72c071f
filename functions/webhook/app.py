"""The application of the function `webhook`: it passes the messages of the queue `webhooks` to the deliverer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import ValidationError

from functions.webhook.delivery import Deliverer
from functions.webhook.schedule import Schedule
from functions.webhook.transport import Transport
from shared.auth.clients import ClientStore
from shared.aws.queue import Queue
from shared.aws.table import Table
from shared.clock import now_ms
from shared.errors import Transient
from shared.log import logger
from shared.settings import WebhookSettings
from shared.webhooks.event import WebhookMessage
from shared.webhooks.secrets import SecretCipher
from shared.webhooks.store import DeliveryStore

_LOGGED_CHARACTERS = 1_000


class WebhookApp:
    """The consumer of the queue `webhooks`. It acknowledges every message."""

    def __init__(self, deliverer: Deliverer) -> None:
        """Make attempts with `deliverer`."""
        self._deliverer = deliverer

    def handle(self, event: dict[str, Any], context: LambdaContext) -> None:
        """Handle the messages of an SQS event, one after the other."""
        logger.set_correlation_id(context.aws_request_id)
        for record in event["Records"]:
            self._handle_record(record)

    def _handle_record(self, record: dict[str, Any]) -> None:
        try:
            message = WebhookMessage.model_validate_json(record["body"])
        except ValidationError:
            body = record["body"][:_LOGGED_CHARACTERS]
            logger.error("The message is malformed and is dropped", message_id=record["messageId"], body=body)
            return
        try:
            outcome = self._deliverer.handle(message)
        except Transient as error:
            # The message need not come again: the job or the delivery is scheduled for a check by the janitor.
            logger.warning(
                "Cannot deliver now; the janitor tries again", job=message.job, run=message.run, reason=str(error)
            )
            return
        logger.info("Message handled", job=message.job, run=message.run, outcome=outcome)


def build(settings: WebhookSettings, clock: Callable[[], int] = now_ms) -> WebhookApp:
    """Build the application from its settings. AWS is not called."""
    deliverer = Deliverer(
        deliveries=DeliveryStore(Table(settings.jobs_table)),
        clients=ClientStore(Table(settings.clients_table, read_timeout=3)),
        cipher=SecretCipher(),
        transport=Transport(allow_loopback=settings.allow_loopback_webhooks),
        webhooks=Queue(settings.webhooks_queue_url),
        base_url=settings.public_url,
        schedule=Schedule(settings.webhook_delays_seconds),
        now=clock,
    )
    return WebhookApp(deliverer)
