"""The local cloud that a benchmark measures. It is started and stopped by the benchmark, or borrowed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from rich.console import Console

from local import clients, cloud
from local.emulators import emulator
from local.progress import ProgressDisplay
from local.stack import Stack

PATIENCE_SECONDS = 1_200
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class LocalCloud:
    """A local cloud that is up. A borrowed one was up before, and must be left as it was."""

    stack: Stack
    folder: Path
    is_borrowed: bool

    @contextmanager
    def guest(self, name: str) -> Iterator[Stack]:
        """Register a client and yield the stack with its credentials.

        At the end the client and its jobs are removed from a borrowed cloud.
        """
        dynamodb, kms = self.stack.client("dynamodb"), self.stack.client("kms")
        made = clients.create(dynamodb, kms, self.stack.outputs, name=name, scope=clients.SCOPE)
        try:
            yield self.stack.model_copy(update=made)
        finally:
            if self.is_borrowed:
                _remove_client(self.stack.model_copy(update=made))

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield a new folder for a worker's model and log, below the folder of this cloud."""
        with TemporaryDirectory(
            prefix="bench-", dir=emulator(self.stack.emulator_name).get_temporary_folder(self.folder)
        ) as folder:
            yield Path(folder)


@contextmanager
def local_cloud(
    borrowed: Path | None, *, own: Path, variables: Mapping[str, Any] | None = None, idle_seconds: int | None = None
) -> Iterator[LocalCloud]:
    """Yield the local cloud that is up in the folder `borrowed`, or start one in the folder `own` and stop it.

    A borrowed cloud keeps its settings, and the benchmark gets a client of its own there, so that jobs of others do
    not count.

    Args:
        borrowed: The folder of a running local cloud, or None.
        own: The folder for a cloud that is started.
        variables: Terraform variables of a cloud that is started.
        idle_seconds: Seconds after which the emulator of a started cloud ends an idle environment.

    Raises:
        NotRunning: If no local cloud runs in `borrowed`.
    """
    if borrowed is not None:
        folder = borrowed.resolve()
        lent = LocalCloud(Stack.load(folder), folder, is_borrowed=True)
        with lent.guest("bench") as stack:
            yield replace(lent, stack=stack)
        return
    try:
        with ProgressDisplay(Console(file=sys.stdout, highlight=False)) as progress:
            stack = cloud.up(own, progress=progress, any_port=True, variables=variables, idle_seconds=idle_seconds)
        yield LocalCloud(stack, own, is_borrowed=False)
    finally:
        cloud.down(own)


@contextmanager
def credentials(stack: Stack) -> Iterator[None]:
    """Put the emulator's credentials into the environment, from which the project's own AWS clients take them."""
    before = dict(os.environ)
    os.environ.update(stack.aws_environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def api_client(stack: Stack) -> Iterator[httpx.Client]:
    """Yield an HTTP client of the API with a token of the stack's client."""
    with httpx.Client(base_url=stack.api_url, timeout=_TIMEOUT_SECONDS, trust_env=False) as http:
        fetch_token(http, stack)
        yield http


def fetch_token(http: httpx.Client, stack: Stack) -> dict[str, Any]:
    """Fetch a token for the stack's client and use it in later calls. Return the answer."""
    secret = (stack.client_id, stack.client_secret)
    answer = http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=secret)
    granted: dict[str, Any] = answer.raise_for_status().json()
    http.headers["authorization"] = f"Bearer {granted['access_token']}"
    return granted


def wait_for_success(http: httpx.Client, job_id: str, *, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
    """Wait until the job has succeeded. Return the job.

    Raises:
        RuntimeError: If the job ends in another way, or not within `seconds`.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        job: dict[str, Any] = http.get(f"/jobs/{job_id}", params={"wait": 20}).raise_for_status().json()
        if job["status"] == "succeeded":
            return job
        if job["status"] not in {"queued", "running"}:
            raise RuntimeError(f"The job has ended (status: {job['status']}): {job.get('error')}")
    raise RuntimeError(f"The job is still open after {seconds} s")


def _remove_client(stack: Stack) -> None:
    """Remove the stack's client with its jobs, counters and objects."""
    dynamodb, table, client_id = stack.client("dynamodb"), stack.outputs["jobs_table"], stack.client_id
    job_ids = [item["id"]["S"] for item in _query(dynamodb, table, "client_id", client_id, IndexName="by_client")]
    for item_id in (*job_ids, f"quota#{client_id}"):
        for item in _query(dynamodb, table, "id", item_id):
            dynamodb.delete_item(TableName=table, Key={name: item[name] for name in ("id", "part")})
    dynamodb.delete_item(TableName=stack.outputs["clients_table"], Key={"client_id": {"S": client_id}})
    _remove_objects(stack, {*job_ids, client_id})


def _remove_objects(stack: Stack, owners: set[str]) -> None:
    """Remove the objects of jobs and clients: `inputs/<job>`, `results/<job>/…` and `uploads/<client>/…`."""
    s3, bucket = stack.client("s3"), stack.outputs["bucket"]
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    for key in [found["Key"] for page in pages for found in page.get("Contents", [])]:
        if not owners.isdisjoint(key.split("/")):
            s3.delete_object(Bucket=bucket, Key=key)


def _query(dynamodb: Any, table: str, attribute: str, value: str, **index: str) -> list[dict[str, Any]]:
    """Return the items whose key `attribute` is `value`."""
    pages = dynamodb.get_paginator("query").paginate(
        TableName=table,
        KeyConditionExpression=f"{attribute} = :value",
        ExpressionAttributeValues={":value": {"S": value}},
        **index,
    )
    return [item for page in pages for item in page["Items"]]
