"""Schedules on the local cloud: Terraform makes one, and the emulator's scheduler orders rounds by it."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from local import cloud
from local.stack import Stack
from local.steps import Steps
from tests.e2e.conftest import FOLDER, VARIABLES

SCHEDULE = {"often": {"expression": "rate(1 minute)", "environments": 2}}
PATIENCE_SECONDS = 120  # a minute, the scheduler's own pace, and two cold starts


def apply(variables: dict[str, Any]) -> None:
    """Bring the tests' cloud to these variables."""
    with Steps(Console(file=io.StringIO())) as steps:
        cloud.up(FOLDER, steps=steps, port=None, variables=variables)


@pytest.fixture
def scheduled(stack: Stack) -> Iterator[None]:
    """A round of two environments each minute; none of it afterwards."""
    try:
        apply({**VARIABLES, "warming": {"schedule": SCHEDULE}})
        yield
    finally:
        apply(VARIABLES)


def latest_round(stack: Stack, dynamodb: Any) -> dict[str, Any]:
    version = stack.outputs["settings"]["auth"]["WORKER_VERSION"]
    key = {"id": {"S": f"warmup#{version}"}, "part": {"S": "round"}}
    item: dict[str, Any] = dynamodb.get_item(TableName=stack.outputs["jobs_table"], Key=key, ConsistentRead=True)[
        "Item"
    ]
    return item


@pytest.mark.usefixtures("scheduled")
def test_schedule_has_the_janitor_begin_a_round_of_its_size(stack: Stack, dynamodb: Any) -> None:
    """Both of its pings reach an environment of their own."""
    before = latest_round(stack, dynamodb)["round"]
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        latest = latest_round(stack, dynamodb)
        if latest["round"] != before and len(latest["arrived"]["M"]) == 2:
            break
        time.sleep(0.5)
    assert latest["round"] != before
    assert latest["wanted"]["N"] == "2"
    assert len(latest["arrived"]["M"]) == 2
