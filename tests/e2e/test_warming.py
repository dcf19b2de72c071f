"""WarmUpStore on the local cloud: as many environments as asked for, and a job that waits for the one that is warming."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.stack import Stack
from tests.e2e.backstage import Backstage
from tests.e2e.conftest import FOLDER
from tests.e2e.test_flow import finished, submitted

TEXT = "Ada Lovelace met Charles Babbage in London."


class Warmth:
    """The worker's environments, and what the table says of them."""

    def __init__(self, stack: Stack, dynamodb: Any, lambda_: Any) -> None:
        self._dynamodb, self._lambda, self._table = dynamodb, lambda_, stack.outputs["jobs_table"]
        version = stack.outputs["settings"]["auth"]["WORKER_VERSION"]
        self._key = {"id": {"S": f"warmup#{version}"}, "part": {"S": "round"}}
        self._janitor = stack.outputs["worker_alias_arn"].replace("-worker:", "-janitor:")

    def environments(self) -> list[int]:
        """The processes of this cloud's worker."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue  # it has ended meanwhile
            if str(FOLDER).encode() in command and b"-worker-" in command:
                found.append(int(process.name))
        return found

    def cool(self) -> None:
        """Kill them, and let nothing remember them: neither the table nor what the API has read of it."""
        for pid in self.environments():
            os.kill(pid, signal.SIGKILL)
        self._dynamodb.update_item(
            TableName=self._table,
            Key=self._key,
            UpdateExpression="SET environments = :none, began_at = :never",
            ExpressionAttributeValues={":none": {"M": {}}, ":never": {"N": "0"}},
        )
        for queue in ("jobs", "isolated"):
            self._dynamodb.delete_item(TableName=self._table, Key={"id": {"S": f"pace#{queue}"}, "part": {"S": "pace"}})
        time.sleep(2.5)

    def order(self, environments: int) -> None:
        """What a schedule sends to the janitor."""
        answer = self._lambda.invoke(FunctionName=self._janitor, Payload=json.dumps({"warm_up": environments}))
        assert "FunctionError" not in answer

    def round(self) -> tuple[set[str], set[str]]:
        """The environments that the latest round reached, and those that are ready."""
        item = self._dynamodb.get_item(TableName=self._table, Key=self._key, ConsistentRead=True)["Item"]
        return set(item["arrived"]["M"]), set(item["environments"]["M"])


def warming_token(api: httpx.Client, stack: Stack) -> None:
    """Fetch a token that finds the worker cold."""
    credentials = (stack.client_id, stack.client_secret)
    answer = api.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=credentials)
    assert answer.raise_for_status().json()["worker"]["state"] == "warming"


@pytest.fixture
def warmth(stack: Stack, dynamodb: Any, lambda_: Any) -> Warmth:
    return Warmth(stack, dynamodb, lambda_)


def test_job_sent_right_after_the_token_waits_for_what_that_warms(
    api: httpx.Client, client: httpx.Client, stack: Stack, warmth: Warmth
) -> None:
    """Sent at once its message would begin a second cold environment: the first is busy loading."""
    warmth.cool()
    warming_token(api, stack)
    job = submitted(client, text=TEXT)
    assert job["status_reason"] == "warming"
    assert finished(client, job["id"])["metrics"]["cold_start_ms"] == 0
    assert len(warmth.environments()) == 1


def test_environment_does_what_is_left_to_it_without_a_message(
    api: httpx.Client, client: httpx.Client, stack: Stack, backstage: Backstage, warmth: Warmth
) -> None:
    warmth.cool()
    with backstage.paused("jobs"):
        warming_token(api, stack)
        jobs = [submitted(client, text=f"{number}. {TEXT}")["id"] for number in range(3)]
        for job_id in jobs:
            assert finished(client, job_id)["status"] == "succeeded"
    assert [backstage.kept(job_id).attempt for job_id in jobs] == [1, 1, 1]


def test_job_left_to_an_environment_that_dies_is_taken_up(
    api: httpx.Client, client: httpx.Client, stack: Stack, backstage: Backstage, warmth: Warmth
) -> None:
    """By the janitor, as one whose message was lost."""
    warmth.cool()
    warming_token(api, stack)
    job_id = submitted(client, text=TEXT)["id"]
    until = time.monotonic() + 30
    while not warmth.environments():
        assert time.monotonic() < until
        time.sleep(0.02)
    for pid in warmth.environments():
        os.kill(pid, signal.SIGKILL)
    left = backstage.kept(job_id)
    assert (left.status, left.attempt) == ("queued", 0)
    backstage.take_up(left)
    assert finished(client, job_id)["status"] == "succeeded"


def test_round_reaches_as_many_environments_as_it_has_pings(warmth: Warmth) -> None:
    warmth.cool()
    warmth.order(3)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        arrived, ready = warmth.round()
        if len(arrived & ready) == 3:
            break
        time.sleep(0.2)
    assert len(arrived) == 3
    assert arrived <= ready  # an earlier round's may be, too
