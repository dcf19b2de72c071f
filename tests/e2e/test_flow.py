"""The main path on the local cloud: real environments, real queue semantics, a real model, Terraform as on AWS."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest
from shared.tokens import KmsSigner, Minter

from local import apply
from local.stack import Stack
from tests.e2e.conftest import FOLDER

TEXT = "Ada Lovelace met Charles Babbage in London. 👩‍🚀 They wrote programs."


def finished(client: httpx.Client, job_id: str, *, seconds: float = 60) -> dict[str, Any]:
    """The job, once it is terminal."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        job: dict[str, Any] = client.get(f"/jobs/{job_id}", params={"wait": 10}).raise_for_status().json()
        if job["status"] not in {"queued", "running"}:
            return job
    pytest.fail(f"The job is still {job['status']} after {seconds} s")


def submitted(client: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = client.post("/analyze", json=body)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def test_token_warms_the_worker_and_a_job_succeeds(api: httpx.Client, stack: Stack) -> None:
    """The whole flow, as a client goes through it."""
    body = {"grant_type": "client_credentials", "client_id": stack.client_id, "client_secret": stack.client_secret}
    granted = api.post("/oauth/token", data=body).raise_for_status().json()
    assert granted["worker"]["state"] in {"warming", "warm"}
    assert granted["worker"]["ready_in_seconds"] is not None
    api.headers["authorization"] = f"Bearer {granted['access_token']}"
    answer = api.post("/analyze", json={"text": TEXT})
    assert answer.status_code == 202
    assert answer.headers["location"].startswith(stack.api_url)
    job = finished(api, answer.json()["id"])
    assert job["status"] == "succeeded"
    (document,) = job["result"]["documents"]
    assert "Ada Lovelace" in [TEXT[ent["start"] : ent["end"]] for ent in document["ents"]]
    assert job["metrics"]["words"] > 5


def test_warm_up_is_recorded(api: httpx.Client, stack: Stack) -> None:
    """After a ping has been answered a token says that the worker is warm."""
    credentials = (stack.client_id, stack.client_secret)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        answer = api.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=credentials)
        worker = answer.raise_for_status().json()["worker"]
        if worker["state"] == "warm":
            break
        time.sleep(1)
    assert worker == {"state": "warm", "ready_in_seconds": 0, "environments": worker["environments"]}
    assert worker["environments"] >= 1


def test_tokens_verify_with_the_published_keys(api: httpx.Client, stack: Stack, token: str) -> None:
    import jwt

    metadata = api.get("/.well-known/oauth-authorization-server").raise_for_status().json()
    keys = jwt.PyJWKSet.from_dict(api.get("/.well-known/jwks.json").raise_for_status().json())
    kid = jwt.get_unverified_header(token)["kid"]
    claims = jwt.decode(token, keys[kid], algorithms=["RS256"], audience=metadata["issuer"], issuer=metadata["issuer"])
    assert claims["client_id"] == stack.client_id


def test_wrong_secret_is_refused(api: httpx.Client, stack: Stack) -> None:
    answer = api.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=(stack.client_id, "sk_wrong"))
    assert answer.status_code == 401
    assert answer.json()["error"] == "invalid_client"
    assert answer.headers["www-authenticate"].startswith("Basic")


def test_another_clients_job_is_not_there(client: httpx.Client, other_client: httpx.Client) -> None:
    job = submitted(client, text=TEXT)
    answer = other_client.get(f"/jobs/{job['id']}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_expired_token_is_refused(api: httpx.Client, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that the right key signed, an hour too old."""
    for name, value in (("ENDPOINT_URL", stack.aws_endpoint_url), ("DEFAULT_REGION", stack.region)):
        monkeypatch.setenv(f"AWS_{name}", value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    (name, arn), *_ = stack.outputs["signing_key_arns"].items()
    minter = Minter(issuer=stack.api_url, key_id=name, sign=KmsSigner(arn))
    for age, status in ((0, 404), (3700, 401)):
        token = minter.mint(client_id=stack.client_id, scope="jobs:read", now=int(time.time()) - age)
        answer = api.get("/jobs/none", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == status, answer.text


def test_same_message_three_times_at_once_gives_one_result(
    client: httpx.Client, stack: Stack, sqs: Any, dynamodb: Any
) -> None:
    job = submitted(client, text=TEXT)
    message = json.dumps({"job": job["id"], "run": 1})
    entries = [{"Id": str(copy), "MessageBody": message, "MessageGroupId": "copies"} for copy in range(3)]
    sqs.send_message_batch(QueueUrl=stack.outputs["queue_urls"]["jobs"], Entries=entries)
    assert finished(client, job["id"])["status"] == "succeeded"
    time.sleep(2)  # for the copies to be received
    parts = dynamodb.query(
        TableName=stack.outputs["jobs_table"],
        KeyConditionExpression="id = :id",
        ExpressionAttributeValues={":id": {"S": job["id"]}},
    )["Items"]
    results = [part["part"]["S"] for part in parts if part["part"]["S"].startswith("result#")]
    assert results == ["result#1.1"]
    assert deserialize(next(part for part in parts if part["part"]["S"] == "job"))["attempt"] == 1


def test_big_text_is_split_and_comes_back_by_url(client: httpx.Client) -> None:
    text = "\n\n".join(f"{number}. Ada Lovelace lived in London. She wrote programs." for number in range(4000))
    assert len(text) > 200_000
    job = finished(client, submitted(client, text=text)["id"], seconds=120)
    assert job["status"] == "succeeded", job
    assert job["progress"]["done"] == job["progress"]["total"] >= 4
    (document,) = httpx.get(job["result_url"], trust_env=False).raise_for_status().json()["documents"]
    found = [text[ent["start"] : ent["end"]] for ent in document["ents"]]
    assert found.count("Ada Lovelace") > 3000
    assert document["sents"][-1]["end"] == len(text)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed_body"),
        (b"[" * 100_000, 400, "malformed_body"),
        (b'{"text": "\\ud800"}', 400, "malformed_body"),
        (b'{"text": ""}', 422, "invalid_request"),
        (b'{"text": "a", "features": ["x"]}', 422, "invalid_request"),
        (b'{"text": "' + b"a" * 2_499_989 + b'"}', 413, "body_too_large"),
    ],
)
def test_bad_bodies_get_their_exact_4xx(client: httpx.Client, body: bytes, status: int, code: str) -> None:
    answer = client.post("/analyze", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]


def test_plan_after_apply_is_empty(stack: Stack) -> None:
    changes, plan = apply.has_changes(apply.of(FOLDER, FOLDER / "terraform", url=stack.aws_endpoint_url))
    assert not changes, plan
