"""The entry point of the function `auth`."""

from __future__ import annotations

from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.auth.app import build
from shared.http import Event
from shared.settings import AuthSettings

_app = build(AuthSettings.from_environment())


def handler(event: Event, context: LambdaContext) -> Event:
    """Return the answer to an HTTP API event (payload 2.0)."""
    return _app.handle(event, context)
