"""A worker of the EC2 fleet, as a process that polls the local cloud's queues instead of Lambda."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from local.fleet import pause_lambda, run_poller
from local.stack import Stack
from tests.e2e.calls import submit, wait_until_finished
from tests.e2e.cloud_admin import CloudAdmin
from tests.e2e.polling import poll

TEXT = "Ada Lovelace met Charles Babbage in London."


@pytest.fixture
def no_lambda(stack: Stack) -> Iterator[None]:
    """Let only pollers receive from the queues."""
    with pause_lambda(stack):
        yield


@pytest.mark.usefixtures("no_lambda")
def test_poller_runs_jobs_as_lambda_does_and_drains_on_sigterm(
    client: httpx.Client, stack: Stack, tmp_path: Path
) -> None:
    """It runs small jobs in batches, and the shards of a big one."""
    big = (TEXT + "\n\n") * 3_000
    with run_poller(stack, tmp_path) as process:
        jobs = [submit(client, text=text)["id"] for text in (*[TEXT] * 12, big)]
        for job_id in jobs:
            assert wait_until_finished(client, job_id)["status"] == "succeeded"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert b'"Drained"' in (tmp_path / "poller.log").read_bytes()


@pytest.mark.usefixtures("no_lambda")
def test_job_of_a_killed_poller_is_recovered(
    client: httpx.Client, stack: Stack, cloud_admin: CloudAdmin, tmp_path: Path
) -> None:
    """The messages that it had received stay hidden. The janitor finds that the job makes no progress."""
    big = (TEXT + "\n\n") * 10_000
    with run_poller(stack, tmp_path) as process:
        job_id = submit(client, text=big)["id"]
        poll(lambda: count_done_shards(client, job_id), lambda done: done >= 1, seconds=30, pause=0)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
    with run_poller(stack, Path(tempfile.mkdtemp(dir=tmp_path))):
        cloud_admin.recover(cloud_admin.get_job(job_id))
        assert wait_until_finished(client, job_id, seconds=120)["status"] == "succeeded"


def count_done_shards(client: httpx.Client, job_id: str) -> int:
    """Return how many shards of a job are done, as the API shows it."""
    done: int = client.get(f"/jobs/{job_id}").json()["progress"]["done"]
    return done
