"""The Lambda entry point of the function `worker`."""

from __future__ import annotations

import os
import time
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.worker.app import ON_DEMAND, build
from shared.settings import WorkerSettings

_INIT_MS = round(time.process_time() * 1000)  # CPU time until everything is imported

_app = build(
    WorkerSettings.from_environment(),
    initialization=os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE", ON_DEMAND),
    init_ms=_INIT_MS,
)
_app.initialize()


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Handle a batch of SQS messages, or a ping.

    Returns:
        For a batch, the ids of the messages to deliver again, as an SQS partial batch response.
    """
    return _app.handle(event, context)
