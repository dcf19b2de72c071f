"""Waiting for jobs, results, lists, uploads and many jobs at once."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Generator
from datetime import datetime, timezone
from pathlib import Path

import httpx
import pytest
import samovar
from samovar.models import Stats

from tests.client.api import FakeApi, hang_up, problem

ID = "0198a0b0-0000-7000-8000-000000000001"


def script_answers(*answers: httpx.Response) -> tuple[samovar.Client, list[httpx.Request]]:
    """Return a client whose calls get these answers in order, and the list of its requests without token requests."""
    remaining = list(answers)
    requests: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/oauth/token":
            return httpx.Response(200, json={"access_token": "t", "expires_in": 3600})
        requests.append(request)
        return remaining.pop(0)

    return samovar.Client("https://api.example", "c_1", "sk", transport=httpx.MockTransport(handle)), requests


def job_answer(status: str, **fields: object) -> httpx.Response:
    return httpx.Response(200, json={"id": ID, "status": status, **fields}, headers={"retry-after": "0"})


def test_analyze_sends_every_option() -> None:
    client, requests = script_answers(job_answer("queued"))
    client.analyze(
        documents=["Ada", {"id": "b", "text": "Bob"}],
        features=["tokens"],
        webhook="https://hooks.example",
        metadata={"a": 1},
        result_ttl_seconds=60,
        idempotency_key="k",
        wait=5,
    )
    assert json.loads(requests[0].content) == {
        "documents": [{"text": "Ada"}, {"id": "b", "text": "Bob"}],
        "features": ["tokens"],
        "webhook": {"url": "https://hooks.example"},
        "metadata": {"a": 1},
        "result_ttl_seconds": 60,
    }
    assert (requests[0].headers["idempotency-key"], requests[0].headers["prefer"]) == ("k", "wait=5")


def test_on_progress_is_called_after_each_change_and_at_the_end() -> None:
    half = {"done": 1, "total": 2}
    client, _ = script_answers(
        job_answer("running", progress=half),
        job_answer("running", progress=half),
        job_answer("succeeded", result={"documents": []}),
    )
    calls: list[tuple[str, int]] = []
    client.get(ID).wait(on_progress=lambda job: calls.append((job.status, job.progress.done)))
    assert calls == [("running", 1), ("succeeded", 0)]


def test_refresh_of_an_unchanged_job_keeps_its_state() -> None:
    first = httpx.Response(200, json={"id": ID, "status": "queued"}, headers={"etag": '"1"'})
    client, requests = script_answers(first, httpx.Response(304))
    job = client.get(ID).refresh()
    assert requests[1].headers["if-none-match"] == '"1"'
    assert job.status == "queued"


def test_wait_continues_after_an_error_of_the_api() -> None:
    error = problem(500, "internal")
    client, _ = script_answers(job_answer("running"), error, job_answer("succeeded", result={"documents": []}))
    assert client.get(ID).wait().status == "succeeded"


def test_wait_raises_after_its_timeout(api: FakeApi) -> None:
    api.polls = 1_000_000
    job = api.client().analyze("Ada")
    started = time.monotonic()
    with pytest.raises(samovar.WaitTimeout) as caught:
        job.wait(0.2)
    assert caught.value.job is job
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [("failed", samovar.JobFailed), ("canceled", samovar.JobCanceled), ("expired", samovar.JobExpired)],
)
def test_the_result_of_an_unsuccessful_job_raises_the_class_of_its_status(
    status: str, kind: type[samovar.JobNotSuccessful]
) -> None:
    error = {"code": "model_failed", "title": "T", "detail": "D", "retryable": False} if status == "failed" else None
    client, _ = script_answers(job_answer(status, error=error))
    job = client.get(ID).wait()
    with pytest.raises(kind, match=ID) as caught:
        _ = job.result
    assert caught.value.job is job


def test_the_result_of_a_running_job_raises_instead_of_waiting() -> None:
    client, _ = script_answers(job_answer("running"))
    with pytest.raises(samovar.JobNotDone):
        _ = client.get(ID).result


def test_a_result_url_is_fetched_without_the_token_and_renewed_after_it_expired() -> None:
    client, requests = script_answers(
        job_answer("succeeded", result_url="https://bucket.example/old"),
        httpx.Response(403, text="<Error>expired</Error>"),
        job_answer("succeeded", result_url="https://bucket.example/new"),
        httpx.Response(200, json={"documents": [{"ents": []}]}),
    )
    job = client.get(ID)
    assert len(job.result.documents) == 1
    assert job.result is job.result
    assert [request.url.path for request in requests] == [f"/jobs/{ID}", "/old", f"/jobs/{ID}", "/new"]
    assert "authorization" not in requests[1].headers
    assert "authorization" not in requests[3].headers


def test_jobs_fetches_a_page_when_it_is_needed() -> None:
    def page(status: str, **more: str) -> httpx.Response:
        return httpx.Response(200, json={"jobs": [{"id": ID, "status": status}], **more})

    client, requests = script_answers(page("queued", next_cursor="c1"), page("failed"))
    after = datetime(2026, 1, 2, tzinfo=timezone.utc)
    jobs = client.jobs(status="queued", created_after=after, page_size=1)
    assert next(jobs).status == "queued"
    assert len(requests) == 1
    assert [job.status for job in jobs] == ["failed"]
    assert dict(requests[1].url.params) == {
        "status": "queued",
        "created_after": "2026-01-02T00:00:00.000Z",
        "limit": "1",
        "cursor": "c1",
    }
    with pytest.raises(ValueError, match="time zone"):
        next(client.jobs(created_before=datetime(2026, 1, 2)))  # noqa: DTZ001 (the missing time zone is tested)


def test_upload_puts_the_file_with_the_method_and_headers_of_the_api(tmp_path: Path) -> None:
    file = tmp_path / "a.ndjson"
    file.write_text('{"text": "Ada"}\n', encoding="utf-8")
    headers = {"content-type": "application/x-ndjson", "if-none-match": "*"}
    upload = {"upload_id": "u", "method": "PUT", "url": "https://bucket.example/u", "headers": headers}
    busy = httpx.Response(503, text="<Error>SlowDown</Error>")
    already_stored = httpx.Response(412, text="<Error>PreconditionFailed</Error>")
    client, requests = script_answers(httpx.Response(201, json=upload), busy, already_stored)
    assert client.upload(file) == "u"
    assert json.loads(requests[0].content) == {"content_type": "application/x-ndjson", "size": 16}
    assert requests[1].content == file.read_bytes()
    assert "authorization" not in requests[1].headers
    assert requests[1].headers["if-none-match"] == "*"


def test_upload_raises_if_the_first_attempt_finds_an_existing_object() -> None:
    upload = {"upload_id": "u", "method": "PUT", "url": "https://bucket.example/u", "headers": {}}
    client, _ = script_answers(httpx.Response(201, json=upload), httpx.Response(412))
    with pytest.raises(samovar.ApiError):
        client.upload(b"Ada")


def test_analyze_many_yields_in_order_and_limits_the_open_jobs(api: FakeApi) -> None:
    api.polls = 3
    texts = ["a" * length for length in range(1, 30)]
    jobs = list(api.client().analyze_many(texts, concurrency=4))
    assert [job.result.documents[0].ents[0].end for job in jobs] == list(range(1, 30))
    assert 1 < api.most_open_jobs <= 4


def test_analyze_many_accepts_an_endless_iterable(api: FakeApi) -> None:
    lengths = itertools.count(1)
    jobs = api.client().analyze_many(("a" * next(lengths) for _ in itertools.count()), concurrency=3)
    assert len(list(itertools.islice(jobs, 5))) == 5
    assert isinstance(jobs, Generator)
    jobs.close()
    assert next(lengths) <= 5 + 3 + 1


def test_analyze_many_passes_a_refused_text_to_on_error(api: FakeApi) -> None:
    client = api.authenticated_client()
    api.before = [lambda _: problem(422, "invalid_request")]
    errors: dict[int, samovar.SamovarError] = {}
    assert len(list(client.analyze_many(["", "b"], concurrency=1, on_error=errors.__setitem__))) == 1
    assert list(errors) == [0]
    assert isinstance(errors[0], samovar.InvalidRequest)
    api.before = [lambda _: problem(422, "invalid_request")]
    with pytest.raises(samovar.InvalidRequest):
        list(client.analyze_many(["", "b"], concurrency=1))


def test_a_delete_whose_answer_was_lost_succeeds() -> None:
    client, _ = script_answers(problem(503, "unavailable"), problem(410, "gone"), problem(410, "gone"))
    client.delete(ID)
    with pytest.raises(samovar.Gone):
        client.delete(ID)


def test_deliveries_are_listed_and_redelivered() -> None:
    attempt = {"at": "2026-11-24T12:00:00Z", "status": 500, "latency_ms": 31, "excerpt": "no"}
    delivery = {
        "webhook_id": f"{ID}.1.succeeded", "run": 1, "type": "job.succeeded", "state": "failed", "attempts": 8,
        "log": [attempt],
    }  # fmt: skip
    client, requests = script_answers(
        httpx.Response(200, json={"deliveries": [delivery]}), httpx.Response(202, json={**delivery, "state": "pending"})
    )
    assert client.deliveries(ID)[0].log[0].status == 500
    assert client.redeliver(ID).state == "pending"
    assert [request.method for request in requests] == ["GET", "POST"]


def test_documents_with_tokens_become_spacy_docs() -> None:
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import Doc, Span

    nlp = spacy.blank("en")
    doc = nlp("Ada wrote.")
    doc.ents = [Span(doc, 0, 1, label="PERSON")]
    failed = {"id": "x", "error": {"title": "The model failed"}}
    client, _ = script_answers(job_answer("succeeded", result={"documents": [doc.to_json(), {"ents": []}, failed]}))
    result = client.get(ID).result
    converted = result.documents[0].doc(nlp.vocab)
    assert isinstance(converted, Doc)
    assert [(ent.text, ent.label_) for ent in converted.ents] == [("Ada", "PERSON")]
    with pytest.raises(samovar.SamovarError, match="tokens"):
        result.documents[1].doc(nlp.vocab)
    with pytest.raises(samovar.DocumentFailed, match="model failed"):
        result.documents[2].doc(nlp.vocab)


def test_the_feature_stats_gives_typed_counts(api: FakeApi) -> None:
    documents = (
        api.client().analyze(documents=["Ada wrote.", "Bob"], features=["ents", "stats"]).wait().result.documents
    )
    assert documents[0].stats == Stats(characters=10, words=2, sentences=1, ents={"X": 1})
    assert api.client().analyze("Ada").wait().result.documents[0].stats is None


def test_a_call_raises_after_six_lost_connections(api: FakeApi) -> None:
    client = api.authenticated_client()
    api.before = [hang_up] * 10
    with pytest.raises(samovar.ConnectionFailed):
        client.analyze("Ada")
    assert len(api.find_requests("/analyze")) == 6
