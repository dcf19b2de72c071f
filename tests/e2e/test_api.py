"""More of the API on the local cloud: idempotency keys, waiting, lists, ETags, uploads, limits. IAM is enforced."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import httpx
import pytest

from local import clients
from local.stack import Stack
from tests.e2e.calls import fetch_token, open_http, wait_until_finished

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TEXT = "Ada Lovelace met Charles Babbage in London."


def test_submission_with_an_idempotency_key_and_a_wait_returns_the_result_once(client: httpx.Client) -> None:
    headers = {"idempotency-key": str(uuid.uuid4()), "prefer": "wait=25"}
    first = client.post("/analyze", json={"text": TEXT, "metadata": {"order": "7"}}, headers=headers)
    assert first.status_code == 200, first.text
    assert first.headers["preference-applied"] == "wait=25"
    job = first.json()
    assert (job["status"], job["metadata"]) == ("succeeded", {"order": "7"})
    again = client.post("/analyze", json={"metadata": {"order": "7"}, "text": TEXT}, headers=headers)
    assert (again.status_code, again.json()["id"]) == (200, job["id"])
    assert again.headers["idempotency-replayed"] == "true"
    other = client.post("/analyze", json={"text": "Something else."}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_client_lists_its_jobs_page_by_page(stack: Stack, dynamodb: DynamoDBClient) -> None:
    with new_client(stack, dynamodb) as http:
        ids = [http.post("/analyze", json={"text": TEXT}).json()["id"] for _ in range(3)]
        first = http.get("/jobs", params={"limit": 2}).raise_for_status().json()
        second = http.get("/jobs", params={"limit": 2, "cursor": first["next_cursor"]}).raise_for_status().json()
        assert [job["id"] for job in first["jobs"] + second["jobs"]] == sorted(ids, reverse=True)
        assert "next_cursor" not in second
        for job_id in ids:
            wait_until_finished(http, job_id)
        succeeded = http.get("/jobs", params={"status": "succeeded"}).raise_for_status().json()
        assert len(succeeded["jobs"]) == 3


def test_request_with_the_current_etag_gets_no_body(client: httpx.Client) -> None:
    job = client.post("/analyze", json={"text": TEXT}, headers={"prefer": "wait=25"}).json()
    etag = client.get(f"/jobs/{job['id']}").headers["etag"]
    answer = client.get(f"/jobs/{job['id']}", headers={"if-none-match": etag})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)


def test_limit_of_a_client_overrides_the_deployments(stack: Stack, dynamodb: DynamoDBClient) -> None:
    with new_client(stack, dynamodb) as http:
        dynamodb.update_item(
            TableName=stack.outputs["clients_table"],
            Key={"client_id": {"S": http.headers["x-client"]}},
            UpdateExpression="SET limits = :limits",
            ExpressionAttributeValues={":limits": {"M": {"requests_per_minute": {"N": "3"}}}},
        )
        answers = [http.get("/jobs") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].json()["code"] == "rate_limited"
    assert answers[-1].headers["ratelimit-policy"] == '"requests";q=3;w=60'


def test_file_is_uploaded_and_analyzed(client: httpx.Client) -> None:
    """The URL accepts content of the upload's length, once."""
    lines = [json.dumps({"id": f"d{number}", "text": TEXT}) for number in range(3)]
    body = "\n".join(lines).encode()
    upload = client.post("/uploads", json={"content_type": "application/x-ndjson", "size": len(body)}).json()
    with httpx.Client(trust_env=False) as http:
        too_long = {**upload["headers"], "content-length": str(len(body) + 1)}
        longer = http.put(upload["url"], content=body + b"\n", headers=too_long)
        assert longer.status_code == 403, longer.text
        http.put(upload["url"], content=body, headers=upload["headers"]).raise_for_status()
        assert http.put(upload["url"], content=body, headers=upload["headers"]).status_code == 412
    job = client.post("/analyze", json={"upload_id": upload["upload_id"]}).raise_for_status().json()
    done = wait_until_finished(client, job["id"])
    assert [document["id"] for document in done["result"]["documents"]] == ["d0", "d1", "d2"]


def test_health_and_openapi_document_need_no_token(api: httpx.Client, stack: Stack) -> None:
    assert api.get("/health").raise_for_status().json()["status"] == "ok"
    document = api.get("/openapi.json").raise_for_status().json()
    assert document["servers"] == [{"url": stack.api_url}]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/jobs?limit=0", 422),
        ("GET", "/jobs?cursor=x", 422),
        ("GET", "/jobs?created_after=2999-01-01T00:00:00Z", 422),
        ("GET", "/jobs/x?wait=-1", 422),
        ("PUT", "/jobs", 405),
    ],
)
def test_wrong_call_is_refused_with_its_status(client: httpx.Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def new_client(stack: Stack, dynamodb: DynamoDBClient) -> httpx.Client:
    """Return an HTTP client of a new OAuth client, so that no other test counts against its limits.

    Its header `x-client` holds the id of the OAuth client.
    """
    client_id, secret = clients.register(dynamodb, stack.outputs["clients_table"], name="api", scope=clients.SCOPE)
    http = open_http(stack, fetch_token(stack, client_id, secret))
    http.headers["x-client"] = client_id
    return http
