"""The API over moto: idempotency keys, waiting, ETags, estimates, lists, limits, and the OpenAPI document."""

from __future__ import annotations

import dataclasses
import importlib
import json
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from functions.submit.admission import Caller
from functions.submit.listing import make_cursor
from functions.submit.openapi import Specification
from functions.submit.requests import AnalyzeRequest
from functions.submit.submission import Submitted
from shared.aws.blobs import Blobs
from shared.aws.table import Table
from shared.clock import now_ms
from shared.errors import ApiError, MethodNotAllowed
from shared.http import InternalError
from shared.jobs.job import IdempotencyKey, Job, Metrics
from shared.jobs.latency import QueueLatencies, QueueLatency
from shared.jobs.message import JobMessage
from shared.jobs.store import JobStore
from shared.warmup.records import Environment
from shared.warmup.store import WarmUpStore
from tests.events import CONTEXT, http_event
from tests.integration.conftest import Api, Reply, register

SNAPSHOT = Path(__file__).parent / "openapi.json"
KEY = {"idempotency-key": "order-1"}
A_SECOND_LATER = 1_001  # a count of open jobs at the limit is then no longer used


def submit(api: Api, text: str = "Ada lived in London.", **body: Any) -> str:
    """Submit a job and return its id."""
    answer = api("POST", "/analyze", {"text": text, **body})
    assert answer.status == 202, answer.body
    return str(answer.body["id"])


def claim(api: Api, job_id: str) -> Job:
    """Claim a job, as the worker does."""
    job = api.store.claim(JobMessage(job=job_id, run=1), claim_token="w", now=now_ms())
    assert job is not None
    return job


def succeed(api: Api, job_id: str, *, result: bytes = b'{"documents":[{"ents":[]}]}') -> None:
    """Claim a job and end it as succeeded, as the worker does."""
    assert api.store.succeed(claim(api, job_id), result, metrics=Metrics(), now=now_ms())


def count_messages(api: Api) -> int:
    """Return the number of messages in the queue `jobs`."""
    answer = api.services.sqs.get_queue_attributes(
        QueueUrl=api.services.jobs_queue_url,
        AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"],
    )
    return sum(map(int, answer["Attributes"].values()))


