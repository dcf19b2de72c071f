"""A fifth of all calls to AWS fails, in every function. Each accepted job still ends with one result."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from local.stack import Stack
from shared.jobs.job import Job
from tests.e2e.cloud_admin import BIG_TEXT, TEXT, CloudAdmin
from tests.e2e.faults.control import Faults

RATE = 0.2  # share of the calls that fail
LASTING = 0.1  # share of the failing calls that fail at each try of the SDK
STILL_SECONDS = 8  # a job that has not changed for so long waits for its lease to expire, or for the janitor
PATIENCE_SECONDS = 180
DOCUMENTS = [{"id": f"d{number}", "text": f"{number}. {TEXT}"} for number in range(20)]
REQUESTS: list[dict[str, Any]] = [
    {"text": BIG_TEXT},
    {"documents": DOCUMENTS},
    *({"text": f"{number}. {TEXT}"} for number in range(30)),
]


def test_each_accepted_job_ends_with_one_result_while_a_fifth_of_all_calls_fails(
    cloud_admin: CloudAdmin, faults: Faults, stack: Stack, client: httpx.Client
) -> None:
    others = cloud_admin.list_jobs().keys()
    with faults.fail_calls(rate=RATE, lasting=LASTING):
        check_token_answers(client, stack)
        with ThreadPoolExecutor(max_workers=4) as threads:
            accepted = list(threads.map(lambda body: call_until_accepted(client, "POST", "/analyze", body), REQUESTS))
        ended = wait_for_ends(cloud_admin, others)
        answers = [call_until_accepted(client, "GET", f"/jobs/{job['id']}") for job in accepted]
    kinds = Counter(line.get("kind") for line in faults.log())
    assert min(kinds[kind] for kind in ("throttled", "broken", "lost", "unanswered")) >= 10, kinds
    # Some jobs were stored although the client was refused. They succeed, too.
    assert Counter(job.status for job in ended.values()) == {"succeeded": len(ended)}
    assert {job["status"] for job in answers} == {"succeeded"}
    for job, request in zip(accepted, REQUESTS, strict=True):
        check_documents(cloud_admin.read_documents(ended[job["id"]]), request)


def call_until_accepted(
    client: httpx.Client, method: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the answer to a call that is repeated while it is refused. Each refusal must be a 503 (RFC 9457)."""
    for _ in range(10):
        answer = client.request(method, path, json=body)
        if answer.is_success:
            content: dict[str, Any] = answer.json()
            return content
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json"), answer.text
        assert answer.headers["retry-after"]
    pytest.fail("The call was refused ten times")


def check_token_answers(client: httpx.Client, stack: Stack) -> None:
    """Check that the token endpoint issues a token, or says that the client should repeat the call."""
    credentials = (stack.client_id, stack.client_secret)
    for _ in range(5):
        answer = client.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=credentials)
        assert answer.status_code in {200, 503}, answer.text
        assert answer.json()


def wait_for_ends(cloud_admin: CloudAdmin, others: Collection[str]) -> dict[str, Job]:
    """Return all jobs but `others` when all of them have ended. Let the lease of a job without changes expire."""
    until = time.monotonic() + PATIENCE_SECONDS
    seen: dict[str, tuple[Any, float]] = {}  # the last state of each job, and the time when it was first seen
    while time.monotonic() < until:
        jobs = {job_id: job for job_id, job in cloud_admin.list_jobs().items() if job_id not in others}
        still_open = [job for job in jobs.values() if not job.is_terminal]
        if not still_open:
            return jobs
        for job in still_open:
            state = (job.model_dump(exclude={"next_check_at"}), cloud_admin.count_done_shards(job))
            now = time.monotonic()
            if job.id not in seen or seen[job.id][0] != state:
                seen[job.id] = (state, now)
            elif now - seen[job.id][1] > STILL_SECONDS and cloud_admin.expire_lease(job):
                del seen[job.id]
        cloud_admin.tick()
        time.sleep(1)
    pytest.fail(f"After {PATIENCE_SECONDS} s these jobs have not ended: {still_open}")


def check_documents(documents: list[dict[str, Any]], request: dict[str, Any]) -> None:
    """Check that every document of a request is in the result, in order, and analyzed to its last character."""
    sources = request.get("documents") or [request]
    assert [document.get("id") for document in documents] == [source.get("id") for source in sources]
    for document, source in zip(documents, sources, strict=True):
        assert document["sents"][-1]["end"] == len(source["text"])
        assert document["ents"]
