"""What clients live with: idempotency keys, waiting, lists, ETags, limits, the specification."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from openapi_spec_validator import validate

from functions.submit import handler as submit
from functions.submit import openapi, schema
from functions.submit.listing import cursor
from shared.clock import now_ms
from shared.errors import ApiError
from shared.models import Message, Metrics
from shared.pace import Pace, Paces
from shared.store import JobStore
from shared.warmup import Environment, Rounds
from tests.events import CONTEXT, http_event
from tests.integration.conftest import registered, stored, token

SNAPSHOT = Path(__file__).parent / "openapi.json"
KEY = {"idempotency-key": "order-1"}


def submitted(call: Any, text: str = "Ada lived in London.", **body: Any) -> str:
    answer = call("POST", "/analyze", {"text": text, **body})
    assert answer.status == 202, answer.body
    return str(answer.body["id"])


def done(job_id: str, *, result: bytes = b'{"documents":[{"ents":[]}]}') -> None:
    """As the worker would."""
    store, now = JobStore("jobs", submit._blobs()), now_ms()
    job = store.claim(Message(job=job_id, run=1), owner="w", now=now)
    assert job is not None
    store.succeed(job, result, metrics=Metrics(), now=now)


def messages(call: Any, lane: str = "jobs") -> int:
    sqs, url = call.api.services.sqs, getattr(call.api.services, f"{lane}_queue_url")
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"]
    return sum(map(int, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()))


class TestIdempotency:
    def test_same_key_and_body_give_the_same_job(self, call: Any) -> None:
        first = call("POST", "/analyze", {"text": "a"}, headers=KEY)
        again = call("POST", "/analyze", {"text": "a"}, headers=KEY)
        assert (first.status, again.status) == (202, 202)
        assert again.body["id"] == first.body["id"]
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
        assert stored(call) == 3  # job, input, key

    def test_spelling_of_the_body_does_not_matter(self, call: Any) -> None:
        first = call("POST", "/analyze", '{"text": "a", "features": ["sents", "ents"]}', headers=KEY)
        again = call("POST", "/analyze", '{"features":["ents","sents"],"text":"\\u0061"}', headers=KEY)
        assert again.body["id"] == first.body["id"]

    def test_order_of_names_and_events_does_not_matter(self, call: Any) -> None:
        webhook = {"url": "https://receiver.example/", "events": ["job.failed", "job.succeeded"]}
        body = {"text": "a", "metadata": {"a": "1", "b": "2"}, "webhook": webhook}
        first = call("POST", "/analyze", body, headers=KEY)
        webhook = {"url": "https://receiver.example/", "events": ["job.succeeded", "job.failed"]}
        again = call(
            "POST", "/analyze", {"metadata": {"b": "2", "a": "1"}, "webhook": webhook, "text": "a"}, headers=KEY
        )
        assert again.body["id"] == first.body["id"]

    def test_another_body_is_refused(self, call: Any) -> None:
        call("POST", "/analyze", {"text": "a"}, headers=KEY)
        answer = call("POST", "/analyze", {"text": "b"}, headers=KEY)
        assert (answer.status, answer.body["code"]) == (422, "idempotency_key_reused")
        assert messages(call) == 1

    def test_keys_of_other_clients_are_other_keys(self, call: Any) -> None:
        mine = call("POST", "/analyze", {"text": "a"}, headers=KEY)
        theirs = call("POST", "/analyze", {"text": "b"}, headers=KEY, bearer=token(call.api, client_id="c_other"))
        assert theirs.status == 202
        assert theirs.body["id"] != mine.body["id"]

    def test_job_still_queued_is_queued_again(self, call: Any) -> None:
        """Its message may be what was lost: the reason why the client repeats itself."""
        call("POST", "/analyze", {"text": "a"}, headers=KEY)
        call("POST", "/analyze", {"text": "a"}, headers=KEY)
        assert messages(call) == 2

    def test_job_that_is_done_is_not_queued_again(self, call: Any) -> None:
        job = call("POST", "/analyze", {"text": "a"}, headers=KEY).body["id"]
        done(job)
        again = call("POST", "/analyze", {"text": "a"}, headers=KEY)
        assert (again.status, again.body["status"]) == (200, "succeeded")
        assert messages(call) == 1

    def test_deleted_job_is_gone_for_its_key_too(self, call: Any) -> None:
        job = call("POST", "/analyze", {"text": "a"}, headers=KEY).body["id"]
        call("DELETE", f"/jobs/{job}")
        answer = call("POST", "/analyze", {"text": "a"}, headers=KEY)
        assert (answer.status, answer.body["code"]) == (410, "gone")

    def test_key_is_free_again_after_a_day(self, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        first = call("POST", "/analyze", {"text": "a"}, headers=KEY).body["id"]
        later = now_ms() + (24 * 3600 + 5) * 1000
        object.__setattr__(submit._service(), "now", lambda: later)
        answer = call("POST", "/analyze", {"text": "b"}, headers=KEY)
        assert answer.status == 202
        assert answer.body["id"] != first

    @pytest.mark.usefixtures("one_call_at_a_time")
    def test_of_requests_at_once_one_makes_the_job(self, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """They all find the key free, and then write."""
        barrier, found = threading.Barrier(4), JobStore.key
        monkeypatch.setattr(JobStore, "key", lambda *a, **k: [found(*a, **k), barrier.wait(timeout=20)][0])
        service = dataclasses.replace(submit._service(), admit_job=lambda *_: None)
        request, client_id = submit.AnalyzeRequest(text="a"), call.api.client.client_id
        with ThreadPoolExecutor(max_workers=4) as threads:
            outcomes = list(threads.map(lambda _: service.submit(client_id, request, size=1, key="k"), range(4)))
        assert len({outcome.job.id for outcome in outcomes}) == 1
        assert sorted(outcome.is_replayed for outcome in outcomes) == [False, True, True, True]

    @pytest.mark.parametrize("key", ["", "x" * 256, "a\x00b", "a\nb", "clé", "\x7f"])
    def test_malformed_key_is_refused(self, call: Any, key: str) -> None:
        answer = call("POST", "/analyze", {"text": "a"}, headers={"idempotency-key": key})
        assert (answer.status, answer.body["code"]) == (422, "invalid_request")
        assert answer.body["errors"][0]["header"] == "Idempotency-Key"
        assert stored(call) == 0

    def test_key_of_255_characters_is_taken(self, call: Any) -> None:
        assert call("POST", "/analyze", {"text": "a"}, headers={"idempotency-key": "x" * 255}).status == 202


class TestWaiting:
    @pytest.fixture(autouse=True)
    def _worker_that_is_quick(self, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first pause of a waiting request is when its job gets done."""
        self.slept: list[float] = []
        service = submit._service()

        def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            jobs, _ = service.page(call.api.client.client_id, submit.Filters(), limit=1, after=None)
            done(jobs[0].id)

        object.__setattr__(service, "sleep", sleep)

    def test_preferred_wait_gives_the_result_at_once(self, call: Any) -> None:
        answer = call("POST", "/analyze", {"text": "a"}, headers={"prefer": "respond-async, wait=10"})
        assert answer.status == 200
        assert answer.body["result"] == {"documents": [{"ents": []}]}
        assert answer.headers["preference-applied"] == "wait=10"
        assert "retry-after" not in answer.headers

    @pytest.mark.parametrize(
        ("prefer", "applied"), [("wait=99", "wait=25"), ('wait="7"', "wait=7"), ("Wait = 3", "wait=3")]
    )
    def test_wait_is_bounded_and_spelled_in_many_ways(self, call: Any, prefer: str, applied: str) -> None:
        answer = call("POST", "/analyze", {"text": "a"}, headers={"prefer": prefer})
        assert answer.headers["preference-applied"] == applied

    @pytest.mark.parametrize("prefer", ["wait=-1", "wait=abc", "await=5", "wait", "return=minimal", "wait=1.5"])
    def test_preference_that_is_not_understood_is_ignored(self, call: Any, prefer: str) -> None:
        """RFC 7240, section 2."""
        answer = call("POST", "/analyze", {"text": "a"}, headers={"prefer": prefer})
        assert answer.status == 202
        assert "preference-applied" not in answer.headers
        assert not self.slept

    @pytest.mark.parametrize("wait", ["-1", "abc", "26", "1.5", ""])
    def test_parameter_that_is_not_understood_is_refused(self, call: Any, wait: str) -> None:
        answer = call("GET", f"/jobs/{submitted(call)}", query={"wait": wait})
        assert (answer.status, answer.body["code"]) == (422, "invalid_request")
        assert answer.body["errors"][0]["parameter"] == "wait"