class TestIdempotency:
    def test_same_key_and_body_return_the_same_job(self, api: Api) -> None:
        first = api("POST", "/analyze", {"text": "a"}, headers=KEY)
        again = api("POST", "/analyze", {"text": "a"}, headers=KEY)
        assert (first.status, again.status) == (202, 202)
        assert again.body["id"] == first.body["id"]
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
        assert len(api.stored_parts()) == 3  # job, input, key

    def test_another_spelling_of_the_same_body_returns_the_same_job(self, api: Api) -> None:
        first = api("POST", "/analyze", '{"text": "a", "features": ["sents", "ents"]}', headers=KEY)
        again = api("POST", "/analyze", '{"features":["ents","sents"],"text":"\\u0061"}', headers=KEY)
        assert again.body["id"] == first.body["id"]

    def test_another_order_of_names_and_events_returns_the_same_job(self, api: Api) -> None:
        webhook = {"url": "https://receiver.example/", "events": ["job.failed", "job.succeeded"]}
        body = {"text": "a", "metadata": {"a": "1", "b": "2"}, "webhook": webhook}
        first = api("POST", "/analyze", body, headers=KEY)
        webhook = {"url": "https://receiver.example/", "events": ["job.succeeded", "job.failed"]}
        again = api(
            "POST", "/analyze", {"metadata": {"b": "2", "a": "1"}, "webhook": webhook, "text": "a"}, headers=KEY
        )
        assert again.body["id"] == first.body["id"]

    def test_same_key_with_another_body_is_refused(self, api: Api) -> None:
        api("POST", "/analyze", {"text": "a"}, headers=KEY)
        answer = api("POST", "/analyze", {"text": "b"}, headers=KEY)
        assert (answer.status, answer.body["code"]) == (422, "idempotency_key_reused")
        assert count_messages(api) == 1

    def test_key_belongs_to_one_client(self, api: Api) -> None:
        mine = api("POST", "/analyze", {"text": "a"}, headers=KEY)
        theirs = api("POST", "/analyze", {"text": "b"}, headers=KEY, bearer=api.token(client_id="c_other"))
        assert theirs.status == 202
        assert theirs.body["id"] != mine.body["id"]

    def test_repeated_request_sends_the_message_of_a_queued_job_again(self, api: Api) -> None:
        """The client may repeat the request because the message was lost."""
        api("POST", "/analyze", {"text": "a"}, headers=KEY)
        api("POST", "/analyze", {"text": "a"}, headers=KEY)
        assert count_messages(api) == 2

    def test_repeated_request_sends_no_message_for_an_ended_job(self, api: Api) -> None:
        job = api("POST", "/analyze", {"text": "a"}, headers=KEY).body["id"]
        succeed(api, job)
        again = api("POST", "/analyze", {"text": "a"}, headers=KEY)
        assert (again.status, again.body["status"]) == (200, "succeeded")
        assert count_messages(api) == 1

    def test_key_of_a_deleted_job_answers_gone(self, api: Api) -> None:
        job = api("POST", "/analyze", {"text": "a"}, headers=KEY).body["id"]
        api("DELETE", f"/jobs/{job}")
        answer = api("POST", "/analyze", {"text": "a"}, headers=KEY)
        assert (answer.status, answer.body["code"]) == (410, "gone")

    def test_key_can_be_used_again_after_a_day(self, api: Api) -> None:
        first = api("POST", "/analyze", {"text": "a"}, headers=KEY).body["id"]
        api.clock.advance((24 * 3600 + 5) * 1000)
        answer = api("POST", "/analyze", {"text": "b"}, headers=KEY)
        assert answer.status == 202
        assert answer.body["id"] != first

    @pytest.mark.usefixtures("one_call_at_a_time")
    def test_only_one_of_several_concurrent_requests_creates_a_job(self, api: Api) -> None:
        """All of them find the key unused before any of them writes."""
        barrier = threading.Barrier(4)

        class SimultaneousStore(JobStore):
            def get_idempotency_key(self, key_id: str, *, now: int) -> IdempotencyKey | None:
                found = super().get_idempotency_key(key_id, now=now)
                barrier.wait(timeout=20)
                return found

        store = SimultaneousStore(Table("jobs"), Blobs("bucket"))
        submission = dataclasses.replace(api.app.services.submission, store=store)
        caller, request = Caller(api.client.client_id), AnalyzeRequest(text="a")
        submission.admission.admit_job(caller, 1)  # fill the caches, which are not thread-safe

        def submit_once(_: int) -> Submitted:
            return submission.submit(caller, request, size=1, key="k")

        with ThreadPoolExecutor(max_workers=4) as threads:
            outcomes = list(threads.map(submit_once, range(4)))
        assert len({outcome.job.id for outcome in outcomes}) == 1
        assert sorted(outcome.is_replayed for outcome in outcomes) == [False, True, True, True]

    @pytest.mark.parametrize("key", ["", "x" * 256, "a\x00b", "a\nb", "clé", "\x7f"])
    def test_malformed_key_is_refused(self, api: Api, key: str) -> None:
        answer = api("POST", "/analyze", {"text": "a"}, headers={"idempotency-key": key})
        assert (answer.status, answer.body["code"]) == (422, "invalid_request")
        assert answer.body["errors"][0]["header"] == "Idempotency-Key"
        assert len(api.stored_parts()) == 0

    def test_key_of_255_characters_is_accepted(self, api: Api) -> None:
        assert api("POST", "/analyze", {"text": "a"}, headers={"idempotency-key": "x" * 255}).status == 202


