"""Waiting, results, lists, uploads and many at once."""

from __future__ import annotations

import itertools
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import samovar

from tests.client.api import FakeApi, hang_up, problem

ID = "0198a0b0-0000-7000-8000-000000000001"


def scripted(*answers: httpx.Response) -> tuple[samovar.Client, list[httpx.Request]]:
    """A client whose calls get these answers, in order; and what it called, tokens aside."""
    left, seen = list(answers), []

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/oauth/token":
            return httpx.Response(200, json={"access_token": "t", "expires_in": 3600})
        seen.append(request)
        return left.pop(0)

    return samovar.Client("https://api.example", "c_1", "sk", transport=httpx.MockTransport(handle)), seen


def shown(status: str, **fields: object) -> httpx.Response:
    return httpx.Response(200, json={"id": ID, "status": status, **fields}, headers={"retry-after": "0"})


def test_everything_that_can_be_said_of_a_job_is_sent() -> None:
    client, (seen) = scripted(shown("queued"))
    client.analyze(
        documents=["Ada", {"id": "b", "text": "Bob"}],
        features=["tokens"],
        webhook="https://hooks.example",
        metadata={"a": 1},
        result_ttl_seconds=60,
        idempotency_key="k",
        wait=5,
    )
    assert json.loads(seen[0].content) == {
        "documents": [{"text": "Ada"}, {"id": "b", "text": "Bob"}],
        "features": ["tokens"],
        "webhook": {"url": "https://hooks.example"},
        "metadata": {"a": 1},
        "result_ttl_seconds": 60,
    }
    assert (seen[0].headers["idempotency-key"], seen[0].headers["prefer"]) == ("k", "wait=5")


def test_progress_is_told_when_it_changes_and_at_the_end() -> None:
    half = {"done": 1, "total": 2}
    client, _ = scripted(
        shown("running", progress=half), shown("running", progress=half), shown("succeeded", result={"documents": []})
    )
    told = []
    client.get(ID).wait(on_progress=lambda job: told.append((job.status, job.progress.done)))
    assert told == [("running", 1), ("succeeded", 0)]


def test_an_unchanged_job_is_not_sent_again() -> None:
    first = httpx.Response(200, json={"id": ID, "status": "queued"}, headers={"etag": '"1"'})
    client, seen = scripted(first, httpx.Response(304))
    job = client.get(ID).refresh()
    assert seen[1].headers["if-none-match"] == '"1"'
    assert job.status == "queued"


def test_waiting_outlives_an_api_that_is_away() -> None:
    away = problem(500, "internal")
    client, _ = scripted(shown("running"), away, shown("succeeded", result={"documents": []}))
    assert client.get(ID).wait().status == "succeeded"


def test_waiting_has_an_end(api: FakeApi) -> None:
    api.polls = 1_000_000
    job = api.client().analyze("Ada")
    began = time.monotonic()
    with pytest.raises(samovar.WaitTimeout) as caught:
        job.wait(0.2)
    assert caught.value.job is job
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [("failed", samovar.JobFailed), ("canceled", samovar.JobCanceled), ("expired", samovar.JobExpired)],
)
def test_a_job_without_a_result_says_why(status: str, kind: type[samovar.JobNotSuccessful]) -> None:
    error = {"code": "model_failed", "title": "T", "detail": "D", "retryable": False} if status == "failed" else None
    client, _ = scripted(shown(status, error=error))
    job = client.get(ID).wait()
    with pytest.raises(kind, match=ID) as caught:
        _ = job.result
    assert caught.value.job is job


def test_the_result_of_an_open_job_is_not_waited_for_by_accident() -> None:
    client, _ = scripted(shown("running"))
    with pytest.raises(samovar.JobNotDone):
        _ = client.get(ID).result


def test_a_big_result_is_fetched_without_the_token_and_with_a_fresh_url() -> None:
    client, seen = scripted(
        shown("succeeded", result_url="https://bucket.example/old"),
        httpx.Response(403, text="<Error>expired</Error>"),
        shown("succeeded", result_url="https://bucket.example/new"),
        httpx.Response(200, json={"documents": [{"ents": []}]}),
    )
    job = client.get(ID)
    assert len(job.result.documents) == 1
    assert job.result is job.result
    assert [request.url.path for request in seen] == [f"/jobs/{ID}", "/old", f"/jobs/{ID}", "/new"]
    assert "authorization" not in seen[1].headers
    assert "authorization" not in seen[3].headers


def test_lists_are_read_page_by_page() -> None:
    def page(status: str, **more: str) -> httpx.Response:
        return httpx.Response(200, json={"jobs": [{"id": ID, "status": status}], **more})

    client, seen = scripted(page("queued", next_cursor="c1"), page("failed"))
    after = datetime(2026, 1, 2, tzinfo=UTC)
    jobs = client.jobs(status="queued", created_after=after, page_size=1)
    assert next(jobs).status == "queued"
    assert len(seen) == 1
    assert [job.status for job in jobs] == ["failed"]
    assert dict(seen[1].url.params) == {
        "status": "queued",
        "created_after": "2026-01-02T00:00:00.000Z",
        "limit": "1",
        "cursor": "c1",
    }
    with pytest.raises(ValueError, match="time zone"):
        next(client.jobs(created_before=datetime(2026, 1, 2)))  # noqa: DTZ001 (that is the point)


