"""The entry point of the function `janitor`."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.janitor.app import build
from shared.settings import JanitorSettings

_app = build(JanitorSettings.from_environment())


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Handle the event of a schedule: a tick, or a warm-up if the event has the member `warm_up`."""
    return _app.handle(event, context)
