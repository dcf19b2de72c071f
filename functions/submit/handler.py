"""The entry point of the function `submit`: HTTP API events, payload 2.0."""

from __future__ import annotations

from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.submit.app import build
from shared import http
from shared.settings import SubmitSettings

_app = build(SubmitSettings.from_environment())


def handler(event: http.Event, context: LambdaContext) -> http.Event:
    """Answer an HTTP API event."""
    return _app.handle(event, context)
