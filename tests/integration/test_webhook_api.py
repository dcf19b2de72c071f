"""What clients say about webhooks, and are told: the function `submit` behind its handler, over moto."""

from __future__ import annotations

import json
from typing import Any

import pytest

from functions.submit import handler as submit
from shared.clients import ClientTable
from shared.clock import now_ms
from shared.deliveries import DeliveryStore
from shared.errors import ModelFailed
from shared.models import DeliveryAttempt, Job, Metrics
from tests.hostile import HOSTILE_URLS
from tests.integration.test_store import claimed

URL = "https://receiver.example/hook"


def submitted(call: Any, **webhook: Any) -> dict[str, Any]:
    answer = call("POST", "/analyze", {"text": "Ada.", "webhook": {"url": URL, **webhook}})
    assert answer.status == 202, answer.body
    job: dict[str, Any] = answer.body
    return job


def failed(call: Any) -> Job:
    """A job with a webhook that a worker ended as failed, its message not sent."""
    store = submit._service().jobs
    job = store.get(submitted(call)["id"], now=now_ms())
    assert store.fail(claimed(store, job, now=now_ms()), ModelFailed("no"), metrics=Metrics(), now=now_ms())
    return store.get(job.id, now=now_ms())


def sent(call: Any) -> list[dict[str, Any]]:
    services = call.api.services
    found = services.sqs.receive_message(QueueUrl=services.webhooks_queue_url, MaxNumberOfMessages=10)
    return [json.loads(message["Body"]) for message in found.get("Messages", [])]


def attempted(delivery: Any, state: Any, status: int) -> None:
    store = DeliveryStore("jobs")
    mine = store.claim(delivery, owner="w", now=now_ms())
    attempt = DeliveryAttempt(at=now_ms(), status=status, latency_ms=7, excerpt="\\x00")
    assert store.record(mine, attempt, state=state, next_at=now_ms(), due_at=now_ms())


