"""Files too big to post: by the URL that the API signs, straight to S3."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.e2e.test_flow import TEXT, finished, submitted

NDJSON = "application/x-ndjson"


def announced(client: httpx.Client, size: int, content_type: str = NDJSON) -> dict[str, Any]:
    answer = client.post("/uploads", json={"content_type": content_type, "size": size})
    assert answer.status_code == 201, answer.text
    upload: dict[str, Any] = answer.json()
    return upload


def put(upload: dict[str, Any], content: bytes, **headers: str) -> httpx.Response:
    """Upload as a client does: with the headers it was told, but for those given."""
    return httpx.put(upload["url"], content=content, headers={**upload["headers"], **headers}, trust_env=False)


def test_uploaded_documents_come_back_in_order_with_their_ids(client: httpx.Client) -> None:
    """Too many for one shard: they are split, and merged."""
    texts = [" ".join([f"{number}. {TEXT}"] * 10) for number in range(100)]
    lines = [json.dumps({"id": f"d{number}", "text": text}) for number, text in enumerate(texts)]
    content = "\n".join(lines).encode()
    upload = announced(client, len(content))
    assert put(upload, content).status_code == 200
    job = finished(client, submitted(client, upload_id=upload["upload_id"])["id"])
    assert (job["status"], job["progress"]["total"]) == ("succeeded", 2), job
    documents = httpx.get(job["result_url"], trust_env=False).raise_for_status().json()["documents"]
    assert [document["id"] for document in documents] == [f"d{number}" for number in range(100)]
    for document, text in zip(documents, texts, strict=True):
        assert document["sents"][-1]["end"] == len(text)
        assert "Ada Lovelace" in [text[ent["start"] : ent["end"]] for ent in document["ents"]]


def test_upload_larger_than_announced_is_refused_and_was_never_made(client: httpx.Client) -> None:
    """The length is signed: S3 itself refuses."""
    content = json.dumps({"text": TEXT}).encode()
    upload = announced(client, len(content))
    larger = content + b"\n" + content
    assert put(upload, larger, **{"content-length": str(len(larger))}).status_code == 403
    answer = client.post("/analyze", json={"upload_id": upload["upload_id"]})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/upload_id")
    # As announced it is taken, but once.
    assert put(upload, content).status_code == 200
    assert put(upload, content).status_code == 412


def test_line_that_is_not_json_fails_the_job_with_its_number(client: httpx.Client) -> None:
    content = json.dumps({"text": TEXT}).encode() + b"\n{\n"
    upload = announced(client, len(content))
    assert put(upload, content).status_code == 200
    job = finished(client, submitted(client, upload_id=upload["upload_id"])["id"])
    assert (job["status"], job["error"]["code"]) == ("failed", "invalid_input")
    assert job["error"]["detail"].startswith("Line 2 ")
