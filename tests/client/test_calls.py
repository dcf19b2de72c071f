"""Access tokens, deadlines, repeated calls and errors."""

from __future__ import annotations

import base64
import threading
import time
import traceback
from urllib.parse import unquote_plus

import httpx
import pytest
import samovar

from tests.client.api import SECRET, URL, FakeApi, Handler, delay, hang_up, problem, refuse_connection


def test_three_lines_submit_a_job_and_read_its_result(api: FakeApi) -> None:
    client = api.client()
    job = client.analyze("Ada").wait()
    assert job.result.documents[0].ents[0].label == "X"


def test_credentials_are_form_encoded_before_they_are_sent_as_basic_authentication(api: FakeApi) -> None:
    """RFC 6749, section 2.3.1: a secret may contain any character."""
    api.client().authenticate()
    (request,) = api.find_requests("/oauth/token")
    client_id, secret = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode().split(":")
    assert (unquote_plus(client_id), unquote_plus(secret)) == ("c_1", SECRET)


def test_many_threads_fetch_one_token(api: FakeApi) -> None:
    client = api.client()
    threads = [threading.Thread(target=client.analyze, args=("Ada",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert api.tokens == 1
    assert client.worker["state"] == "warm"


def test_an_expiring_token_is_replaced(api: FakeApi) -> None:
    api.token_seconds = 0
    client = api.client()
    client.analyze("Ada")
    client.analyze("Bob")
    assert api.tokens == 2


def test_a_rejected_token_is_replaced_once_per_call(api: FakeApi) -> None:
    client = api.client()
    client.analyze("Ada")
    api.before = [lambda _: problem(401, "unauthorized")]
    client.analyze("Bob")
    assert api.tokens == 2
    api.before = [lambda _: problem(401, "unauthorized"), lambda _: None, lambda _: problem(401, "unauthorized")]
    with pytest.raises(samovar.Unauthorized):
        client.analyze("Eve")


def test_an_unknown_client_raises_the_error_of_the_token_endpoint(api: FakeApi) -> None:
    api.before = [lambda _: httpx.Response(401, json={"error": "invalid_client", "error_description": "No"})]
    with pytest.raises(samovar.AuthenticationFailed, match="No") as caught:
        api.client().analyze("Ada")
    assert caught.value.error == "invalid_client"


@pytest.mark.parametrize(
    "failure", [hang_up, refuse_connection, lambda _: problem(503, "unavailable", retry_after="0")]
)
def test_a_repeated_submit_has_the_same_idempotency_key_and_creates_one_job(api: FakeApi, failure: Handler) -> None:
    """The answer can be lost after the API has created the job."""
    client = api.authenticated_client()

    def lose_the_answer(request: httpx.Request) -> httpx.Response | None:
        api.answer(request)
        return failure(request)

    api.before = [lose_the_answer]
    client.analyze("Ada")
    first, second = api.find_requests("/analyze")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert len(api.jobs) == 1


def test_a_call_is_repeated_after_the_seconds_of_retry_after(api: FakeApi) -> None:
    client = api.authenticated_client()
    api.before = [lambda _: problem(429, "rate_limited", retry_after="1")]
    started = time.monotonic()
    client.analyze("Ada")
    assert time.monotonic() - started >= 1


def test_a_retry_after_beyond_the_deadline_raises_at_once(api: FakeApi) -> None:
    client = api.authenticated_client(timeout=5)
    api.before = [lambda _: problem(429, "rate_limited", retry_after="60")]
    with pytest.raises(samovar.RateLimited) as caught:
        client.analyze("Ada")
    assert caught.value.retry_after == 60
    assert caught.value.code == "rate_limited"
    assert caught.value.request_id == "r1"


def test_the_retry_of_a_job_is_not_repeated_after_a_lost_answer(api: FakeApi) -> None:
    """The API may have started the next run before the answer was lost."""
    client = api.client()
    job = client.analyze("Ada")
    api.before = [hang_up]
    with pytest.raises(samovar.ConnectionFailed):
        job.retry()
    assert len(api.find_requests(f"/jobs/{job.id}/retry")) == 1


def test_a_cancel_whose_answer_was_lost_returns_the_canceled_job(api: FakeApi) -> None:
    api.polls = 10
    client = api.client()
    job = client.analyze("Ada")

    def lose_the_answer(request: httpx.Request) -> httpx.Response:
        api.answer(request)
        return hang_up(request)

    api.before = [lose_the_answer]
    assert job.cancel().status == "canceled"
    with pytest.raises(samovar.Conflict):
        job.cancel()


def test_a_call_ends_at_its_deadline(api: FakeApi) -> None:
    client = api.authenticated_client(timeout=0.3)
    api.before = [refuse_connection, delay(0.4)] * 3
    started = time.monotonic()
    with pytest.raises(samovar.DeadlineExceeded):
        client.analyze("Ada")
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, samovar.Forbidden),
        (404, samovar.NotFound),
        (410, samovar.Gone),
        (413, samovar.BodyTooLarge),
        (422, samovar.InvalidRequest),
        (500, samovar.Unavailable),
        (418, samovar.ApiError),
    ],
)
def test_an_error_status_raises_its_class_with_the_code_of_the_problem(
    api: FakeApi, status: int, kind: type[samovar.ApiError]
) -> None:
    client = api.authenticated_client()
    api.before = [lambda _: problem(status, "some_code")]
    with pytest.raises(kind, match="Because") as caught:
        client.analyze("Ada")
    assert (caught.value.code, caught.value.status) == ("some_code", status)


def test_an_answer_that_is_not_json_raises_unavailable(api: FakeApi) -> None:
    client = api.authenticated_client()
    api.before = [lambda _: httpx.Response(200, text="<html>")]
    with pytest.raises(samovar.Unavailable):
        client.analyze("Ada")


@pytest.mark.parametrize(
    "url", ["http://api.example", "ftp://api.example", "api.example", "https://a:b@api.example", "https://x?y=1"]
)
def test_a_url_that_could_expose_a_secret_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        samovar.Client(url, "c_1", SECRET)


def test_http_is_allowed_for_this_machine() -> None:
    for url in ("http://127.0.0.1:1/x/", "http://localhost:1", "http://[::1]:1"):
        samovar.Client(url, "c_1", SECRET).close()


def test_no_repr_and_no_traceback_contains_a_secret(api: FakeApi) -> None:
    client = api.client()
    assert SECRET not in repr(client) + repr(client._transport)
    api.before = [lambda _: httpx.Response(401, json={"error": "invalid_client"})]
    with pytest.raises(samovar.AuthenticationFailed) as caught:
        client.analyze("Ada")
    printed = "".join(traceback.format_exception(caught.value))
    assert SECRET not in printed
    assert "c_1" not in printed


@pytest.mark.parametrize("job_id", ["", "../oauth/token", "1", "x" * 300])
def test_a_job_id_that_is_not_a_uuid_is_refused_before_any_request(api: FakeApi, job_id: str) -> None:
    with pytest.raises(ValueError, match="id"):
        api.client().get(job_id)
    assert not api.requests


def test_from_environment_names_the_missing_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"SAMOVAR_{name}", raising=False)
    monkeypatch.setenv("SAMOVAR_URL", URL)
    with pytest.raises(samovar.SamovarError, match="SAMOVAR_CLIENT_ID, SAMOVAR_CLIENT_SECRET"):
        samovar.Client.from_environment()
