"""A local cloud for these tests alone. It has a folder and a port of its own, so it does not disturb `make up`.

The tests start it with empty state and stop it at the end. If one already runs in that folder, they bring it up to date
and leave it running, which saves a developer the wait: `make up STACK=.samovar/e2e`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from rich.console import Console

from local import clients, cloud, logs
from local.errors import NotRunning
from local.paths import GENERATED
from local.progress import ProgressDisplay
from local.stack import Stack
from tests.e2e.calls import fetch_token, open_http
from tests.e2e.cloud_admin import CloudAdmin
from tests.e2e.faults import control

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

FOLDER = GENERATED / "e2e"
VARIABLES = {"webhook_delays_seconds": [0, 1, 1, 1, 1, 1, 1, 1]}  # the schedule of a day, in a few seconds
SETUP_SECONDS = 600  # the first test waits for the local cloud

_STARTED_AT = pytest.StashKey[int]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Extend the time-out of the tests in this folder by the time that the local cloud takes to start."""
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SETUP_SECONDS))


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Iterator[Stack]:
    """Provide the local cloud."""
    keeps_running = _is_running() and not os.environ.get("CI")
    if not (keeps_running and control.is_installed(FOLDER)):
        cloud.down(FOLDER)
        control.install(FOLDER)
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        sys.stdout.write("\n")
        with ProgressDisplay(Console(file=sys.stdout, highlight=False)) as progress:
            running = cloud.up(FOLDER, progress=progress, any_port=True, variables=VARIABLES)
    yield running
    if not keeps_running:
        cloud.down(FOLDER)
        control.uninstall(FOLDER)


def _is_running() -> bool:
    try:
        Stack.load(FOLDER)
    except NotRunning:
        return False
    return True


@pytest.fixture
def faults(stack: Stack) -> Iterator[control.Faults]:
    """Provide the faults of one test. None exists at its beginning or after its end."""
    faults = control.Faults(FOLDER)
    faults.clear()
    yield faults
    faults.clear()


@pytest.fixture(scope="session")
def cloud_admin(stack: Stack) -> Iterator[CloudAdmin]:
    """Provide the administration of the local cloud."""
    # With these variables, a client that is built from the environment cannot reach a real account.
    with pytest.MonkeyPatch.context() as environment, closing(CloudAdmin(stack)) as cloud_admin:
        for name, value in stack.aws_environment.items():
            environment.setenv(name, value)
        yield cloud_admin


@pytest.fixture
def api(stack: Stack) -> Iterator[httpx.Client]:
    """Provide the API without an access token."""
    with open_http(stack) as http:
        yield http


@pytest.fixture
def client(stack: Stack, token: str) -> Iterator[httpx.Client]:
    """Provide the API with an access token of the first client."""
    with open_http(stack, token) as http:
        yield http


@pytest.fixture
def other_client(stack: Stack, other_token: str) -> Iterator[httpx.Client]:
    """Provide the API with an access token of another client."""
    with open_http(stack, other_token) as http:
        yield http


@pytest.fixture(scope="session")
def token(stack: Stack) -> str:
    """Return an access token of the first client."""
    return fetch_token(stack, stack.client_id, stack.client_secret)


@pytest.fixture(scope="session")
def other_token(stack: Stack, dynamodb: DynamoDBClient) -> str:
    """Return an access token of another client."""
    table = stack.outputs["clients_table"]
    return fetch_token(stack, *clients.register(dynamodb, table, name="other", scope=clients.SCOPE))


@pytest.fixture(scope="session")
def dynamodb(stack: Stack) -> Iterator[DynamoDBClient]:
    """Provide a boto3 client of DynamoDB with the rights of the root user."""
    with closing(stack.client("dynamodb")) as service:
        yield service


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Remember when a test started, so that its logs can be found."""
    item.stash[_STARTED_AT] = time.time_ns() // 1_000_000


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the logs of the functions to the report of a failed test."""
    report = yield
    if call.when == "call" and report.failed:
        report.sections.append(("Logs of the functions", logs.read_recent(FOLDER, since=item.stash[_STARTED_AT])))
    return report
