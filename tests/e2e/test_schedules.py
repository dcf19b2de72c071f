"""Scheduled pings on the local cloud: Terraform creates a schedule, and the emulator's scheduler runs it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from local import cloud
from local.progress import ProgressDisplay
from local.stack import Stack
from tests.e2e.cloud_admin import CloudAdmin
from tests.e2e.conftest import FOLDER, VARIABLES
from tests.e2e.polling import poll

SCHEDULE = {"often": {"expression": "rate(1 minute)", "environments": 2}}
PATIENCE_SECONDS = 120  # a minute, the time between two runs of the scheduler, and two cold starts


def apply(variables: dict[str, Any]) -> None:
    """Apply Terraform to the tests' local cloud with these variables."""
    with ProgressDisplay(Console(file=io.StringIO())) as progress:
        cloud.up(FOLDER, progress=progress, any_port=True, variables=variables)


@pytest.fixture
def schedule(stack: Stack) -> Iterator[None]:
    """Schedule a warm-up of two environments each minute, until the end of the test."""
    try:
        apply({**VARIABLES, "warming": {"schedule": SCHEDULE}})
        yield
    finally:
        apply(VARIABLES)


@pytest.mark.usefixtures("schedule")
def test_schedule_lets_the_janitor_start_a_warm_up_of_its_size(cloud_admin: CloudAdmin) -> None:
    """Each of the two pings reaches an environment of its own."""
    before = cloud_admin.get_warm_up().warm_up
    latest = poll(
        cloud_admin.get_warm_up,
        lambda warm_up: warm_up.warm_up != before and len(warm_up.arrived) == 2,
        seconds=PATIENCE_SECONDS,
    )
    assert latest.wanted == 2
