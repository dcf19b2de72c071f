"""The worker as a process of its own, on the local cloud's queues: instead of Lambda, ended and killed."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from local.fleet import poller, without_lambda
from local.stack import Stack
from tests.e2e.backstage import Backstage
from tests.e2e.test_flow import finished, submitted

TEXT = "Ada Lovelace met Charles Babbage in London."


@pytest.fixture
def no_lambda(stack: Stack) -> Iterator[None]:
    """The queues without Lambda's mappings."""
    with without_lambda(stack):
        yield


@pytest.mark.usefixtures("no_lambda")
def test_poller_does_what_lambda_does_and_drains_when_told_to_end(
    client: httpx.Client, stack: Stack, tmp_path: Path
) -> None:
    """Small jobs in batches, and a big one in shards."""
    big = (TEXT + "\n\n") * 3_000
    with poller(stack, tmp_path) as process:
        jobs = [submitted(client, text=text)["id"] for text in (*[TEXT] * 12, big)]
        for job_id in jobs:
            assert finished(client, job_id)["status"] == "succeeded"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert b'"Drained"' in (tmp_path / "poller.log").read_bytes()


@pytest.mark.usefixtures("no_lambda")
def test_poller_that_is_killed_loses_nothing(
    client: httpx.Client, stack: Stack, backstage: Backstage, tmp_path: Path
) -> None:
    """What it had received stays hidden; the janitor sees that nobody does it."""
    big = (TEXT + "\n\n") * 10_000
    with poller(stack, tmp_path) as process:
        job_id = submitted(client, text=big)["id"]
        until = time.monotonic() + 30
        while client.get(f"/jobs/{job_id}").json()["progress"]["done"] < 1:
            assert time.monotonic() < until
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
    with poller(stack, Path(tempfile.mkdtemp(dir=tmp_path))):
        backstage.take_up(backstage.kept(job_id))
        assert finished(client, job_id, seconds=120)["status"] == "succeeded"