class TestWaiting:
    @pytest.fixture(autouse=True)
    def _end_jobs_at_the_first_pause(self, api: Api) -> None:
        """End the newest job when a waiting request pauses for the first time."""
        self.pauses: list[float] = []

        def sleep(seconds: float) -> None:
            self.pauses.append(seconds)
            jobs, _ = api.store.list_page(api.client.client_id, since="0", until="g", after=None, limit=1)
            succeed(api, jobs[0].id)

        api.sleep = sleep

    def test_preferred_wait_returns_the_result(self, api: Api) -> None:
        answer = api("POST", "/analyze", {"text": "a"}, headers={"prefer": "respond-async, wait=10"})
        assert answer.status == 200
        assert answer.body["result"] == {"documents": [{"ents": []}]}
        assert answer.headers["preference-applied"] == "wait=10"
        assert "retry-after" not in answer.headers

    @pytest.mark.parametrize(
        ("prefer", "applied"), [("wait=99", "wait=25"), ('wait="7"', "wait=7"), ("Wait = 3", "wait=3")]
    )
    def test_wait_is_limited_and_has_several_spellings(self, api: Api, prefer: str, applied: str) -> None:
        answer = api("POST", "/analyze", {"text": "a"}, headers={"prefer": prefer})
        assert answer.headers["preference-applied"] == applied

    @pytest.mark.parametrize("prefer", ["wait=-1", "wait=abc", "await=5", "wait", "return=minimal", "wait=1.5"])
    def test_malformed_preference_is_ignored(self, api: Api, prefer: str) -> None:
        """RFC 7240, section 2, demands it."""
        answer = api("POST", "/analyze", {"text": "a"}, headers={"prefer": prefer})
        assert answer.status == 202
        assert "preference-applied" not in answer.headers
        assert not self.pauses

    @pytest.mark.parametrize("wait", ["-1", "abc", "26", "1.5", ""])
    def test_malformed_parameter_is_refused(self, api: Api, wait: str) -> None:
        answer = api("GET", f"/jobs/{submit(api)}", query={"wait": wait})
        assert (answer.status, answer.body["code"]) == (422, "invalid_request")
        assert answer.body["errors"][0]["parameter"] == "wait"

    def test_repeated_parameter_is_refused_and_an_unknown_one_is_ignored(self, api: Api) -> None:
        job_id = submit(api)
        repeated = api("GET", f"/jobs/{job_id}", query={"wait": "0&wait=1"})
        assert repeated.status == 422
        assert repeated.body["errors"] == [{"parameter": "wait", "detail": "The parameter is given more than once"}]
        assert api("GET", f"/jobs/{job_id}", query={"unknown": "0&unknown=1"}).status == 200


