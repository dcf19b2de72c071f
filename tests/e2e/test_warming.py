"""Warm-ups on the local cloud: their pings reach enough environments, and a job waits for the one that is warming."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from local.stack import Stack
from tests.e2e.calls import submit, wait_until_finished
from tests.e2e.cloud_admin import CloudAdmin
from tests.e2e.conftest import FOLDER
from tests.e2e.polling import poll

TEXT = "Ada Lovelace met Charles Babbage in London."
CACHE_SECONDS = 2.5  # the API reads the warm-up and the queue latencies again after 2 s


def list_environments() -> list[int]:
    """Return the process ids of the worker's environments in this local cloud."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue  # the process has ended meanwhile
        if str(FOLDER).encode() in command and b"-worker-" in command:
            found.append(int(process.name))
    return found


def kill_environments() -> None:
    """Kill all of the worker's environments."""
    for pid in list_environments():
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def cold_worker(cloud_admin: CloudAdmin) -> None:
    """Kill all environments, and let neither the table nor the API remember them."""
    kill_environments()
    cloud_admin.forget_warmth()
    time.sleep(CACHE_SECONDS)


def start_warm_up(api: httpx.Client, stack: Stack) -> None:
    """Fetch a token while the worker is cold, which starts a warm-up."""
    credentials = (stack.client_id, stack.client_secret)
    answer = api.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=credentials)
    assert answer.raise_for_status().json()["worker"]["state"] == "warming"


@pytest.mark.usefixtures("cold_worker")
def test_job_sent_right_after_the_token_waits_for_the_warming_environment(
    api: httpx.Client, client: httpx.Client, stack: Stack
) -> None:
    """A message that is sent at once would start a second cold environment, because the first one loads the model."""
    start_warm_up(api, stack)
    job = submit(client, text=TEXT)
    assert job["status_reason"] == "warming"
    assert wait_until_finished(client, job["id"])["metrics"]["cold_start_ms"] == 0
    assert len(list_environments()) == 1


@pytest.mark.usefixtures("cold_worker")
def test_environment_runs_the_jobs_that_are_assigned_to_it_without_a_message(
    api: httpx.Client, client: httpx.Client, stack: Stack, cloud_admin: CloudAdmin
) -> None:
    with cloud_admin.pause("jobs"):
        start_warm_up(api, stack)
        jobs = [submit(client, text=f"{number}. {TEXT}")["id"] for number in range(3)]
        for job_id in jobs:
            assert wait_until_finished(client, job_id)["status"] == "succeeded"
    assert [cloud_admin.get_job(job_id).attempt for job_id in jobs] == [1, 1, 1]


@pytest.mark.usefixtures("cold_worker")
def test_job_assigned_to_an_environment_that_dies_is_recovered(
    api: httpx.Client, client: httpx.Client, stack: Stack, cloud_admin: CloudAdmin
) -> None:
    """The janitor recovers it like a job whose message was lost."""
    start_warm_up(api, stack)
    job_id = submit(client, text=TEXT)["id"]
    poll(list_environments, bool, seconds=30, pause=0.02)
    kill_environments()
    left = cloud_admin.get_job(job_id)
    assert (left.status, left.attempt) == ("queued", 0)
    cloud_admin.recover(left)
    assert wait_until_finished(client, job_id)["status"] == "succeeded"


@pytest.mark.usefixtures("cold_worker")
def test_warm_up_reaches_as_many_environments_as_it_has_pings(cloud_admin: CloudAdmin) -> None:
    cloud_admin.request_warm_up(3)
    # Other environments that are ready may belong to an earlier warm-up.
    latest = poll(
        cloud_admin.get_warm_up,
        lambda warm_up: len(warm_up.arrived.keys() & warm_up.environments.keys()) == 3,
    )
    assert len(latest.arrived) == 3
