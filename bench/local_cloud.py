"""The local cloud that a benchmark measures: its own, or a borrowed one that was already running."""

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
from shared.aws.items import expression
from shared.aws.table import Table

JOBS_TIMEOUT_SECONDS = 1_200
_CALL_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class LocalCloud:
    """A running local cloud. A borrowed one must be left as it was."""

    stack: Stack
    folder: Path
    is_borrowed: bool

    @contextmanager
    def register_client(self, name: str) -> Iterator[Stack]:
        """Register a client and yield the stack with its credentials.

        At the end of the block, the client and its jobs are removed from a borrowed cloud.
        """
        dynamodb, kms = self.stack.client("dynamodb"), self.stack.client("kms")
        credentials = clients.create(dynamodb, kms, self.stack.outputs, name=name, scope=clients.SCOPE)
        stack = self.stack.model_copy(update=credentials)
        try:
            yield stack
        finally:
            if self.is_borrowed:
                _remove_client(stack)

    @contextmanager
    def make_folder(self) -> Iterator[Path]:
        """Yield a temporary folder for a worker's model and log, below the folder of this cloud."""
        parent = emulator(self.stack.emulator_name).get_temporary_folder(self.folder)
        with TemporaryDirectory(prefix="bench-", dir=parent) as folder:
            yield Path(folder)


@contextmanager
def open_local_cloud(
    borrowed: Path | None, *, own: Path, variables: Mapping[str, Any] | None = None, idle_seconds: int | None = None
) -> Iterator[LocalCloud]:
    """Yield the local cloud that runs in the folder `borrowed`, or one that runs inside the block in the folder `own`.

    A borrowed cloud keeps its settings. The benchmark gets a client of its own there, so that it does not count the
    jobs of other clients.

    Args:
        borrowed: The folder of a running local cloud, or None.
        own: The folder for a cloud that is started.
        variables: Terraform variables of a cloud that is started.
        idle_seconds: Seconds after which the emulator of a started cloud ends an idle environment.

    Raises:
        NotRunning: If no local cloud runs in `borrowed`.
        CommandError: If a local cloud cannot be started.
    """
    if borrowed is not None:
        with _borrow(borrowed.resolve()) as running:
            yield running
        return
    try:
        with ProgressDisplay(Console(file=sys.stdout, highlight=False)) as progress:
            stack = cloud.up(own, progress=progress, any_port=True, variables=variables, idle_seconds=idle_seconds)
        yield LocalCloud(stack, own, is_borrowed=False)
    finally:
        cloud.down(own)


@contextmanager
def _borrow(folder: Path) -> Iterator[LocalCloud]:
    """Yield the local cloud that runs in `folder`, with a client that exists only inside the block."""
    running = LocalCloud(Stack.load(folder), folder, is_borrowed=True)
    with running.register_client("bench") as stack:
        yield replace(running, stack=stack)


@contextmanager
def use_credentials(stack: Stack) -> Iterator[None]:
    """Put the emulator's credentials into this process's environment inside the block.

    The AWS clients of `shared` read them from there.
    """
    before = dict(os.environ)
    os.environ.update(stack.aws_environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def open_api(stack: Stack) -> Iterator[httpx.Client]:
    """Yield an HTTP client of the API with a token of the stack's client."""
    with httpx.Client(base_url=stack.api_url, timeout=_CALL_TIMEOUT_SECONDS, trust_env=False) as http:
        fetch_token(http, stack)
        yield http


def fetch_token(http: httpx.Client, stack: Stack) -> dict[str, Any]:
    """Fetch a token for the stack's client and use it in later calls. Return the answer."""
    secret = (stack.client_id, stack.client_secret)
    answer = http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=secret)
    granted: dict[str, Any] = answer.raise_for_status().json()
    http.headers["authorization"] = f"Bearer {granted['access_token']}"
    return granted


def wait_for_success(http: httpx.Client, job_id: str, *, seconds: float = JOBS_TIMEOUT_SECONDS) -> dict[str, Any]:
    """Wait until the job has succeeded. Return the job.

    Raises:
        RuntimeError: If the job ends with another status, or does not end within `seconds`.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        job: dict[str, Any] = http.get(f"/jobs/{job_id}", params={"wait": 20}).raise_for_status().json()
        if job["status"] == "succeeded":
            return job
        if job["status"] not in {"queued", "running"}:
            raise RuntimeError(f"The job {job_id} has ended with the status {job['status']}: {job.get('error')}")
    raise RuntimeError(f"The job {job_id} is still open after {seconds} s")


def _remove_client(stack: Stack) -> None:
    """Remove the stack's client with its jobs, its quota counters and its objects."""
    dynamodb, client_id = stack.client("dynamodb"), stack.client_id
    jobs = Table(stack.outputs["jobs_table"], dynamodb=dynamodb)
    by_client = expression({"client_id": client_id}, KeyConditionExpression="#client_id = :client_id")
    job_ids = [item["id"] for item in jobs.query(IndexName="by_client", **by_client)]
    for item_id in (*job_ids, f"quota#{client_id}"):
        for item in jobs.query(**expression({"id": item_id}, KeyConditionExpression="#id = :id")):
            jobs.delete({"id": item_id, "part": item["part"]})
    Table(stack.outputs["clients_table"], dynamodb=dynamodb).delete({"client_id": client_id})
    _remove_objects(stack, {*job_ids, client_id})


def _remove_objects(stack: Stack, owners: set[str]) -> None:
    """Remove the objects of jobs and clients: `inputs/<job>`, `results/<job>/…` and `uploads/<client>/…`."""
    s3, bucket = stack.client("s3"), stack.outputs["bucket"]
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    for key in [found["Key"] for page in pages for found in page.get("Contents", [])]:
        if not owners.isdisjoint(key.split("/")):
            s3.delete_object(Bucket=bucket, Key=key)