class TestStates:
    def test_answer_is_304_until_the_job_changes(self, api: Api) -> None:
        job = submit(api)
        first = api("GET", f"/jobs/{job}")
        etags = {"if-none-match": f'"other", {first.headers["etag"]}'}
        answer = api("GET", f"/jobs/{job}", headers=etags)
        assert (answer.status, answer.body) == (304, None)
        assert answer.headers["etag"] == first.headers["etag"]
        assert answer.headers["retry-after"]
        succeed(api, job)
        changed = api("GET", f"/jobs/{job}", headers=etags)
        assert (changed.status, changed.body["status"]) == (200, "succeeded")
        assert changed.headers["etag"] != first.headers["etag"]

    def test_etag_changes_before_the_url_of_a_result_expires(self, api: Api) -> None:
        job = submit(api)
        text = "".join(random.Random(1).choices("abcdefghij", k=200_000))
        succeed(api, job, result=json.dumps({"documents": [{"text": text}]}).encode())
        first = api("GET", f"/jobs/{job}")
        assert "result_url" in first.body
        api.clock.advance(600_000)
        assert api("GET", f"/jobs/{job}", headers={"if-none-match": first.headers["etag"]}).status == 200

    def test_result_expires_before_the_job(self, api: Api) -> None:
        job = submit(api, result_ttl_seconds=60)
        succeed(api, job)
        assert "result" in api("GET", f"/jobs/{job}").body
        api.clock.advance(61_000)
        answer = api("GET", f"/jobs/{job}")
        assert (answer.status, answer.body["status"]) == (200, "succeeded")
        assert "result" not in answer.body
        item = next(
            item
            for item in api.services.dynamodb.scan(TableName="jobs")["Items"]
            if item["part"]["S"].startswith("result#")
        )
        assert int(item["expires_at"]["N"]) <= api.clock() // 1000

    @pytest.mark.parametrize("seconds", [59, 604_801, "60", 60.5, None])
    def test_result_ttl_outside_its_bounds_is_refused(self, api: Api, seconds: object) -> None:
        answer = api("POST", "/analyze", {"text": "a", "result_ttl_seconds": seconds})
        assert answer.status == 422
        assert answer.body["errors"][0]["pointer"] == "#/result_ttl_seconds"

    def test_metadata_is_returned(self, api: Api) -> None:
        job = submit(api, metadata={"order": "7", "Ä": "ö"})
        assert api("GET", f"/jobs/{job}").body["metadata"] == {"order": "7", "Ä": "ö"}

    @pytest.mark.parametrize(
        "metadata",
        [
            {"a": 1},
            {"": "b"},
            {"a" * 65: "b"},
            {str(n): "" for n in range(17)},
            {"a": "b" * 1_024},
            {"a": "é" * 600},
            [],
        ],
    )
    def test_metadata_outside_its_bounds_is_refused(self, api: Api, metadata: object) -> None:
        answer = api("POST", "/analyze", {"text": "a", "metadata": metadata})
        assert (answer.status, answer.body["code"]) == (422, "invalid_request")
        assert answer.body["errors"][0]["pointer"].startswith("#/metadata")

    def test_estimate_of_an_open_job_uses_the_latency_of_its_queue(self, api: Api) -> None:
        now = now_ms()
        make_warm(now)
        latencies().record("jobs", QueueLatency(at=now, wait_ms=20_000, run_ms=500))
        answer = api("POST", "/analyze", {"text": "a"})
        assert answer.body["status_reason"] == "queued"
        assert 19 <= answer.body["eta_seconds"] <= 21
        assert answer.headers["retry-after"] == str(answer.body["eta_seconds"])

    def test_job_with_a_released_attempt_is_retrying(self, api: Api) -> None:
        make_warm(now_ms())
        job = submit(api)
        assert api.store.release(claim(api, job))
        assert api("GET", f"/jobs/{job}").body["status_reason"] == "retrying"

    def test_job_is_assigned_to_the_warm_up_in_progress(self, api: Api) -> None:
        """Its message would start a second cold environment. A cached answer "cold" is not trusted."""
        api("GET", "/health")
        start_warm_up(now_ms())
        answer = api("POST", "/analyze", {"text": "a"})
        assert answer.body["status_reason"] == "warming"
        assert 8 <= answer.body["eta_seconds"] <= 10
        assert [message.job for message in warm_ups().latest("1").assigned] == [answer.body["id"]]
        assert api.receive_messages() == []

    def test_big_job_is_never_assigned_to_a_warm_up(self, api: Api) -> None:
        """A big job is only split. Its shards need environments of their own."""
        start_warm_up(now_ms())
        api("POST", "/analyze", {"text": "word " * 20_000})
        assert warm_ups().latest("1").assigned == []
        assert len(api.receive_messages("isolated")) == 1

    def test_message_is_sent_if_jobs_ran_recently(self, api: Api) -> None:
        """A warm-up is in progress, but other environments can take the job."""
        start_warm_up(now_ms())
        latencies().record("jobs", QueueLatency(at=now_ms(), wait_ms=10, run_ms=50))
        submit(api)
        assert count_messages(api) == 1


def warm_ups() -> WarmUpStore:
    return WarmUpStore(Table("jobs"))


def latencies() -> QueueLatencies:
    return QueueLatencies(Table("jobs"))


