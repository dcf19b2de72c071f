"""Tokens, deadlines, repetition and errors."""

from __future__ import annotations

import base64
import threading
import time
import traceback
from typing import Any
from urllib.parse import unquote_plus

import httpx
import pytest
import samovar

from tests.client.api import SECRET, URL, FakeApi, hang_up, no_connection, problem, slow


def test_three_lines_are_enough(api: FakeApi) -> None:
    client = api.client()
    job = client.analyze("Ada").wait()
    assert job.result.documents[0].ents[0].label == "X"


def test_credentials_are_sent_as_rfc_6749_wants_them(api: FakeApi) -> None:
    """Form-encoded, then Basic: a secret may hold anything."""
    api.client().authenticate()
    (request,) = api.calls("/oauth/token")
    client_id, secret = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode().split(":")
    assert (unquote_plus(client_id), unquote_plus(secret)) == ("c_1", SECRET)


def test_a_token_is_fetched_once_by_many_threads(api: FakeApi) -> None:
    client = api.client()
    threads = [threading.Thread(target=client.analyze, args=("Ada",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert api.tokens == 1
    assert client.worker["state"] == "warm"


def test_a_token_is_replaced_before_it_ends(api: FakeApi) -> None:
    api.lifetime = 0
    client = api.client()
    client.analyze("Ada")
    client.analyze("Bob")
    assert api.tokens == 2


def test_a_token_that_is_not_accepted_is_replaced_once(api: FakeApi) -> None:
    client = api.client()
    client.analyze("Ada")
    api.before = [lambda _: problem(401, "unauthorized")]
    client.analyze("Bob")
    assert api.tokens == 2
    api.before = [lambda _: problem(401, "unauthorized"), lambda _: None, lambda _: problem(401, "unauthorized")]
    with pytest.raises(samovar.Unauthorized):
        client.analyze("Eve")


def test_a_refused_client_is_told_why(api: FakeApi) -> None:
    api.before = [lambda _: httpx.Response(401, json={"error": "invalid_client", "error_description": "No"})]
    with pytest.raises(samovar.AuthenticationFailed, match="No") as caught:
        api.client().analyze("Ada")
    assert caught.value.error == "invalid_client"


@pytest.mark.parametrize("breakage", [hang_up, no_connection, lambda _: problem(503, "unavailable", retry_after="0")])
def test_a_submit_that_broke_is_the_same_job_when_repeated(api: FakeApi, breakage: Any) -> None:
    """The answer may be lost after the job was made: the key is the same both times."""
    client = api.client()
    client.authenticate()

    def lose_the_answer(request: httpx.Request) -> httpx.Response:
        api._route(request)
        return breakage(request)

    api.before = [lose_the_answer]
    client.analyze("Ada")
    first, second = api.calls("/analyze")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert len(api.jobs) == 1


def test_the_servers_retry_after_is_kept_to(api: FakeApi) -> None:
    client = api.client()
    client.authenticate()
    api.before = [lambda _: problem(429, "rate_limited", retry_after="1")]
    began = time.monotonic()
    client.analyze("Ada")
    assert time.monotonic() - began >= 1


def test_a_retry_after_beyond_the_deadline_is_told_at_once(api: FakeApi) -> None:
    client = api.client(timeout=5)
    client.authenticate()
    api.before = [lambda _: problem(429, "rate_limited", retry_after="60")]
    with pytest.raises(samovar.RateLimited) as caught:
        client.analyze("Ada")
    assert caught.value.retry_after == 60
    assert caught.value.code == "rate_limited"
    assert caught.value.request_id == "r1"


def test_what_must_not_be_repeated_is_not(api: FakeApi) -> None:
    """A retry whose answer was lost may have begun a run."""
    client = api.client()
    job = client.analyze("Ada")
    api.before = [hang_up]
    with pytest.raises(samovar.ConnectionFailed):
        job.retry()
    assert len(api.calls(f"/jobs/{job.id}/retry")) == 1


def test_a_cancel_whose_answer_was_lost_has_canceled(api: FakeApi) -> None:
    api.polls = 10
    client = api.client()
    job = client.analyze("Ada")

    def lose_the_answer(request: httpx.Request) -> httpx.Response:
        api._route(request)
        return hang_up(request)

    api.before = [lose_the_answer]
    assert job.cancel().status == "canceled"
    with pytest.raises(samovar.Conflict):
        job.cancel()


def test_a_call_ends_at_its_deadline(api: FakeApi) -> None:
    client = api.client(timeout=0.3)
    client.authenticate()
    api.before = [no_connection, slow(0.4)] * 3
    began = time.monotonic()
    with pytest.raises(samovar.DeadlineExceeded):
        client.analyze("Ada")
    assert time.monotonic() - began < 1


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
def test_errors_are_typed_and_carry_their_code(api: FakeApi, status: int, kind: type[samovar.ApiError]) -> None:
    client = api.client()
    client.authenticate()
    api.before = [lambda _: problem(status, "some_code")]
    with pytest.raises(kind, match="Because") as caught:
        client.analyze("Ada")
    assert (caught.value.code, caught.value.status) == ("some_code", status)


def test_an_answer_that_is_no_json_is_an_error_of_ours(api: FakeApi) -> None:
    client = api.client()
    client.authenticate()
    api.before = [lambda _: httpx.Response(200, text="<html>")]
    with pytest.raises(samovar.Unavailable):
        client.analyze("Ada")


@pytest.mark.parametrize(
    "url", ["http://api.example", "ftp://api.example", "api.example", "https://a:b@api.example", "https://x?y=1"]
)
def test_a_url_that_would_show_a_secret_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        samovar.Client(url, "c_1", SECRET)


def test_this_machine_may_be_called_in_the_clear() -> None:
    for url in ("http://127.0.0.1:1/x/", "http://localhost:1", "http://[::1]:1"):
        samovar.Client(url, "c_1", SECRET).close()


def test_secrets_are_in_no_repr_and_no_traceback(api: FakeApi) -> None:
    client = api.client()
    assert SECRET not in repr(client) + repr(client._transport)
    api.before = [lambda _: httpx.Response(401, json={"error": "invalid_client"})]
    try:
        client.analyze("Ada")
    except samovar.AuthenticationFailed as error:
        shown = "".join(traceback.format_exception(error))
    assert SECRET not in shown
    assert "c_1" not in shown


@pytest.mark.parametrize("job_id", ["", "../oauth/token", "1", "x" * 300])
def test_what_is_no_id_becomes_no_path(api: FakeApi, job_id: str) -> None:
    with pytest.raises(ValueError, match="id"):
        api.client().get(job_id)
    assert not api.requests


def test_the_environment_names_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"SAMOVAR_{name}", raising=False)
    monkeypatch.setenv("SAMOVAR_URL", URL)
    with pytest.raises(samovar.SamovarError, match="SAMOVAR_CLIENT_ID, SAMOVAR_CLIENT_SECRET"):
        samovar.Client.from_environment()
