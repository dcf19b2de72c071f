"""The API over moto: the webhook of a job, and the calls about its deliveries."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from shared.auth.clients import ClientStore
from shared.aws.table import Table
from shared.clock import now_ms
from shared.errors import ModelFailed
from shared.jobs.job import Job, Metrics
from shared.jobs.message import JobMessage
from shared.webhooks.delivery import Delivery, DeliveryAttempt, DeliveryState
from shared.webhooks.store import DeliveryStore
from tests.hostile import HOSTILE_URLS
from tests.integration.conftest import Api

URL = "https://receiver.example/hook"
FAILED = "delivery#1.failed"


def submit(api: Api, **webhook: Any) -> dict[str, Any]:
    """Submit a job with a webhook and return it."""
    answer = api("POST", "/analyze", {"text": "Ada.", "webhook": {"url": URL, **webhook}})
    assert answer.status == 202, answer.body
    job: dict[str, Any] = answer.body
    return job


def submit_and_fail(api: Api) -> Job:
    """Return a job with a webhook that a worker ended as failed. No message about its end was sent."""
    job_id = submit(api)["id"]
    job = api.store.claim(JobMessage(job=job_id, run=1), claim_token="a", now=now_ms())
    assert job is not None
    assert api.store.fail(job, ModelFailed("no"), metrics=Metrics(), now=now_ms())
    return read_job(api, job_id)


def read_job(api: Api, job_id: str) -> Job:
    job = api.store.get(job_id, now=now_ms())
    assert job is not None
    return job


def deliveries() -> DeliveryStore:
    return DeliveryStore(Table("jobs"))


def read_delivery(job: Job) -> Delivery:
    delivery = deliveries().get(job.id, FAILED)
    assert delivery is not None
    return delivery


def claim(delivery: Delivery) -> Delivery:
    claimed = deliveries().claim(delivery, claim_token="w", now=now_ms())
    assert claimed is not None
    return claimed


def attempt(job: Job, state: DeliveryState, status: int) -> None:
    """Make an attempt to deliver, as the function `webhook` does."""
    made = DeliveryAttempt(at=now_ms(), status=status, latency_ms=7, excerpt="\\x00")
    claimed, now = claim(read_delivery(job)), now_ms()
    assert deliveries().record_attempt(claimed, made, state=state, next_attempt_at=now, next_check_at=now)


class TestSubmit:
    def test_webhook_is_stored_and_returned(self, api: Api) -> None:
        job = submit(api)
        assert job["webhook"] == {"url": URL, "state": "pending", "attempts": 0}
        assert job["links"]["deliveries"].endswith(f"/jobs/{job['id']}/deliveries")

    def test_hostile_url_is_refused(self, api: Api) -> None:
        for template in [*HOSTILE_URLS, "http://127.0.0.1:8080/", "https://[::1]/"]:
            url = template.replace("{port}", ":8080")
            answer = api("POST", "/analyze", json.dumps({"text": "Ada.", "webhook": {"url": url}}))
            if any("\ud800" <= character <= "\udfff" for character in url):
                assert answer.status == 400  # a lone surrogate is not JSON
                continue
            assert answer.status == 422, url
            assert [error["pointer"] for error in answer.body["errors"]] == ["#/webhook/url"]

    def test_name_of_the_host_is_not_resolved(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        """A slow name server must not delay the API."""
        hosts: list[str] = []
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: hosts.append(host))
        submit(api)
        assert hosts == []

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
    def test_error_points_at_the_invalid_value(self, api: Api, webhook: Any, pointer: str) -> None:
        answer = api("POST", "/analyze", {"text": "Ada.", "webhook": webhook})
        assert (answer.status, answer.body["errors"][0]["pointer"]) == (422, pointer)

    def test_default_of_the_client_is_used_if_the_request_has_no_webhook(self, api: Api) -> None:
        clients = ClientStore(Table("clients"))
        assert clients.set_webhook_url(api.client.client_id, "https://default.example/")
        assert api("POST", "/analyze", {"text": "Ada."}).body["webhook"]["url"] == "https://default.example/"
        assert submit(api)["webhook"]["url"] == URL
        assert clients.set_webhook_url(api.client.client_id, None)
        api.clock.advance(30_001)
        assert "webhook" not in api("POST", "/analyze", {"text": "Ada."}).body
        assert not clients.set_webhook_url("c_nobody", URL)


class TestEnds:
    def test_message_is_sent_when_a_job_is_canceled(self, api: Api) -> None:
        job = submit(api)
        api("POST", f"/jobs/{job['id']}/cancel")
        assert api.receive_messages("webhooks") == [{"job": job["id"], "run": 1, "status": "canceled"}]

    def test_deletion_of_an_open_job_cancels_it(self, api: Api) -> None:
        job = submit(api)
        assert api("DELETE", f"/jobs/{job['id']}").status == 204
        assert api.receive_messages("webhooks") == [{"job": job["id"], "run": 1, "status": "canceled"}]

    def test_job_is_canceled_although_the_message_cannot_be_sent(self, api: Api) -> None:
        job = submit(api)
        api.services.sqs.delete_queue(QueueUrl=api.services.webhooks_queue_url)
        assert api("POST", f"/jobs/{job['id']}/cancel").status == 200

    def test_retry_creates_the_delivery_of_the_former_run_first(self, api: Api) -> None:
        job = submit_and_fail(api)
        assert api("POST", f"/jobs/{job.id}/retry").body["run"] == 2
        assert api.receive_messages("webhooks") == [{"job": job.id, "run": 1, "status": "failed"}]
        data = json.loads(read_delivery(job).body)["data"]
        assert (data["run"], data["status"], data["error"]["code"]) == (1, "failed", "model_failed")


class TestDeliveries:
    @pytest.fixture
    def job(self, api: Api) -> Job:
        """Return a failed job with a delivery."""
        job = submit_and_fail(api)
        deliveries().create(job, b"{}", now=now_ms())
        return job

    def test_log_contains_each_attempt(self, api: Api, job: Job) -> None:
        attempt(job, "pending", 500)
        (delivery,) = api("GET", f"/jobs/{job.id}/deliveries").body["deliveries"]
        assert (delivery["webhook_id"], delivery["type"], delivery["run"]) == (f"{job.id}.1.failed", "job.failed", 1)
        assert (delivery["state"], delivery["attempts"], delivery["url"]) == ("pending", 1, URL)
        (entry,) = delivery["log"]
        assert {**entry, "at": ""} == {"at": "", "status": 500, "latency_ms": 7, "excerpt": "\\x00"}
        assert api("GET", f"/jobs/{job.id}").body["webhook"] == {"url": URL, "state": "pending", "attempts": 1}

    def test_job_shows_the_state_of_its_delivery(self, api: Api, job: Job) -> None:
        attempt(job, "disabled", 410)
        body = api("GET", f"/jobs/{job.id}").body
        assert (body["webhook"]["state"], body["status"]) == ("disabled", "failed")

    def test_redelivery_begins_the_schedule_again_with_the_same_id(self, api: Api, job: Job) -> None:
        attempt(job, "disabled", 410)
        answer = api("POST", f"/jobs/{job.id}/deliveries")
        assert (answer.status, answer.body["state"], answer.body["attempts"]) == (202, "pending", 1)
        assert answer.body["webhook_id"] == f"{job.id}.1.failed"
        assert api.receive_messages("webhooks") == [{"job": job.id, "run": 1, "status": "failed", "attempt": 1}]

    def test_redelivery_without_a_delivery_is_a_conflict(self, api: Api) -> None:
        without_webhook = api("POST", "/analyze", {"text": "Ada."}).body
        for job in (without_webhook, submit(api)):
            assert api("GET", f"/jobs/{job['id']}/deliveries").body == {"deliveries": []}
            assert api("POST", f"/jobs/{job['id']}/deliveries").status == 409

    def test_redelivery_during_an_attempt_is_a_conflict(self, api: Api, job: Job) -> None:
        claim(read_delivery(job))
        assert api("POST", f"/jobs/{job.id}/deliveries").status == 409

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_deliveries_of_another_client_are_not_found(self, api: Api, job: Job, method: str) -> None:
        bearer = api.token(client_id="c_other")
        assert api(method, f"/jobs/{job.id}/deliveries", bearer=bearer).status == 404
        assert api(method, f"/jobs/{job.id}/deliveries", bearer=api.token(scope="none")).status == 403

    def test_webhook_has_no_state_if_the_client_wants_no_event(self, api: Api) -> None:
        job = submit(api, events=["job.succeeded"])
        canceled = api("POST", f"/jobs/{job['id']}/cancel").body
        assert canceled["webhook"] == {"url": URL, "attempts": 0}
        assert api.receive_messages("webhooks") == []
