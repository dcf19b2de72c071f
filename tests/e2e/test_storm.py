"""A fifth of all calls to AWS fails, in every function, and still each accepted job ends, with one result."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from shared.models import Job

from local.stack import Stack
from tests.e2e.backstage import BIG_TEXT, TEXT, Backstage
from tests.e2e.faults.control import Faults

RATE = 0.2
LASTING = 0.1  # of the calls that are hit: all repetitions of the SDK are hit, too
STILL_SECONDS = 8  # a job that has not changed for so long waits for a lease to end, or for the janitor
PATIENCE_SECONDS = 180
DOCUMENTS = [{"id": f"d{number}", "text": f"{number}. {TEXT}"} for number in range(20)]
REQUESTS: list[dict[str, Any]] = [
    {"text": BIG_TEXT},
    {"documents": DOCUMENTS},
    *({"text": f"{number}. {TEXT}"} for number in range(30)),
]


def test_each_accepted_job_ends_with_one_result_while_a_fifth_of_all_calls_fails(
    backstage: Backstage, faults: Faults, stack: Stack, client: httpx.Client
) -> None:
    others = backstage.jobs().keys()
    with faults.storm(rate=RATE, lasting=LASTING):
        assert_tokens_are_granted_or_refused_for_now(client, stack)
        with ThreadPoolExecutor(max_workers=4) as threads:
            accepted = list(threads.map(lambda request: persistent(client, "POST", "/analyze", request), REQUESTS))
        ended = all_ended(backstage, others)
        shown = [persistent(client, "GET", f"/jobs/{job['id']}") for job in accepted]
    kinds = Counter(line.get("kind") for line in faults.log())
    assert min(kinds[kind] for kind in ("throttled", "broken", "lost", "unanswered")) >= 10, kinds
    # Those that were stored and then refused are whole, too, and end, unknown to anybody.
    assert Counter(job.status for job in ended.values()) == {"succeeded": len(ended)}
    assert {job["status"] for job in shown} == {"succeeded"}
    for job, request in zip(accepted, REQUESTS, strict=True):
        assert_whole(backstage.documents(ended[job["id"]]), request)


def persistent(client: httpx.Client, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The answer, after as many refusals as it takes; each must say that it is for now, as RFC 9457 says it."""
    for _ in range(10):
        answer = client.request(method, path, json=body)
        if answer.is_success:
            content: dict[str, Any] = answer.json()
            return content
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json"), answer.text
        assert answer.headers["retry-after"]
    pytest.fail("Refused ten times")


def assert_tokens_are_granted_or_refused_for_now(client: httpx.Client, stack: Stack) -> None:
    credentials = (stack.client_id, stack.client_secret)
    for _ in range(5):
        answer = client.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=credentials)
        assert answer.status_code in {200, 503}, answer.text
        assert answer.json()


def all_ended(backstage: Backstage, others: Any) -> dict[str, Job]:
    """The jobs besides `others`, once all of them have ended; for those that stand still, time is made to pass."""
    until = time.monotonic() + PATIENCE_SECONDS
    seen: dict[str, tuple[Any, float]] = {}
    while time.monotonic() < until:
        jobs = {job_id: job for job_id, job in backstage.jobs().items() if job_id not in others}
        still_open = [job for job in jobs.values() if not job.is_terminal]
        if not still_open:
            return jobs
        for job in still_open:
            state, now = (job.model_dump(exclude={"next_check_at"}), backstage.progress(job)), time.monotonic()
            if job.id not in seen or seen[job.id][0] != state:
                seen[job.id] = (state, now)
            elif now - seen[job.id][1] > STILL_SECONDS and backstage.overdue(job):
                del seen[job.id]
        backstage.tick()
        time.sleep(1)
    pytest.fail(f"Still open: {[(job.status, job.attempt, job.lease_expires_at, job.next_check_at) for job in still_open]}")


def assert_whole(documents: list[dict[str, Any]], request: dict[str, Any]) -> None:
    """Every document is there, in order, to its last character."""
    sources = request.get("documents") or [request]
    assert [document.get("id") for document in documents] == [source.get("id") for source in sources]
    for document, source in zip(documents, sources, strict=True):
        assert document["sents"][-1]["end"] == len(source["text"])
        assert document["ents"]