def start_warm_up(now: int) -> None:
    store = warm_ups()
    assert store.start(store.latest("1"), environments=1, now=now) is not None


def make_warm(now: int) -> None:
    """Record a warm environment, as the worker does after a ping."""
    start_warm_up(now - 1_000)
    ping = warm_ups().latest("1").ping()
    warm_ups().record_ready(ping, "e1", Environment(ready_at=now, cold=True, load_ms=900), ready_ms=1_000)


class TestList:
    def test_jobs_are_listed_newest_first_page_by_page(self, api: Api) -> None:
        ids = [submit(api) for _ in range(5)]
        seen: list[str] = []
        query: dict[str, str] = {"limit": "2"}
        while True:
            page = api("GET", "/jobs", query=query).body
            seen += [job["id"] for job in page["jobs"]]
            if "next_cursor" not in page:
                break
            query["cursor"] = page["next_cursor"]
        assert seen == sorted(ids, reverse=True)

    def test_list_contains_no_results_and_no_jobs_of_other_clients(self, api: Api) -> None:
        succeed(api, submit(api))
        (job,) = api("GET", "/jobs").body["jobs"]
        assert job["status"] == "succeeded"
        assert "result" not in job
        assert api("GET", "/jobs", bearer=api.token(client_id="c_other")).body == {"jobs": []}

    def test_list_can_be_limited_to_a_status(self, api: Api) -> None:
        ids = [submit(api) for _ in range(4)]
        succeed(api, ids[1])
        assert [job["id"] for job in api("GET", "/jobs", query={"status": "succeeded"}).body["jobs"]] == [ids[1]]

    def test_rare_status_is_found_after_an_empty_page(self, api: Api) -> None:
        """The search reads a limited part of the list for each page."""
        ids = sorted(submit(api) for _ in range(13))
        succeed(api, ids[0])
        page = api("GET", "/jobs", query={"status": "succeeded", "limit": "1"}).body
        assert page["jobs"] == []
        query = {"status": "succeeded", "limit": "1", "cursor": page["next_cursor"]}
        assert [job["id"] for job in api("GET", "/jobs", query=query).body["jobs"]] == [ids[0]]

    def test_list_can_be_limited_to_times(self, api: Api) -> None:
        submit(api)
        time.sleep(0.01)
        second = api("POST", "/analyze", {"text": "b"}).body
        instant = second["created_at"]
        assert api("GET", "/jobs", query={"created_after": instant}).body["jobs"] == []
        (before,) = api("GET", "/jobs", query={"created_before": instant}).body["jobs"]
        assert before["id"] != second["id"]
        assert len(api("GET", "/jobs", query={"created_after": "2020-01-01T00:00:00Z"}).body["jobs"]) == 2

    def test_times_within_one_millisecond_match_nothing(self, api: Api) -> None:
        submit(api)
        query = {"created_after": "2026-01-01T00:00:00.0001Z", "created_before": "2026-01-01T00:00:00.0005Z"}
        assert api("GET", "/jobs", query=query).body == {"jobs": []}

    def test_deleted_jobs_are_not_listed(self, api: Api) -> None:
        job = submit(api)
        api("DELETE", f"/jobs/{job}")
        assert api("GET", "/jobs").body == {"jobs": []}

    @pytest.mark.parametrize(
        ("query", "parameter"),
        [
            ({"limit": "0"}, "limit"),
            ({"limit": "101"}, "limit"),
            ({"limit": "x"}, "limit"),
            ({"status": "done"}, "status"),
            ({"created_after": "yesterday"}, "created_after"),
            ({"created_after": "2026-01-01T00:00:00"}, "created_after"),
            ({"created_before": "0.5"}, "created_before"),
            ({"created_before": "2026-13-01T00:00:00Z"}, "created_before"),
            ({"created_after": "2999-01-01T00:00:00Z"}, "created_after"),
            ({"created_after": "2026-01-02T00:00:00Z", "created_before": "2026-01-01T00:00:00Z"}, "created_before"),
            ({"cursor": "x"}, "cursor"),
            ({"cursor": "é"}, "cursor"),
            ({"cursor": ""}, "cursor"),
            ({"created_before": "2020-01-01T00:00:00Z", "cursor": "of another list"}, "cursor"),
            ({"cursor": make_cursor("c_other", "01900000-0000-7000-8000-000000000000")}, "cursor"),
        ],
    )
    def test_invalid_parameter_is_named(self, api: Api, query: dict[str, str], parameter: str) -> None:
        if query.get("cursor") == "of another list":
            query["cursor"] = make_cursor(api.client.client_id, submit(api))
        answer = api("GET", "/jobs", query=query)
        assert (answer.status, answer.body["code"]) == (422, "invalid_request")
        assert [error["parameter"] for error in answer.body["errors"]] == [parameter]


