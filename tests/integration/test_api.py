"""The API over moto: submitting, reading, uploading and changing jobs."""

from __future__ import annotations

import json
import random
import time
import tracemalloc
import zlib
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest

from shared.aws.table import Table
from shared.errors import Transient
from tests.integration.conftest import URL, Api


class TestSubmit:
    def test_job_is_stored_and_queued(self, api: Api) -> None:
        answer = api("POST", "/analyze", {"text": "Ada lived in London."})
        assert answer.status == 202
        job = answer.body
        assert job["status"] == "queued"
        assert job["features"] == ["ents", "sents"]
        assert job["model"] == {"name": "en_core_web_sm", "version": "3.8.0"}
        assert answer.headers["location"] == f"{URL}/jobs/{job['id']}" == job["links"]["self"]
        assert (job["status_reason"], job["eta_seconds"]) == ("warming", 10)
        assert answer.headers["retry-after"] == "10"
        assert api.receive_messages() == [{"job": job["id"], "run": 1}]
        read = api("GET", f"/jobs/{job['id']}")
        assert read.status == 200
        assert read.body == job

    @pytest.mark.parametrize(
        "text", ["x", "NUL \x00 inside", "👩‍👩‍👧 at both ends 🦄", "\ufeffbom", "línea\r\n\u2028", "\U0010ffff"]
    )
    def test_text_is_stored_exactly(self, api: Api, text: str) -> None:
        job = api("POST", "/analyze", {"text": text}).body
        item = Table("jobs").get({"id": job["id"], "part": "input"})
        assert item is not None
        assert json.loads(zlib.decompress(item["body"]))["documents"] == [{"id": None, "text": text}]

    def test_body_at_the_limit_is_accepted(self, api: Api) -> None:
        body = json.dumps({"text": "a" * 2_499_988})
        assert len(body) == 2_500_000
        assert api("POST", "/analyze", body).status == 202
        assert api("POST", "/analyze", body + " ").status == 413

    def test_limit_of_the_body_counts_bytes_not_characters(self, api: Api) -> None:
        body = json.dumps({"text": "é" * 1_250_000}, ensure_ascii=False)
        answer = api("POST", "/analyze", body.encode())
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
    def test_error_points_at_the_invalid_value(self, api: Api, body: Any, pointer: str) -> None:
        answer = api("POST", "/analyze", body)
        assert (answer.status, answer.body["code"]) == (422, "invalid_request")
        (error,) = answer.body["errors"]
        assert error["pointer"] == pointer
        assert not {"Tuple", "dictionary", "validation"} & set(error["detail"].split()), (
            "terms of Python instead of JSON"
        )
        assert api.stored_parts() == []

    @pytest.mark.parametrize(
        "body",
        [
            "{", "", "text", "{'text': 1}", '{"text": "a",}', "[" * 100_000, '{"a":' * 100_000, "9" * 5_000,
            '{"text": "\\ud800"}', '{"\\ud800": 1}', '{"text": "a", "text": "b"}', '{"text": NaN}', '{"x": 1e400}',
            b"\xff\xfe", b'{"text": "\xed\xa0\x80"}', "\ufeff{}", '{"text": "a\nb"}',
        ],
    )  # fmt: skip
    def test_malformed_body_is_a_400(self, api: Api, body: str | bytes) -> None:
        answer = api("POST", "/analyze", body)
        assert (answer.status, answer.body["code"]) == (400, "malformed_body")
        assert api.stored_parts() == []

    @pytest.mark.parametrize("body", ['{"text":"a","features":[%s]}', '{"documents":[%s]}'])
    def test_many_errors_cost_little(self, api: Api, body: str) -> None:
        """A body full of errors is refused at its first error. To list all of them took 2.5 GB and 30 s."""
        tracemalloc.start()
        answer = api("POST", "/analyze", body % ",".join("1" for _ in range(1_200_000)))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert answer.status == 422
        assert peak < 200_000_000

    def test_object_of_many_names_is_refused(self, api: Api) -> None:
        body = "{" + ",".join(f'"n{number}":1' for number in range(1001)) + "}"
        assert api("POST", "/analyze", body).body["code"] == "malformed_body"

    @pytest.mark.parametrize("path", ["/analyze\n", "/uploads\n", "/jobs/x\n", "/analyze\r", "/ana lyze", "/analyzé"])
    def test_path_with_other_characters_is_a_404(self, api: Api, path: str) -> None:
        """A `$` in a pattern matches before a final newline. That was once a way past the token and the body limit."""
        for headers in ({"authorization": None}, {}):
            answer = api("POST", path, {"text": "a"}, headers=headers)
            assert (answer.status, answer.body["code"]) == (404, "not_found")
        assert api.stored_parts() == []

    def test_answer_shows_a_limited_number_of_errors(self, api: Api) -> None:
        """A long list of errors would make a big answer."""
        body = {"text": "a", **{"n" * 10_000 + str(number): 1 for number in range(100)}}
        answer = api("POST", "/analyze", body)
        assert len(answer.body["errors"]) == 20
        assert len(json.dumps(answer.body)) < 10_000

    @pytest.mark.parametrize(
        "media_type",
        [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "multipart/form-data"],
    )
    def test_other_content_type_is_a_415(self, api: Api, media_type: str | None) -> None:
        answer = api("POST", "/analyze", {"text": "a"}, headers={"content-type": media_type})
        assert (answer.status, answer.body["code"]) == (415, "unsupported_media_type")

    def test_content_type_may_have_parameters(self, api: Api) -> None:
        headers = {"content-type": "Application/JSON; charset=utf-8"}
        assert api("POST", "/analyze", {"text": "a"}, headers=headers).status == 202

    def test_token_is_checked_before_the_body(self, api: Api) -> None:
        """A caller without a token learns nothing about the body."""
        answer = api("POST", "/analyze", "{", headers={"authorization": None})
        assert (answer.status, answer.body["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"

    def test_expired_token_is_refused(self, api: Api) -> None:
        answer = api("POST", "/analyze", {"text": "a"}, bearer=api.token(now=int(time.time()) - 3700))
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'

    def test_token_without_the_scope_is_refused(self, api: Api) -> None:
        reader = api.token(scope="jobs:read")
        answer = api("POST", "/analyze", {"text": "a"}, bearer=reader)
        assert (answer.status, answer.body["code"]) == (403, "insufficient_scope")
        assert api("GET", "/jobs/x", bearer=api.token(scope="jobs:write")).status == 403

    def test_job_is_accepted_although_its_message_cannot_be_sent(self, api: Api) -> None:
        """The job is stored, so the janitor sends the message again."""
        api.services.sqs.delete_queue(QueueUrl=api.services.jobs_queue_url)
        answer = api("POST", "/analyze", {"text": "a"})
        assert answer.status == 202
        assert api("GET", f"/jobs/{answer.body['id']}").body["status"] == "queued"

    def test_missing_table_is_a_503(self, api: Api) -> None:
        api.services.dynamodb.delete_table(TableName="jobs")
        answer = api("POST", "/analyze", {"text": "a"})
        assert (answer.status, answer.body["code"], answer.headers["retry-after"]) == (503, "unavailable", "1")


class TestGet:
    def test_job_of_another_client_looks_like_no_job(self, api: Api) -> None:
        job = api("POST", "/analyze", {"text": "a"}).body
        theirs = api("GET", f"/jobs/{job['id']}", bearer=api.token(client_id="c_other"))
        none = api("GET", "/jobs/01900000-0000-7000-8000-000000000000")
        assert theirs.status == none.status == 404
        assert theirs.body == none.body

    @pytest.mark.parametrize("wait", ["-1", "26", "abc", "", "1.5", "1,2", "nan", "9" * 5000])
    def test_wait_outside_0_to_25_is_refused(self, api: Api, wait: str) -> None:
        answer = api("GET", "/jobs/x", query={"wait": wait})
        assert answer.status == 422
        assert answer.body["errors"][0]["parameter"] == "wait"

    def test_wait_ends_after_the_requested_time(self, api: Api) -> None:
        job = api("POST", "/analyze", {"text": "a"}).body
        began = time.monotonic()
        answer = api("GET", f"/jobs/{job['id']}", query={"wait": "1"})
        assert answer.body["status"] == "queued"
        assert time.monotonic() - began >= 1

    @pytest.mark.parametrize("job_id", ["x", "%00", "a" * 3000, "👩‍🚀", "../x", "a b"])
    def test_malformed_id_is_a_404(self, api: Api, job_id: str) -> None:
        assert api("GET", f"/jobs/{job_id}").status == 404

    def test_wrong_method_is_a_405_with_allow(self, api: Api) -> None:
        answer = api("GET", "/analyze")
        assert (answer.status, answer.body["code"], answer.headers["allow"]) == (405, "method_not_allowed", "POST")
        assert api("PUT", "/jobs/x").headers["allow"] == "DELETE, GET"

    def test_unknown_path_is_a_404_without_a_token(self, api: Api) -> None:
        answer = api("GET", "/nothing", headers={"authorization": None})
        assert (answer.status, answer.body["code"]) == (404, "not_found")


def upload(api: Api, body: bytes, content_type: str = "text/plain") -> str:
    """Create an upload, send `body` as its file, and return its id."""
    created = api("POST", "/uploads", {"content_type": content_type, "size": len(body)})
    assert created.status == 201
    upload_id: str = created.body["upload_id"]
    key = f"uploads/{api.client.client_id}/{upload_id}"
    boto3.client("s3").put_object(Bucket="bucket", Key=key, Body=body, ContentType=content_type)
    return upload_id


class TestUploads:
    def test_upload_lists_the_headers_to_send(self, api: Api) -> None:
        created = api("POST", "/uploads", {"content_type": "text/plain", "size": 5}).body
        assert created["method"] == "PUT"
        assert created["headers"] == {"content-type": "text/plain", "content-length": "5", "if-none-match": "*"}
        assert "X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost%3Bif-none-match" in created["url"]

    def test_upload_becomes_a_job(self, api: Api) -> None:
        answer = api("POST", "/analyze", {"upload_id": upload(api, b"Ada lived in London.")})
        assert answer.status == 202
        assert api.receive_messages() == [{"job": answer.body["id"], "run": 1}]

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
    def test_impossible_upload_is_refused(self, api: Api, body: dict[str, Any]) -> None:
        assert api("POST", "/uploads", body).status == 422

    def test_upload_whose_file_was_not_sent_is_refused(self, api: Api) -> None:
        created = api("POST", "/uploads", {"content_type": "text/plain", "size": 5}).body
        answer = api("POST", "/analyze", {"upload_id": created["upload_id"]})
        assert (answer.status, answer.body["errors"][0]["pointer"]) == (422, "#/upload_id")

    def test_upload_of_another_client_looks_like_no_upload(self, api: Api) -> None:
        body = {"upload_id": upload(api, b"Ada.")}
        assert api("POST", "/analyze", body, bearer=api.token(client_id="c_other")).status == 422

    @pytest.mark.parametrize("upload_id", ["", "../c_other/x", "a" * 23, "é" * 22, 5, "a/b"])
    def test_malformed_upload_id_is_refused(self, api: Api, upload_id: Any) -> None:
        assert api("POST", "/analyze", {"upload_id": upload_id}).status == 422

    def test_tokens_are_limited_to_five_million_characters(self, api: Api) -> None:
        body = {"upload_id": upload(api, b"a " * 2_500_001), "features": ["tokens"]}
        (error,) = api("POST", "/analyze", body).body["errors"]
        assert error["pointer"] == "#/features"
        assert error["detail"] == "`tokens` and `noun_chunks` take at most 5,000,000 characters"
        assert api("POST", "/analyze", {**body, "features": ["ents"]}).status == 202


class TestInput:
    def submit(self, api: Api, **body: Any) -> str:
        answer = api("POST", "/analyze", body)
        assert answer.status == 202, answer.body
        job_id: str = answer.body["id"]
        return job_id

    @pytest.mark.parametrize("text", ["Ada.", "👩‍👩‍👧 é \u2028", "NUL \x00 inside"])
    def test_text_comes_back_as_one_document(self, api: Api, text: str) -> None:
        job_id = self.submit(api, text=text)
        answer = api("GET", f"/jobs/{job_id}/input")
        assert (answer.status, answer.body) == (200, {"documents": [{"text": text}]})

    def test_documents_come_back_in_order_with_their_ids(self, api: Api) -> None:
        documents = [{"id": "b", "text": "Ada."}, {"text": "Charles."}, {"id": "a", "text": "London."}]
        job_id = self.submit(api, documents=documents)
        assert api("GET", f"/jobs/{job_id}/input").body == {"documents": documents}

    @pytest.mark.parametrize("character", ['"', "é"])
    def test_longest_text_comes_back(self, api: Api, character: str) -> None:
        """`check_reply` checks that the answer fits into Lambda's limit."""
        body = json.dumps({"text": character * 1_249_990}, ensure_ascii=False).encode()
        job_id = api("POST", "/analyze", body).body["id"]
        assert api("GET", f"/jobs/{job_id}/input").body == {"documents": [json.loads(body)]}

    def test_input_in_the_bucket_comes_back_and_is_purged_with_the_job(self, api: Api) -> None:
        text = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz .", k=200_000))
        job_id = self.submit(api, text=text)
        assert boto3.client("s3").list_objects_v2(Bucket="bucket")["KeyCount"] == 1
        assert api("GET", f"/jobs/{job_id}/input").body == {"documents": [{"text": text}]}
        api("DELETE", f"/jobs/{job_id}")
        assert boto3.client("s3").list_objects_v2(Bucket="bucket")["KeyCount"] == 0
        assert api("GET", f"/jobs/{job_id}/input").status == 410

    @pytest.mark.parametrize("content_type", ["text/plain", "application/x-ndjson"])
    def test_uploaded_input_comes_back_as_a_url_of_the_file(self, api: Api, content_type: str) -> None:
        upload_id = upload(api, b'{"text": "Ada."}', content_type)
        answer = api("GET", f"/jobs/{self.submit(api, upload_id=upload_id)}/input")
        assert (answer.status, set(answer.body)) == (200, {"input_url", "content_type"})
        assert answer.body["content_type"] == content_type
        url = urlsplit(answer.body["input_url"])
        assert url.path == f"/uploads/{api.client.client_id}/{upload_id}"
        assert parse_qs(url.query)["X-Amz-Expires"] == ["900"]

    @pytest.mark.parametrize("change", ["deleted", "replaced"])
    def test_upload_that_has_changed_is_not_found(self, api: Api, change: str) -> None:
        upload_id = upload(api, b"Ada.")
        job_id = self.submit(api, upload_id=upload_id)
        key = f"uploads/{api.client.client_id}/{upload_id}"
        if change == "deleted":
            boto3.client("s3").delete_object(Bucket="bucket", Key=key)
        else:
            boto3.client("s3").put_object(Bucket="bucket", Key=key, Body=b"Charles.")
        answer = api("GET", f"/jobs/{job_id}/input")
        assert (answer.status, answer.body["detail"]) == (404, "The input of this job is gone")

    def test_missing_input_is_not_found(self, api: Api) -> None:
        job_id = self.submit(api, text="Ada.")
        Table("jobs").delete({"id": job_id, "part": "input"})
        answer = api("GET", f"/jobs/{job_id}/input")
        assert (answer.status, answer.body["detail"]) == (404, "The input of this job is gone")

    @pytest.mark.parametrize("is_uploaded", [False, True])
    def test_input_of_a_deleted_job_is_gone(self, api: Api, is_uploaded: bool) -> None:
        body = {"upload_id": upload(api, b"Ada.")} if is_uploaded else {"text": "Ada."}
        job_id = self.submit(api, **body)
        api("DELETE", f"/jobs/{job_id}")
        answer = api("GET", f"/jobs/{job_id}/input")
        assert (answer.status, answer.body["code"]) == (410, "gone")
        assert answer.body["detail"] == "You deleted this job. Its input and result are gone."
        assert api.stored_parts() == ["job"]

    def test_input_of_another_client_is_not_found(self, api: Api) -> None:
        job_id = self.submit(api, text="Ada.")
        assert api("GET", f"/jobs/{job_id}/input", bearer=api.token(client_id="c_other")).status == 404

    def test_input_needs_the_scope_for_reading(self, api: Api) -> None:
        job_id = self.submit(api, text="Ada.")
        assert api("GET", f"/jobs/{job_id}/input", bearer=api.token(scope="jobs:write")).status == 403
        assert api("GET", f"/jobs/{job_id}/input", headers={"authorization": None}).status == 401

    def test_job_links_to_its_input(self, api: Api) -> None:
        job = api("POST", "/analyze", {"text": "Ada."}).body
        assert job["links"]["input"] == f"{URL}/jobs/{job['id']}/input"


class TestChanges:
    @pytest.fixture
    def job_id(self, api: Api) -> str:
        job_id: str = api("POST", "/analyze", {"text": "Ada."}).body["id"]
        return job_id

    def test_canceled_job_ends_at_once(self, api: Api, job_id: str) -> None:
        answer = api("POST", f"/jobs/{job_id}/cancel")
        assert (answer.status, answer.body["status"]) == (200, "canceled")
        again = api("POST", f"/jobs/{job_id}/cancel")
        assert (again.status, again.body["code"]) == (409, "conflict")
        assert again.body["detail"] == "The job has already ended (status: canceled)."

    def test_retry_begins_the_next_run(self, api: Api, job_id: str) -> None:
        assert api("POST", f"/jobs/{job_id}/retry").status == 409
        api("POST", f"/jobs/{job_id}/cancel")
        api.receive_messages()
        answer = api("POST", f"/jobs/{job_id}/retry")
        assert (answer.status, answer.body["status"], answer.body["run"]) == (202, "queued", 2)
        assert "completed_at" not in answer.body
        assert api.receive_messages() == [{"job": job_id, "run": 2}]

    def test_deleted_job_is_gone_and_purged(self, api: Api, job_id: str) -> None:
        answer = api("DELETE", f"/jobs/{job_id}")
        assert (answer.status, answer.body) == (204, None)
        assert api("GET", f"/jobs/{job_id}").body["code"] == "gone"
        assert api("DELETE", f"/jobs/{job_id}").status == 410
        assert api("POST", f"/jobs/{job_id}/retry").status == 410
        assert api.stored_parts() == ["job"]
        assert api.services.dynamodb.scan(TableName="jobs", IndexName="checks")["Count"] == 0

    def test_next_call_finishes_an_interrupted_deletion(
        self, api: Api, job_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> None:
            raise Transient("DynamoDB is unreachable")

        with monkeypatch.context() as patch:
            patch.setattr(Table, "delete", fail)
            assert api("DELETE", f"/jobs/{job_id}").status == 503
        assert sorted(api.stored_parts()) == ["input", "job"]
        assert api("GET", f"/jobs/{job_id}").status == 410
        assert api("DELETE", f"/jobs/{job_id}").status == 410
        assert api.stored_parts() == ["job"]

    def test_objects_of_a_deleted_job_are_purged(self, api: Api) -> None:
        text = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz .", k=200_000))
        job_id = api("POST", "/analyze", {"text": text}).body["id"]
        s3 = boto3.client("s3")
        assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 1
        api("DELETE", f"/jobs/{job_id}")
        assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 0

    @pytest.mark.parametrize(("method", "suffix"), [("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")])
    def test_job_of_another_client_cannot_be_changed(self, api: Api, job_id: str, method: str, suffix: str) -> None:
        other = api.token(client_id="c_other")
        assert api(method, f"/jobs/{job_id}{suffix}", bearer=other).status == 404
        assert api("GET", f"/jobs/{job_id}").body["status"] == "queued"
