"""A local cloud for the tests alone: own folder and port, so that a running `make up` is not disturbed.

It is started from nothing and stopped at the end; one that is already up in that folder is brought up to date and left
running, which saves a developer the wait: `make up STACK=.samovar/e2e`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from local import clients, cloud, emulator, logs
from local.emulator import ROOT
from local.errors import NotUp
from local.stack import Stack
from local.steps import Steps
from tests.e2e.backstage import Backstage
from tests.e2e.faults import control

FOLDER = ROOT / ".samovar" / "e2e"
VARIABLES = {"webhook_delays_seconds": [0, 1, 1, 1, 1, 1, 1, 1]}  # a day in a few seconds
SETUP_SECONDS = 600  # the first test waits for the cloud

_BEGAN = pytest.StashKey[int]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Allow the tests of this folder the time that the local cloud takes to start."""
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SETUP_SECONDS))


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Iterator[Stack]:
    """The local cloud."""
    kept = _is_up() and not os.environ.get("CI")
    if not (kept and control.is_installed(FOLDER)):
        cloud.down(FOLDER)
        control.install(FOLDER)
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        sys.stdout.write("\n")
        with Steps(Console(file=sys.stdout, highlight=False)) as steps:
            up = cloud.up(FOLDER, steps=steps, port=None, variables=VARIABLES)
    yield up
    if not kept:
        cloud.down(FOLDER)
        control.uninstall(FOLDER)


def _is_up() -> bool:
    try:
        Stack.load(FOLDER)
    except NotUp:
        return False
    return True


@pytest.fixture
def faults(stack: Stack) -> Iterator[control.Faults]:
    """What goes wrong in the functions during a test."""
    faults = control.Faults(FOLDER)
    faults.clear()
    yield faults
    faults.clear()


@pytest.fixture(scope="session")
def backstage(stack: Stack) -> Iterator[Backstage]:
    """The local cloud's table, bucket and queues, as root."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in emulator.access(stack.aws_endpoint_url).items():
            environment.setenv(name, value)
        backstage = Backstage(stack)
        yield backstage
        backstage.close()


@pytest.fixture(scope="session")
def outputs(stack: Stack) -> dict[str, Any]:
    """The outputs of Terraform."""
    return stack.outputs


@pytest.fixture
def api(stack: Stack) -> Iterator[httpx.Client]:
    """The API, without credentials."""
    with _http(stack) as http:
        yield http


@pytest.fixture
def client(stack: Stack, token: str) -> Iterator[httpx.Client]:
    """The API as the first client sees it."""
    with _http(stack, token) as http:
        yield http


@pytest.fixture
def other_client(stack: Stack, other_token: str) -> Iterator[httpx.Client]:
    """The API as another client sees it."""
    with _http(stack, other_token) as http:
        yield http


@pytest.fixture(scope="session")
def token(stack: Stack) -> str:
    """An access token of the first client."""
    return access_token(stack, stack.client_id, stack.client_secret)


@pytest.fixture(scope="session")
def other_token(stack: Stack) -> str:
    """An access token of another client."""
    dynamodb, table = stack.client("dynamodb"), stack.outputs["clients_table"]
    return access_token(stack, *clients.register(dynamodb, table, name="other", scope=clients.SCOPE))


def access_token(stack: Stack, client_id: str, secret: str) -> str:
    """A token, as any client fetches it."""
    with _http(stack) as http:
        answer = http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=(client_id, secret))
    answer.raise_for_status()
    granted: str = answer.json()["access_token"]
    return granted


def _http(stack: Stack, token: str | None = None) -> httpx.Client:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=stack.api_url, headers=headers, timeout=60, trust_env=False)


@pytest.fixture(scope="session")
def dynamodb(stack: Stack) -> Iterator[Any]:
    """DynamoDB, as root."""
    yield from _service(stack, "dynamodb")


@pytest.fixture(scope="session")
def sqs(stack: Stack) -> Iterator[Any]:
    """SQS, as root."""
    yield from _service(stack, "sqs")


@pytest.fixture(scope="session")
def s3(stack: Stack) -> Iterator[Any]:
    """S3, as root."""
    yield from _service(stack, "s3")


@pytest.fixture(scope="session")
def kms(stack: Stack) -> Iterator[Any]:
    """KMS, as root."""
    yield from _service(stack, "kms")


@pytest.fixture(scope="session")
def lambda_(stack: Stack) -> Iterator[Any]:
    """Lambda, as root."""
    yield from _service(stack, "lambda")


def _service(stack: Stack, name: str) -> Iterator[Any]:
    service = stack.client(name)
    yield service
    service.close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Remember when a test began, for its logs."""
    item.stash[_BEGAN] = time.time_ns() // 1_000_000


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the functions logged during a test that failed."""
    report = yield
    if call.when == "call" and report.failed:
        report.sections.append(("Logs of the functions", logs.recent(FOLDER, since=item.stash[_BEGAN])))
    return report