class TestStates:
    def test_etag_spares_a_client_what_it_has(self, call: Any) -> None:
        job = submitted(call)
        first = call("GET", f"/jobs/{job}")
        known = {"if-none-match": f'"other", {first.headers["etag"]}'}
        answer = call("GET", f"/jobs/{job}", headers=known)
        assert (answer.status, answer.body) == (304, None)
        assert answer.headers["etag"] == first.headers["etag"]
        assert answer.headers["retry-after"]
        done(job)
        changed = call("GET", f"/jobs/{job}", headers=known)
        assert (changed.status, changed.body["status"]) == (200, "succeeded")
        assert changed.headers["etag"] != first.headers["etag"]

    def test_etag_changes_before_a_results_url_ends(self, call: Any) -> None:
        import random

        job = submitted(call)
        result = "".join(random.Random(1).choices("abcdefghij", k=200_000))
        done(job, result=json.dumps({"documents": [{"text": result}]}).encode())
        views, now = submit._views(), now_ms()
        object.__setattr__(views, "now", lambda: now)
        first = call("GET", f"/jobs/{job}")
        assert "result_url" in first.body
        object.__setattr__(views, "now", lambda: now + 600_000)
        assert call("GET", f"/jobs/{job}", headers={"if-none-match": first.headers["etag"]}).status == 200

    def test_result_ends_at_its_time_and_the_job_stays(self, call: Any) -> None:
        job = submitted(call, result_ttl_seconds=60)
        done(job)
        assert "result" in call("GET", f"/jobs/{job}").body
        later = now_ms() + 61_000
        object.__setattr__(submit._views(), "now", lambda: later)
        answer = call("GET", f"/jobs/{job}")
        assert (answer.status, answer.body["status"]) == (200, "succeeded")
        assert "result" not in answer.body
        item = next(
            item
            for item in call.api.services.dynamodb.scan(TableName="jobs")["Items"]
            if item["part"]["S"].startswith("result#")
        )
        assert int(item["expires_at"]["N"]) <= later // 1000

    @pytest.mark.parametrize("seconds", [59, 604_801, "60", 60.5, None])
    def test_result_ttl_has_bounds(self, call: Any, seconds: Any) -> None:
        answer = call("POST", "/analyze", {"text": "a", "result_ttl_seconds": seconds})
        assert answer.status == 422
        assert answer.body["errors"][0]["pointer"] == "#/result_ttl_seconds"

    def test_metadata_comes_back(self, call: Any) -> None:
        job = submitted(call, metadata={"order": "7", "Ä": "ö"})
        assert call("GET", f"/jobs/{job}").body["metadata"] == {"order": "7", "Ä": "ö"}

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
    def test_metadata_has_bounds(self, call: Any, metadata: Any) -> None:
        answer = call("POST", "/analyze", {"text": "a", "metadata": metadata})
        assert (answer.status, answer.body["code"]) == (422, "invalid_request")
        assert answer.body["errors"][0]["pointer"].startswith("#/metadata")

    def test_open_job_says_why_and_how_long(self, call: Any) -> None:
        """The pace of the jobs before it, minus what it has waited itself."""
        now = now_ms()
        warm(now)
        Paces("jobs").note("jobs", Pace(at=now, wait_ms=20_000, run_ms=500))
        answer = call("POST", "/analyze", {"text": "a"})
        assert answer.body["status_reason"] == "queued"
        assert 19 <= answer.body["eta_seconds"] <= 21
        assert answer.headers["retry-after"] == str(answer.body["eta_seconds"])

    def test_retried_attempt_says_so(self, call: Any) -> None:
        warm(now_ms())
        job = submitted(call)
        store = JobStore("jobs", submit._blobs())
        claimed = store.claim(Message(job=job, run=1), owner="w", now=now_ms())
        assert claimed is not None
        store.release(claimed)
        assert call("GET", f"/jobs/{job}").body["status_reason"] == "retrying"

    def test_job_is_left_to_the_environment_that_is_warming(self, call: Any) -> None:
        """A message would begin a second cold one; that the worker was cold a moment ago says nothing."""
        call("GET", "/health")
        rounds = Rounds("jobs")
        rounds.begin(rounds.latest("1"), environments=1, now=now_ms())
        answer = call("POST", "/analyze", {"text": "a"})
        assert answer.body["status_reason"] == "warming"
        assert 8 <= answer.body["eta_seconds"] <= 10
        assert [message.job for message in rounds.latest("1").waiting] == [answer.body["id"]]
        sqs, url = call.api.services.sqs, call.api.services.jobs_queue_url
        assert "Messages" not in sqs.receive_message(QueueUrl=url)

    def test_big_job_is_left_to_nobody(self, call: Any) -> None:
        """It is only split; its shards need environments of their own."""
        rounds = Rounds("jobs")
        rounds.begin(rounds.latest("1"), environments=1, now=now_ms())
        call("POST", "/analyze", {"text": "word " * 20_000})
        assert rounds.latest("1").waiting == []
        sqs, url = call.api.services.sqs, call.api.services.solo_queue_url
        assert len(sqs.receive_message(QueueUrl=url)["Messages"]) == 1

    def test_message_is_sent_where_jobs_are_running(self, call: Any) -> None:
        """A round is under way, but there are environments besides the one that it warms."""
        rounds = Rounds("jobs")
        rounds.begin(rounds.latest("1"), environments=1, now=now_ms())
        Paces("jobs").note("jobs", Pace(at=now_ms(), wait_ms=10, run_ms=50))
        submitted(call)
        names = ["ApproximateNumberOfMessages"]
        sqs, url = call.api.services.sqs, call.api.services.jobs_queue_url
        assert sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"][names[0]] == "1"


