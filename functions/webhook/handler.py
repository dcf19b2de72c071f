"""The entry point of the function `webhook`."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.webhook.app import build
from shared.settings import WebhookSettings

_app = build(WebhookSettings.from_environment())


def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Handle the messages of an SQS event. All of them are acknowledged."""
    _app.handle(event, context)