class LimitedClient:
    """A client that calls the API and has limits of its own."""

    def __init__(self, api: Api, **limits: int) -> None:
        register("c_limited", limits=limits)
        api.clock.skip_to_next_minute()  # quotas of a minute must not be renewed within a test
        self.api = api
        self.bearer = api.token(client_id="c_limited")

    def __call__(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        return self.api(method, path, body, bearer=self.bearer, **options)

    def submit(self) -> str:
        """Submit a job and return its id."""
        answer = self("POST", "/analyze", {"text": "Ada lived in London."})
        assert answer.status == 202, answer.body
        return str(answer.body["id"])


class TestLimits:
    def test_requests_above_the_quota_of_a_minute_are_refused(self, api: Api) -> None:
        client = LimitedClient(api, requests_per_minute=3)
        remaining = [client("GET", "/jobs").headers["ratelimit"] for _ in range(3)]
        assert [header.partition(";t=")[0] for header in remaining] == [f'"requests";r={n}' for n in (2, 1, 0)]
        answer = client("GET", "/jobs")
        assert (answer.status, answer.body["code"], answer.body["limit"]) == (429, "rate_limited", "requests")
        assert answer.headers["ratelimit-policy"] == '"requests";q=3;w=60'
        assert 1 <= int(answer.headers["retry-after"]) <= 60

    def test_refused_request_shows_the_remaining_quota(self, api: Api) -> None:
        answer = api("POST", "/analyze", "", headers={"content-type": "text/plain"})
        assert answer.status == 415
        assert "ratelimit" in answer.headers

    def test_answer_to_a_submission_shows_both_quotas(self, api: Api) -> None:
        answer = api("POST", "/analyze", {"text": "a"})
        assert answer.headers["ratelimit-policy"] == '"requests";q=1000;w=60, "bytes";q=1000000000;w=86400'

    def test_requests_are_counted_over_all_environments(self, api: Api) -> None:
        client = LimitedClient(api, requests_per_minute=4)
        statuses = []
        for _ in range(6):
            statuses.append(client("GET", "/jobs").status)
            api.start()
        assert statuses == [200] * 4 + [429] * 2

    def test_open_jobs_above_the_limit_are_refused(self, api: Api) -> None:
        client = LimitedClient(api, open_jobs=2)
        jobs = [client.submit() for _ in range(2)]
        answer = client("POST", "/analyze", {"text": "a"})
        assert (answer.status, answer.body["limit"]) == (429, "open_jobs")
        assert answer.headers["retry-after"]
        succeed(api, jobs[0])
        api.clock.advance(A_SECOND_LATER)
        assert client("POST", "/analyze", {"text": "a"}).status == 202

    def test_retry_counts_as_an_open_job(self, api: Api) -> None:
        """A client could otherwise avoid the limit by canceling and retrying jobs."""
        client = LimitedClient(api, open_jobs=2)
        canceled = [client.submit() for _ in range(2)]
        for job in canceled:
            client("POST", f"/jobs/{job}/cancel")
        api.clock.advance(A_SECOND_LATER)
        for _ in range(2):
            client.submit()
        answer = client("POST", f"/jobs/{canceled[0]}/retry")
        assert (answer.status, answer.body["limit"]) == (429, "open_jobs")

    def test_shares_of_a_small_quota_are_small(self, api: Api) -> None:
        """Each environment reserves a share that it may never use up."""
        client = LimitedClient(api, bytes_per_day=1_000_000)
        for _ in range(12):
            assert client("POST", "/analyze", {"text": "a" * 100}).status == 202
            api.start()

    def test_ended_job_is_not_open(self, api: Api) -> None:
        client = LimitedClient(api, open_jobs=1)
        for end in ("cancel", "delete", "succeed"):
            job = client.submit()
            if end == "succeed":
                succeed(api, job)
            else:
                client(*{"cancel": ("POST", f"/jobs/{job}/cancel"), "delete": ("DELETE", f"/jobs/{job}")}[end])
            api.clock.advance(A_SECOND_LATER)
        job = client.submit()
        client("POST", f"/jobs/{job}/cancel")
        api.clock.advance(A_SECOND_LATER)
        assert client("POST", f"/jobs/{job}/retry").status == 202
        assert client("POST", "/analyze", {"text": "a"}).status == 429

    def test_bytes_above_the_quota_of_a_day_are_refused(self, api: Api) -> None:
        client = LimitedClient(api, bytes_per_day=1_000)
        assert client("POST", "/analyze", {"text": "a" * 600}).status == 202
        answer = client("POST", "/analyze", {"text": "a" * 600})
        assert (answer.status, answer.body["limit"]) == (429, "bytes")
        assert client("POST", "/analyze", {"text": "a" * 200}).status == 202

    def test_repeated_request_consumes_no_bytes(self, api: Api) -> None:
        client = LimitedClient(api, bytes_per_day=700)
        for _ in range(3):
            assert client("POST", "/analyze", {"text": "a" * 600}, headers=KEY).status == 202

    @pytest.mark.parametrize("status", ["revoked", None])
    def test_inactive_client_is_refused_within_half_a_minute(self, api: Api, status: str | None) -> None:
        """Its token is still valid."""
        client = LimitedClient(api)
        assert client("GET", "/jobs").status == 200
        api.services.dynamodb.delete_item(TableName="clients", Key={"client_id": {"S": "c_limited"}})
        if status:
            register("c_limited", status=status)
        assert client("GET", "/jobs").status == 200
        api.clock.advance(30_001)
        answer = client("GET", "/jobs")
        assert (answer.status, answer.body["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'

    def test_missing_table_of_clients_is_a_503(self, api: Api) -> None:
        api.services.dynamodb.delete_table(TableName="clients")
        assert api("GET", "/jobs").status == 503


class TestDescription:
    def test_health_needs_no_token(self, api: Api) -> None:
        assert api("GET", "/health", headers={"authorization": None}).status == 200

    def test_handler_serves_the_application(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in api.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delitem(sys.modules, "functions.submit.handler", raising=False)
        handler = importlib.import_module("functions.submit.handler").handler
        monkeypatch.delitem(sys.modules, "functions.submit.handler")
        answer = handler(http_event("GET", "/health"), CONTEXT)
        assert (answer["statusCode"], json.loads(answer["body"])["status"]) == (200, "ok")

    def test_document_is_the_recorded_one(self, api: Api) -> None:
        """`python -m functions.submit.openapi` prints the document for a change of the record."""
        answer = api("GET", "/openapi.json", headers={"authorization": None})
        answer.body["servers"] = [{"url": "https://api.example"}]
        assert answer.body == json.loads(SNAPSHOT.read_text(encoding="utf-8"))

    def test_document_is_valid(self) -> None:
        validate(Specification("https://api.example").document())

    def test_document_contains_every_code(self) -> None:
        text = json.dumps(Specification("https://api.example").document())
        codes = {kind.code for kind in ApiError.__subclasses__()} - {MethodNotAllowed.code, InternalError.code}
        assert {code for code in codes if f'"{code}"' not in text} == set()