def warm(now: int) -> None:
    """As a ping would leave it."""
    rounds = Rounds("jobs")
    begun = rounds.begin(rounds.latest("1"), environments=1, now=now - 1_000)
    assert begun is not None
    rounds.ready(begun.ping(), "e1", Environment(ready_at=now, cold=True, load_ms=900), ready_ms=1_000)


class TestList:
    def test_jobs_come_newest_first_page_by_page(self, call: Any) -> None:
        ids = [submitted(call) for _ in range(5)]
        seen: list[str] = []
        query: dict[str, str] = {"limit": "2"}
        while True:
            page = call("GET", "/jobs", query=query).body
            schema.JobPage.model_validate(page)
            seen += [job["id"] for job in page["jobs"]]
            if "next_cursor" not in page:
                break
            query["cursor"] = page["next_cursor"]
        assert seen == sorted(ids, reverse=True)

    def test_list_shows_no_results_and_no_other_client(self, call: Any) -> None:
        done(submitted(call))
        (job,) = call("GET", "/jobs").body["jobs"]
        assert job["status"] == "succeeded"
        assert "result" not in job
        assert call("GET", "/jobs", bearer=token(call.api, client_id="c_other")).body == {"jobs": []}

    def test_status_narrows(self, call: Any) -> None:
        ids = [submitted(call) for _ in range(4)]
        done(ids[1])
        assert [job["id"] for job in call("GET", "/jobs", query={"status": "succeeded"}).body["jobs"]] == [ids[1]]

    def test_rare_status_is_found_over_short_pages(self, call: Any) -> None:
        """A search looks through so much of the list, and then leads on."""
        ids = sorted(submitted(call) for _ in range(13))
        done(ids[0])
        page = call("GET", "/jobs", query={"status": "succeeded", "limit": "1"}).body
        assert page["jobs"] == []
        query = {"status": "succeeded", "limit": "1", "cursor": page["next_cursor"]}
        assert [job["id"] for job in call("GET", "/jobs", query=query).body["jobs"]] == [ids[0]]

    def test_times_narrow(self, call: Any) -> None:
        submitted(call)
        time.sleep(0.01)
        second = call("POST", "/analyze", {"text": "b"}).body
        instant = second["created_at"]
        assert call("GET", "/jobs", query={"created_after": instant}).body["jobs"] == []
        (before,) = call("GET", "/jobs", query={"created_before": instant}).body["jobs"]
        assert before["id"] != second["id"]
        assert len(call("GET", "/jobs", query={"created_after": "2020-01-01T00:00:00Z"}).body["jobs"]) == 2

    def test_window_without_a_millisecond_is_empty(self, call: Any) -> None:
        submitted(call)
        within = {"created_after": "2026-01-01T00:00:00.0001Z", "created_before": "2026-01-01T00:00:00.0005Z"}
        assert call("GET", "/jobs", query=within).body == {"jobs": []}

    def test_deleted_jobs_are_not_listed(self, call: Any) -> None:
        job = submitted(call)
        call("DELETE", f"/jobs/{job}")
        assert call("GET", "/jobs").body == {"jobs": []}

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
            ({"cursor": cursor("c_other", "01900000-0000-7000-8000-000000000000")}, "cursor"),
        ],
    )
    def test_bad_parameters_are_named(self, call: Any, query: dict[str, str], parameter: str) -> None:
        if query.get("cursor") == "of another list":
            query["cursor"] = cursor(call.api.client.client_id, submitted(call))
        answer = call("GET", "/jobs", query=query)
        assert (answer.status, answer.body["code"]) == (422, "invalid_request")
        assert [error["parameter"] for error in answer.body["errors"]] == [parameter]