def test_a_file_is_uploaded_as_announced(tmp_path: Path) -> None:
    file = tmp_path / "a.ndjson"
    file.write_text('{"text": "Ada"}\n', encoding="utf-8")
    headers = {"content-type": "application/x-ndjson", "if-none-match": "*"}
    announced = {"upload_id": "u", "method": "PUT", "url": "https://bucket.example/u", "headers": headers}
    busy = httpx.Response(503, text="<Error>SlowDown</Error>")
    filled = httpx.Response(412, text="<Error>PreconditionFailed</Error>")
    client, seen = scripted(httpx.Response(201, json=announced), busy, filled)
    assert client.upload(file) == "u"
    assert json.loads(seen[0].content) == {"content_type": "application/x-ndjson", "size": 16}
    assert seen[1].content == file.read_bytes()
    assert "authorization" not in seen[1].headers
    assert seen[1].headers["if-none-match"] == "*"


def test_a_place_that_was_filled_by_somebody_else_is_an_error() -> None:
    announced = {"upload_id": "u", "method": "PUT", "url": "https://bucket.example/u", "headers": {}}
    client, _ = scripted(httpx.Response(201, json=announced), httpx.Response(412))
    with pytest.raises(samovar.ApiError):
        client.upload(b"Ada")


def test_many_are_given_back_in_order_and_only_some_are_open(api: FakeApi) -> None:
    api.polls = 3
    texts = ["a" * length for length in range(1, 30)]
    jobs = list(api.client().analyze_many(texts, concurrency=4))
    assert [job.result.documents[0].ents[0].end for job in jobs] == list(range(1, 30))
    assert 1 < api.most_open <= 4


def test_many_are_read_as_they_are_used(api: FakeApi) -> None:
    """An endless iterable is no problem."""
    read = itertools.count(1)
    jobs = api.client().analyze_many(("a" * next(read) for _ in itertools.count()), concurrency=3)
    assert len(list(itertools.islice(jobs, 5))) == 5
    jobs.close()  # type: ignore[attr-defined]
    assert next(read) <= 5 + 3 + 1


def test_one_of_many_that_cannot_be_submitted_is_told(api: FakeApi) -> None:
    client = api.client()
    client.authenticate()
    api.before = [lambda _: problem(422, "invalid_request")]
    told = []
    jobs = list(client.analyze_many(["", "b"], concurrency=1, on_error=lambda at, error: told.append((at, error))))
    assert len(jobs) == 1
    assert told[0][0] == 0
    assert isinstance(told[0][1], samovar.InvalidRequest)
    api.before = [lambda _: problem(422, "invalid_request")]
    with pytest.raises(samovar.InvalidRequest):
        list(client.analyze_many(["", "b"], concurrency=1))


def test_a_delete_whose_answer_was_lost_has_deleted() -> None:
    client, _ = scripted(problem(503, "unavailable"), problem(410, "gone"), problem(410, "gone"))
    client.delete(ID)
    with pytest.raises(samovar.Gone):
        client.delete(ID)


def test_deliveries_are_listed_and_repeated() -> None:
    attempt = {"at": "2026-11-24T12:00:00Z", "status": 500, "latency_ms": 31, "excerpt": "no"}
    delivery = {
        "webhook_id": f"{ID}.1.succeeded", "run": 1, "type": "job.succeeded", "state": "failed", "attempts": 8,
        "log": [attempt],
    }  # fmt: skip
    client, seen = scripted(
        httpx.Response(200, json={"deliveries": [delivery]}), httpx.Response(202, json={**delivery, "state": "pending"})
    )
    assert client.deliveries(ID)[0].log[0].status == 500
    assert client.redeliver(ID).state == "pending"
    assert [request.method for request in seen] == ["GET", "POST"]


def test_documents_become_spacys(api: FakeApi) -> None:
    import spacy
    from spacy.tokens import Doc

    nlp = spacy.blank("en")
    doc = nlp("Ada wrote.")
    doc.ents = [doc.char_span(0, 3, label="PERSON")]
    failed = {"id": "x", "error": {"title": "The model failed"}}
    client, _ = scripted(shown("succeeded", result={"documents": [doc.to_json(), {"ents": []}, failed]}))
    result = client.get(ID).result
    made = result.documents[0].doc(nlp.vocab)
    assert isinstance(made, Doc)
    assert [(ent.text, ent.label_) for ent in made.ents] == [("Ada", "PERSON")]
    with pytest.raises(samovar.SamovarError, match="tokens"):
        result.documents[1].doc(nlp.vocab)
    with pytest.raises(samovar.DocumentFailed, match="model failed"):
        result.documents[2].doc(nlp.vocab)


def test_hanging_up_for_good_is_told(api: FakeApi) -> None:
    client = api.client()
    client.authenticate()
    api.before = [hang_up] * 10
    with pytest.raises(samovar.ConnectionFailed):
        client.analyze("Ada")
    assert len(api.calls("/analyze")) == 6
