"""Jobs: what the function `submit` answers behind its handler, over moto."""

from __future__ import annotations

import json
import time
import tracemalloc
import zlib
from typing import Any

import boto3
import pytest

from shared import aws
from shared.errors import Transient
from shared.store import JobStore
from tests.integration.conftest import URL, parts, queued, stored, token


class TestSubmit:
    def test_job_is_stored_and_queued(self, call: Any) -> None:
        answer = call("POST", "/analyze", {"text": "Ada lived in London."})
        assert answer.status == 202
        job = answer.body
        assert job["status"] == "queued"
        assert job["features"] == ["ents", "sents"]
        assert job["model"] == {"name": "en_core_web_sm", "version": "3.8.0"}
        assert answer.headers["location"] == f"{URL}/jobs/{job['id']}" == job["links"]["self"]
        assert (job["status_reason"], job["eta_seconds"]) == ("warming", 10)
        assert answer.headers["retry-after"] == "10"
        assert queued(call) == [{"job": job["id"], "run": 1}]
        shown = call("GET", f"/jobs/{job['id']}")
        assert shown.status == 200
        assert shown.body == job

    @pytest.mark.parametrize(
        "text", ["x", "NUL \x00 inside", "👩‍👩‍👧 at both ends 🦄", "\ufeffbom", "línea\r\n\u2028", "\U0010ffff"]
    )
    def test_text_is_stored_exactly(self, call: Any, text: str) -> None:
        job = call("POST", "/analyze", {"text": text}).body
        key = aws.to_item({"id": job["id"], "part": "input"})
        item = aws.from_item(call.api.services.dynamodb.get_item(TableName="jobs", Key=key)["Item"])
        assert json.loads(zlib.decompress(item["body"]))["documents"] == [{"id": None, "text": text}]

    def test_body_of_the_limit_is_taken(self, call: Any) -> None:
        body = json.dumps({"text": "a" * 2_499_988})
        assert len(body) == 2_500_000
        assert call("POST", "/analyze", body).status == 202
        assert call("POST", "/analyze", body + " ").status == 413

    def test_size_counts_bytes_not_characters(self, call: Any) -> None:
        body = json.dumps({"text": "é" * 1_250_000}, ensure_ascii=False)
        answer = call("POST", "/analyze", body.encode())
        assert (answer.status, answer.body["code"]) == (413, "body_too_large")

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({}, "#"),
            ({"text": ""}, "#/text"),
            ({"text": " \n\t "}, "#/text"),
            ({"text": None}, "#"),
            ({"text": 5}, "#/text"),
            ({"text": ["a"]}, "#/text"),
            ({"text": "a", "txet": 1}, "#/txet"),
            ({"text": "a", "a/b~c": 1}, "#/a~1b~0c"),
            ({"text": "a", "features": ["entities"]}, "#/features/0"),
            ({"text": "a", "features": []}, "#/features"),
            ({"text": "a", "features": "ents"}, "#/features"),
            ({"text": "a", "documents": [{"text": "b"}]}, "#"),
            ({"documents": []}, "#/documents"),
            ({"documents": [{"text": "a"}, {"text": " "}]}, "#/documents/1/text"),
            ({"documents": [{"id": "1", "text": "a"}, {"id": "1", "text": "b"}]}, "#/documents"),
            ({"documents": [{"text": "a"}] * 1001}, "#/documents"),
            ([], "#"),
            ("[1]", "#"),
            ("null", "#"),
            ("5", "#"),
        ],
    )
    def test_invalid_request_says_where(self, call: Any, body: Any, pointer: str) -> None:
        answer = call("POST", "/analyze", body)
        assert (answer.status, answer.body["code"]) == (422, "invalid_request")
        (error,) = answer.body["errors"]
        assert error["pointer"] == pointer
        assert not {"Tuple", "dictionary", "validation"} & set(error["detail"].split()), "words of Python, not of JSON"
        assert stored(call) == 0

    @pytest.mark.parametrize(
        "body",
        [
            "{", "", "text", "{'text': 1}", '{"text": "a",}', "[" * 100_000, '{"a":' * 100_000, "9" * 5_000,
            '{"text": "\\ud800"}', '{"\\ud800": 1}', '{"text": "a", "text": "b"}', '{"text": NaN}', '{"x": 1e400}',
            b"\xff\xfe", b'{"text": "\xed\xa0\x80"}', "\ufeff{}", '{"text": "a\nb"}',
        ],
    )  # fmt: skip
    def test_malformed_body_is_a_400(self, call: Any, body: str | bytes) -> None:
        answer = call("POST", "/analyze", body)
        assert (answer.status, answer.body["code"]) == (400, "malformed_body")
        assert stored(call) == 0

    @pytest.mark.parametrize("body", ['{"text":"a","features":[%s]}', '{"documents":[%s]}'])
    def test_many_errors_cost_little(self, call: Any, body: str) -> None:
        """A body full of errors is refused at the first of them: listing all took 2.5 GB and 30 s."""
        tracemalloc.start()
        answer = call("POST", "/analyze", body % ",".join("1" for _ in range(1_200_000)))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert answer.status == 422
        assert peak < 200_000_000

    def test_object_of_many_names_is_refused(self, call: Any) -> None:
        body = "{" + ",".join(f'"n{number}":1' for number in range(1001)) + "}"
        assert call("POST", "/analyze", body).body["code"] == "malformed_body"

    @pytest.mark.parametrize("path", ["/analyze\n", "/uploads\n", "/jobs/x\n", "/analyze\r", "/ana lyze", "/analyzé"])
    def test_path_with_a_newline_is_not_the_path(self, call: Any, path: str) -> None:
        """A pattern's `$` matches in front of it: once a way past the token and the body's limit."""
        for headers in ({"authorization": None}, {}):
            answer = call("POST", path, {"text": "a"}, headers=headers)
            assert (answer.status, answer.body["code"]) == (404, "not_found")
        assert stored(call) == 0

    def test_many_errors_are_cut_short(self, call: Any) -> None:
        """An answer stays small whatever was sent."""
        body = {"text": "a", **{"n" * 10_000 + str(number): 1 for number in range(100)}}
        answer = call("POST", "/analyze", body)
        assert len(answer.body["errors"]) == 20
        assert len(json.dumps(answer.body)) < 10_000

    @pytest.mark.parametrize(
        "media_type",
        [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "multipart/form-data"],
    )
    def test_other_content_types_are_a_415(self, call: Any, media_type: str | None) -> None:
        answer = call("POST", "/analyze", {"text": "a"}, headers={"content-type": media_type})
        assert (answer.status, answer.body["code"]) == (415, "unsupported_media_type")

    def test_content_type_may_have_parameters(self, call: Any) -> None:
        headers = {"content-type": "Application/JSON; charset=utf-8"}
        assert call("POST", "/analyze", {"text": "a"}, headers=headers).status == 202

    def test_token_comes_before_the_body(self, call: Any) -> None:
        """Without a token nobody learns what the body lacks."""
        answer = call("POST", "/analyze", "{", headers={"authorization": None})
        assert (answer.status, answer.body["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"

    def test_expired_token_is_refused(self, call: Any) -> None:
        answer = call("POST", "/analyze", {"text": "a"}, bearer=token(call.api, now=int(time.time()) - 3700))
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'

    def test_scope_is_needed(self, call: Any) -> None:
        reader = token(call.api, scope="jobs:read")
        answer = call("POST", "/analyze", {"text": "a"}, bearer=reader)
        assert (answer.status, answer.body["code"]) == (403, "insufficient_scope")
        assert call("GET", "/jobs/x", bearer=token(call.api, scope="jobs:write")).status == 403

    def test_lost_message_does_not_lose_the_job(self, call: Any) -> None:
        """The job is stored, so it is accepted: the janitor queues it again."""
        call.api.services.sqs.delete_queue(QueueUrl=call.api.services.jobs_queue_url)
        answer = call("POST", "/analyze", {"text": "a"})
        assert answer.status == 202
        assert call("GET", f"/jobs/{answer.body['id']}").body["status"] == "queued"

    def test_store_that_is_away_is_a_503(self, call: Any) -> None:
        call.api.services.dynamodb.delete_table(TableName="jobs")
        answer = call("POST", "/analyze", {"text": "a"})
        assert (answer.status, answer.body["code"], answer.headers["retry-after"]) == (503, "unavailable", "1")


class TestGet:
    def test_another_clients_job_is_as_good_as_none(self, call: Any) -> None:
        job = call("POST", "/analyze", {"text": "a"}).body
        theirs = call("GET", f"/jobs/{job['id']}", bearer=token(call.api, client_id="c_other"))
        none = call("GET", "/jobs/01900000-0000-7000-8000-000000000000")
        assert theirs.status == none.status == 404
        assert theirs.body == none.body

    @pytest.mark.parametrize("wait", ["-1", "26", "abc", "", "1.5", "1,2", "nan", "9" * 5000])
    def test_wait_is_0_to_25(self, call: Any, wait: str) -> None:
        answer = call("GET", "/jobs/x", query={"wait": wait})
        assert answer.status == 422
        assert answer.body["errors"][0]["parameter"] == "wait"

    def test_wait_ends_with_the_time_asked_for(self, call: Any) -> None:
        job = call("POST", "/analyze", {"text": "a"}).body
        began = time.monotonic()
        answer = call("GET", f"/jobs/{job['id']}", query={"wait": "1"})
        assert answer.body["status"] == "queued"
        assert time.monotonic() - began >= 1

    @pytest.mark.parametrize("job_id", ["x", "%00", "a" * 3000, "👩‍🚀", "../x", "a b"])
    def test_strange_ids_are_a_404(self, call: Any, job_id: str) -> None:
        assert call("GET", f"/jobs/{job_id}").status == 404

    def test_wrong_method_is_a_405_with_allow(self, call: Any) -> None:
        answer = call("GET", "/analyze")
        assert (answer.status, answer.body["code"], answer.headers["allow"]) == (405, "method_not_allowed", "POST")
        assert call("PUT", "/jobs/x").headers["allow"] == "DELETE, GET"

    def test_unknown_path_is_a_404_without_a_token(self, call: Any) -> None:
        answer = call("GET", "/nothing", headers={"authorization": None})
        assert (answer.status, answer.body["code"]) == (404, "not_found")


class TestUploads:
    def upload(self, call: Any, body: bytes, content_type: str = "text/plain") -> dict[str, Any]:
        """What was announced, with `body` put where the URL leads."""
        announced = call("POST", "/uploads", {"content_type": content_type, "size": len(body)})
        assert announced.status == 201
        key = f"uploads/{call.api.client.client_id}/{announced.body['upload_id']}"
        boto3.client("s3").put_object(Bucket="bucket", Key=key, Body=body, ContentType=content_type)
        return announced.body

    def test_announced_upload_says_what_to_send(self, call: Any) -> None:
        announced = call("POST", "/uploads", {"content_type": "text/plain", "size": 5}).body
        assert announced["method"] == "PUT"
        assert announced["headers"] == {"content-type": "text/plain", "content-length": "5", "if-none-match": "*"}
        assert "X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost%3Bif-none-match" in announced["url"]

    def test_upload_becomes_a_job(self, call: Any) -> None:
        announced = self.upload(call, b"Ada lived in London.")
        answer = call("POST", "/analyze", {"upload_id": announced["upload_id"]})
        assert answer.status == 202
        assert queued(call) == [{"job": answer.body["id"], "run": 1}]

    @pytest.mark.parametrize(
        "body",
        [
            {"content_type": "text/plain", "size": 0},
            {"content_type": "text/plain", "size": 20_000_001},
            {"content_type": "text/plain", "size": "5"},
            {"content_type": "text/html", "size": 5},
            {"size": 5},
        ],
    )
    def test_impossible_upload_is_refused(self, call: Any, body: dict[str, Any]) -> None:
        assert call("POST", "/uploads", body).status == 422

    def test_upload_never_made_is_refused(self, call: Any) -> None:
        announced = call("POST", "/uploads", {"content_type": "text/plain", "size": 5}).body
        answer = call("POST", "/analyze", {"upload_id": announced["upload_id"]})
        assert (answer.status, answer.body["errors"][0]["pointer"]) == (422, "#/upload_id")

    def test_another_clients_upload_is_as_good_as_none(self, call: Any) -> None:
        announced = self.upload(call, b"Ada.")
        answer = call(
            "POST", "/analyze", {"upload_id": announced["upload_id"]}, bearer=token(call.api, client_id="c_other")
        )
        assert answer.status == 422

    @pytest.mark.parametrize("upload_id", ["", "../c_other/x", "a" * 23, "é" * 22, 5, "a/b"])
    def test_strange_upload_ids_are_refused(self, call: Any, upload_id: Any) -> None:
        assert call("POST", "/analyze", {"upload_id": upload_id}).status == 422

    def test_tokens_take_five_million_characters(self, call: Any) -> None:
        announced = self.upload(call, b"a " * 2_500_001)
        body = {"upload_id": announced["upload_id"], "features": ["tokens"]}
        assert call("POST", "/analyze", body).body["errors"][0]["pointer"] == "#/features"
        assert call("POST", "/analyze", {**body, "features": ["ents"]}).status == 202


class TestChanges:
    @pytest.fixture
    def job_id(self, call: Any) -> str:
        job_id: str = call("POST", "/analyze", {"text": "Ada."}).body["id"]
        return job_id

    def test_cancel_is_terminal_at_once(self, call: Any, job_id: str) -> None:
        answer = call("POST", f"/jobs/{job_id}/cancel")
        assert (answer.status, answer.body["status"]) == (200, "canceled")
        again = call("POST", f"/jobs/{job_id}/cancel")
        assert (again.status, again.body["code"]) == (409, "conflict")

    def test_retry_begins_the_next_run(self, call: Any, job_id: str) -> None:
        assert call("POST", f"/jobs/{job_id}/retry").status == 409
        call("POST", f"/jobs/{job_id}/cancel")
        queued(call)
        answer = call("POST", f"/jobs/{job_id}/retry")
        assert (answer.status, answer.body["status"], answer.body["run"]) == (202, "queued", 2)
        assert "completed_at" not in answer.body
        assert queued(call) == [{"job": job_id, "run": 2}]

    def test_deleted_job_is_gone_and_purged(self, call: Any, job_id: str) -> None:
        answer = call("DELETE", f"/jobs/{job_id}")
        assert (answer.status, answer.body) == (204, None)
        assert call("GET", f"/jobs/{job_id}").body["code"] == "gone"
        assert call("DELETE", f"/jobs/{job_id}").status == 410
        assert call("POST", f"/jobs/{job_id}/retry").status == 410
        assert parts(call) == ["job"]
        assert call.api.services.dynamodb.scan(TableName="jobs", IndexName="due")["Count"] == 0

    def test_delete_that_died_half_way_is_finished_by_the_next(
        self, call: Any, job_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        listed = JobStore._parts

        def away(*_: Any) -> list[str]:
            raise Transient("DynamoDB is away")

        monkeypatch.setattr(JobStore, "_parts", away)
        assert call("DELETE", f"/jobs/{job_id}").status == 503
        monkeypatch.setattr(JobStore, "_parts", listed)
        assert call("GET", f"/jobs/{job_id}").status == 410
        assert call("DELETE", f"/jobs/{job_id}").status == 410
        assert parts(call) == ["job"]

    def test_deleted_jobs_objects_are_purged(self, call: Any) -> None:
        import random

        text = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz .", k=200_000))
        job_id = call("POST", "/analyze", {"text": text}).body["id"]
        s3 = boto3.client("s3")
        assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 1
        call("DELETE", f"/jobs/{job_id}")
        assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 0

    @pytest.mark.parametrize(("method", "suffix"), [("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")])
    def test_another_clients_job_cannot_be_changed(self, call: Any, job_id: str, method: str, suffix: str) -> None:
        other = token(call.api, client_id="c_other")
        assert call(method, f"/jobs/{job_id}{suffix}", bearer=other).status == 404
        assert call("GET", f"/jobs/{job_id}").body["status"] == "queued"
