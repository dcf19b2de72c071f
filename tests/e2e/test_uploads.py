"""Uploads: files that are too big for a request go to S3, through URLs that the API signs."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.e2e.calls import submit, wait_until_finished

TEXT = "Ada Lovelace met Charles Babbage in London. 👩‍🚀 They wrote programs."
NDJSON = "application/x-ndjson"


def create_upload(client: httpx.Client, size: int, content_type: str = NDJSON) -> dict[str, Any]:
    """Create an upload of `size` bytes, and return it."""
    answer = client.post("/uploads", json={"content_type": content_type, "size": size})
    assert answer.status_code == 201, answer.text
    upload: dict[str, Any] = answer.json()
    return upload


def put(upload: dict[str, Any], content: bytes, **headers: str) -> httpx.Response:
    """Put the content with the headers of the upload. `headers` replaces some of them."""
    return httpx.put(upload["url"], content=content, headers={**upload["headers"], **headers}, trust_env=False)


def test_uploaded_documents_come_back_in_order_with_their_ids(client: httpx.Client) -> None:
    """They are too many for one shard, so the job is split, and its shards are merged."""
    texts = [" ".join([f"{number}. {TEXT}"] * 10) for number in range(100)]
    lines = [json.dumps({"id": f"d{number}", "text": text}) for number, text in enumerate(texts)]
    content = "\n".join(lines).encode()
    upload = create_upload(client, len(content))
    assert put(upload, content).status_code == 200
    job = wait_until_finished(client, submit(client, upload_id=upload["upload_id"])["id"])
    assert (job["status"], job["progress"]["total"]) == ("succeeded", 2), job
    documents = httpx.get(job["result_url"], trust_env=False).raise_for_status().json()["documents"]
    assert [document["id"] for document in documents] == [f"d{number}" for number in range(100)]
    for document, text in zip(documents, texts, strict=True):
        assert document["sents"][-1]["end"] == len(text)
        assert "Ada Lovelace" in [text[ent["start"] : ent["end"]] for ent in document["ents"]]


def test_content_that_is_longer_than_its_upload_is_refused_and_not_stored(client: httpx.Client) -> None:
    """The signature covers the length, so S3 itself refuses the content."""
    content = json.dumps({"text": TEXT}).encode()
    upload = create_upload(client, len(content))
    larger = content + b"\n" + content
    assert put(upload, larger, **{"content-length": str(len(larger))}).status_code == 403
    answer = client.post("/analyze", json={"upload_id": upload["upload_id"]})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/upload_id")
    # Content of the right length is accepted, but only once.
    assert put(upload, content).status_code == 200
    assert put(upload, content).status_code == 412


def test_line_that_is_not_json_fails_the_job_with_its_number(client: httpx.Client) -> None:
    content = json.dumps({"text": TEXT}).encode() + b"\n{\n"
    upload = create_upload(client, len(content))
    assert put(upload, content).status_code == 200
    job = wait_until_finished(client, submit(client, upload_id=upload["upload_id"])["id"])
    assert (job["status"], job["error"]["code"]) == ("failed", "invalid_input")
    assert job["error"]["detail"].startswith("Line 2 ")