class TestLimits:
    def limited(self, call: Any, **limits: int) -> Any:
        registered("c_limited", limits=limits)
        bearer = token(call.api, client_id="c_limited")
        return lambda method, path, body=None, **kwargs: call(method, path, body, bearer=bearer, **kwargs)

    def a_second_later(self) -> None:
        """When a count of open jobs that was at the limit is no longer trusted."""
        admission = submit._admission()
        before = admission.now
        object.__setattr__(admission, "now", lambda: before() + 1_001)

    def test_requests_of_a_minute(self, call: Any) -> None:
        call = self.limited(call, requests_per_minute=3)
        left = [call("GET", "/jobs").headers["ratelimit"] for _ in range(3)]
        assert [header.partition(";t=")[0] for header in left] == [f'"requests";r={n}' for n in (2, 1, 0)]
        answer = call("GET", "/jobs")
        assert (answer.status, answer.body["code"], answer.body["limit"]) == (429, "rate_limited", "requests")
        assert answer.headers["ratelimit-policy"] == '"requests";q=3;w=60'
        assert 1 <= int(answer.headers["retry-after"]) <= 60

    def test_refused_request_says_what_is_left_too(self, call: Any) -> None:
        answer = call("POST", "/analyze", "", headers={"content-type": "text/plain"})
        assert answer.status == 415
        assert "ratelimit" in answer.headers

    def test_requests_are_counted_over_all_environments(self, call: Any) -> None:
        call = self.limited(call, requests_per_minute=4)
        statuses = []
        for _ in range(6):
            statuses.append(call("GET", "/jobs").status)
            submit._admission.cache_clear()  # as another environment
            submit._service.cache_clear()
        assert statuses == [200] * 4 + [429] * 2

    def test_open_jobs(self, call: Any) -> None:
        call = self.limited(call, open_jobs=2)
        jobs = [submitted(call) for _ in range(2)]
        answer = call("POST", "/analyze", {"text": "a"})
        assert (answer.status, answer.body["limit"]) == (429, "open_jobs")
        assert answer.headers["retry-after"]
        done(jobs[0])
        self.a_second_later()
        assert call("POST", "/analyze", {"text": "a"}).status == 202

    def test_retries_open_jobs_too(self, call: Any) -> None:
        """Canceled and retried they would be a way around the limit."""
        call = self.limited(call, open_jobs=2)
        canceled = [submitted(call) for _ in range(2)]
        for job in canceled:
            call("POST", f"/jobs/{job}/cancel")
        self.a_second_later()
        submitted(call), submitted(call)
        answer = call("POST", f"/jobs/{canceled[0]}/retry")
        assert (answer.status, answer.body["limit"]) == (429, "open_jobs")

    def test_shares_of_a_small_allowance_are_small(self, call: Any) -> None:
        """Each environment takes one, and may never use it up."""
        call = self.limited(call, bytes_per_day=1_000_000)
        for _ in range(12):
            assert call("POST", "/analyze", {"text": "a" * 100}).status == 202
            submit._admission.cache_clear()
            submit._service.cache_clear()

    def test_ended_jobs_are_not_open(self, call: Any) -> None:
        call = self.limited(call, open_jobs=1)
        for end in ("cancel", "delete", "done"):
            job = submitted(call)
            if end == "done":
                done(job)
            else:
                call(*{"cancel": ("POST", f"/jobs/{job}/cancel"), "delete": ("DELETE", f"/jobs/{job}")}[end])
            self.a_second_later()
        job = submitted(call)
        call("POST", f"/jobs/{job}/cancel")
        self.a_second_later()
        assert call("POST", f"/jobs/{job}/retry").status == 202
        assert call("POST", "/analyze", {"text": "a"}).status == 429

    def test_bytes_of_a_day(self, call: Any) -> None:
        call = self.limited(call, bytes_per_day=1_000)
        assert call("POST", "/analyze", {"text": "a" * 600}).status == 202
        answer = call("POST", "/analyze", {"text": "a" * 600})
        assert (answer.status, answer.body["limit"]) == (429, "bytes")
        assert call("POST", "/analyze", {"text": "a" * 200}).status == 202

    def test_replay_uses_nothing_up(self, call: Any) -> None:
        call = self.limited(call, bytes_per_day=700)
        for _ in range(3):
            assert call("POST", "/analyze", {"text": "a" * 600}, headers=KEY).status == 202

    @pytest.mark.parametrize("status", ["revoked", None])
    def test_client_that_is_not_active_is_refused_within_a_minute(self, call: Any, status: str | None) -> None:
        """Its token is still good."""
        limited = self.limited(call)
        assert limited("GET", "/jobs").status == 200
        table = call.api.services.dynamodb
        table.delete_item(TableName="clients", Key={"client_id": {"S": "c_limited"}})
        if status:
            registered("c_limited", status=status)
        assert limited("GET", "/jobs").status == 200
        later = now_ms() + 30_001
        object.__setattr__(submit._admission(), "now", lambda: later)
        answer = limited("GET", "/jobs")
        assert (answer.status, answer.body["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


class TestDescription:
    def test_health_needs_no_token(self, call: Any) -> None:
        answer = call("GET", "/health", headers={"authorization": None})
        assert answer.status == 200
        schema.Health.model_validate(answer.body)

    def test_specification_is_the_one_on_record(self, call: Any) -> None:
        """A change of the contract is a change of that file: `python -m functions.submit.openapi`."""
        answer = call("GET", "/openapi.json", headers={"authorization": None})
        answer.body["servers"] = [{"url": "https://api.example"}]
        assert answer.body == json.loads(SNAPSHOT.read_text(encoding="utf-8"))

    def test_specification_is_valid(self) -> None:
        validate(openapi.document("https://api.example"))

    def test_specification_has_every_route(self) -> None:
        routes = submit.app._static_routes + submit.app._dynamic_routes
        there = {(route.method.lower(), route.path.replace("<job_id>", "{id}")) for route in routes}
        described = {(operation.method, operation.path) for operation in openapi.OPERATIONS}
        assert there - {("get", "/openapi.json")} == described

    def test_specification_has_every_code(self, call: Any) -> None:
        """Of each error that a route can answer."""
        text = json.dumps(openapi.document("https://api.example"))
        mapped = {kind.code for kind in ApiError.__subclasses__()} - {"method_not_allowed", "internal_error"}
        assert {code for code in mapped if f'"{code}"' not in text} == set()


def test_store_that_is_away_is_no_fault_of_ours(call: Any, api: SimpleNamespace) -> None:
    api.services.dynamodb.delete_table(TableName="clients")
    bearer = {"authorization": f"Bearer {token(api)}", "content-type": "application/json"}
    answer = submit.handler(http_event("GET", "/jobs", headers=bearer), CONTEXT)
    assert answer["statusCode"] == 503