class TestSubmit:
    def test_webhook_is_kept_and_shown(self, call: Any) -> None:
        job = submitted(call)
        assert job["webhook"] == {"url": URL, "state": "pending", "attempts": 0}
        assert job["links"]["deliveries"].endswith(f"/jobs/{job['id']}/deliveries")

    def test_hostile_urls_are_refused_where_they_stand(self, call: Any) -> None:
        for url in [*HOSTILE_URLS, "http://127.0.0.1:8080/", "https://[::1]/"]:
            url = url.replace("{port}", ":8080")
            answer = call("POST", "/analyze", json.dumps({"text": "Ada.", "webhook": {"url": url}}))
            if any("\ud800" <= character <= "\udfff" for character in url):
                assert answer.status == 400  # no JSON at all
                continue
            assert answer.status == 422, url
            assert [error["pointer"] for error in answer.body["errors"]] == ["#/webhook/url"]

    def test_names_are_not_resolved_here(self, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """A slow name must not hold the API."""
        asked = []
        monkeypatch.setattr("functions.webhook.transport.system_addresses", asked.append)
        submitted(call)
        assert asked == []

    @pytest.mark.parametrize(
        ("webhook", "pointer"),
        [
            ({}, "#/webhook/url"),
            ({"url": URL, "events": []}, "#/webhook/events"),
            ({"url": URL, "events": ["job.started"]}, "#/webhook/events/0"),
            ({"url": URL, "secret": "x"}, "#/webhook/secret"),
            ({"url": 1}, "#/webhook/url"),
        ],
    )
    def test_what_is_wrong_is_pointed_at(self, call: Any, webhook: Any, pointer: str) -> None:
        answer = call("POST", "/analyze", {"text": "Ada.", "webhook": webhook})
        assert (answer.status, answer.body["errors"][0]["pointer"]) == (422, pointer)

    def test_clients_default_is_used_unless_the_request_says_otherwise(self, call: Any) -> None:
        table = ClientTable("clients")
        assert table.set_webhook_url(call.api.client.client_id, "https://default.example/")
        assert call("POST", "/analyze", {"text": "Ada."}).body["webhook"]["url"] == "https://default.example/"
        assert submitted(call)["webhook"]["url"] == URL
        assert table.set_webhook_url(call.api.client.client_id, None)
        submit._admission()._known.clear()  # as half a minute later
        assert "webhook" not in call("POST", "/analyze", {"text": "Ada."}).body
        assert not table.set_webhook_url("c_nobody", URL)


class TestEnds:
    def test_cancel_is_announced_at_once(self, call: Any) -> None:
        job = submitted(call)
        call("POST", f"/jobs/{job['id']}/cancel")
        assert sent(call) == [{"job": job["id"], "run": 1, "status": "canceled"}]

    def test_deletion_of_an_open_job_is_a_cancel(self, call: Any) -> None:
        job = submitted(call)
        assert call("DELETE", f"/jobs/{job['id']}").status == 204
        assert sent(call) == [{"job": job["id"], "run": 1, "status": "canceled"}]

    def test_lost_message_does_not_fail_the_call(self, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        job = submitted(call)
        monkeypatch.setattr(submit._webhooks().lane, "_url", "https://sqs.eu-west-2.amazonaws.com/1/none")
        assert call("POST", f"/jobs/{job['id']}/cancel").status == 200

    def test_retry_announces_the_former_end_first(self, call: Any) -> None:
        job = failed(call)
        assert call("POST", f"/jobs/{job.id}/retry").body["run"] == 2
        assert sent(call) == [{"job": job.id, "run": 1, "status": "failed"}]
        kept = DeliveryStore("jobs").get(job.id, "delivery#1.failed")
        data = json.loads(kept.body)["data"]
        assert (data["run"], data["status"], data["error"]["code"]) == (1, "failed", "model_failed")


class TestDeliveries:
    def announced(self, call: Any) -> Job:
        job = failed(call)
        DeliveryStore("jobs").announce(job, b"{}", now=now_ms())
        return job

    def test_log_shows_each_attempt(self, call: Any) -> None:
        job = self.announced(call)
        store = DeliveryStore("jobs")
        attempted(store.get(job.id, "delivery#1.failed"), "pending", 500)
        answer = call("GET", f"/jobs/{job.id}/deliveries")
        (shown,) = answer.body["deliveries"]
        assert (shown["webhook_id"], shown["type"], shown["run"]) == (f"{job.id}.1.failed", "job.failed", 1)
        assert (shown["state"], shown["attempts"], shown["url"]) == ("pending", 1, URL)
        (attempt,) = shown["log"]
        assert {**attempt, "at": ""} == {"at": "", "status": 500, "latency_ms": 7, "excerpt": "\\x00"}
        assert call("GET", f"/jobs/{job.id}").body["webhook"] == {"url": URL, "state": "pending", "attempts": 1}

    def test_state_of_the_delivery_is_the_jobs_and_leaves_its_status_alone(self, call: Any) -> None:
        job = self.announced(call)
        attempted(DeliveryStore("jobs").get(job.id, "delivery#1.failed"), "disabled", 410)
        shown = call("GET", f"/jobs/{job.id}").body
        assert (shown["webhook"]["state"], shown["status"]) == ("disabled", "failed")

    def test_again_begins_the_schedule_anew_under_the_same_id(self, call: Any) -> None:
        job = self.announced(call)
        attempted(DeliveryStore("jobs").get(job.id, "delivery#1.failed"), "disabled", 410)
        answer = call("POST", f"/jobs/{job.id}/deliveries")
        assert (answer.status, answer.body["state"], answer.body["attempts"]) == (202, "pending", 1)
        assert answer.body["webhook_id"] == f"{job.id}.1.failed"
        assert sent(call) == [{"job": job.id, "run": 1, "status": "failed", "attempt": 1}]

    def test_nothing_to_deliver_is_a_conflict(self, call: Any) -> None:
        without = call("POST", "/analyze", {"text": "Ada."}).body
        for job in (without, submitted(call)):
            assert call("GET", f"/jobs/{job['id']}/deliveries").body == {"deliveries": []}
            assert call("POST", f"/jobs/{job['id']}/deliveries").status == 409

    def test_attempt_that_is_being_made_is_a_conflict(self, call: Any) -> None:
        job = self.announced(call)
        store = DeliveryStore("jobs")
        assert store.claim(store.get(job.id, "delivery#1.failed"), owner="w", now=now_ms())
        assert call("POST", f"/jobs/{job.id}/deliveries").status == 409

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_another_clients_deliveries_are_not_there(self, call: Any, method: str) -> None:
        from tests.integration.test_api import token

        job = self.announced(call)
        bearer = token(call.api, client_id="c_other")
        assert call(method, f"/jobs/{job.id}/deliveries", bearer=bearer).status == 404
        assert call(method, f"/jobs/{job.id}/deliveries", bearer=token(call.api, scope="none")).status == 403

    def test_end_that_nobody_asked_for_has_no_state(self, call: Any) -> None:
        job = submitted(call, events=["job.succeeded"])
        shown = call("POST", f"/jobs/{job['id']}/cancel").body
        assert shown["webhook"] == {"url": URL, "attempts": 0}
        assert sent(call) == []
