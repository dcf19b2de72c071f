"""A job on the local cloud from token to result: real environments, queues and model, and Terraform as on AWS."""

from __future__ import annotations

import time
from typing import Any

import httpx
import jwt
import pytest

from local import apply
from local.stack import Stack
from shared.auth.tokens import KmsSigner, TokenIssuer
from tests.e2e.calls import submit, wait_until_finished
from tests.e2e.cloud_admin import CloudAdmin
from tests.e2e.conftest import FOLDER
from tests.e2e.polling import poll

TEXT = "Ada Lovelace met Charles Babbage in London. 👩‍🚀 They wrote programs."


def test_token_warms_the_worker_and_a_job_succeeds(api: httpx.Client, stack: Stack) -> None:
    body = {"grant_type": "client_credentials", "client_id": stack.client_id, "client_secret": stack.client_secret}
    granted = api.post("/oauth/token", data=body).raise_for_status().json()
    assert granted["worker"]["state"] in {"warming", "warm"}
    assert granted["worker"]["ready_in_seconds"] is not None
    api.headers["authorization"] = f"Bearer {granted['access_token']}"
    answer = api.post("/analyze", json={"text": TEXT})
    assert answer.status_code == 202
    assert answer.headers["location"].startswith(stack.api_url)
    job = wait_until_finished(api, answer.json()["id"])
    assert job["status"] == "succeeded"
    (document,) = job["result"]["documents"]
    assert "Ada Lovelace" in [TEXT[ent["start"] : ent["end"]] for ent in document["ents"]]
    assert job["metrics"]["words"] > 5


def test_token_says_that_the_worker_is_warm_after_a_ping(api: httpx.Client, stack: Stack) -> None:
    def read_warmth() -> dict[str, Any]:
        credentials = (stack.client_id, stack.client_secret)
        answer = api.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=credentials)
        worker: dict[str, Any] = answer.raise_for_status().json()["worker"]
        return worker

    worker = poll(read_warmth, lambda warmth: warmth["state"] == "warm", pause=1)
    assert worker == {"state": "warm", "ready_in_seconds": 0, "environments": worker["environments"]}
    assert worker["environments"] >= 1


def test_token_verifies_with_the_published_keys(api: httpx.Client, stack: Stack, token: str) -> None:
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


def test_job_of_another_client_is_not_found(client: httpx.Client, other_client: httpx.Client) -> None:
    job = submit(client, text=TEXT)
    answer = other_client.get(f"/jobs/{job['id']}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_expired_token_is_refused(api: httpx.Client, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The right key signed the token, more than an hour ago."""
    for name, value in (("ENDPOINT_URL", stack.aws_endpoint_url), ("DEFAULT_REGION", stack.region)):
        monkeypatch.setenv(f"AWS_{name}", value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    (key_id, arn), *_ = stack.outputs["signing_key_arns"].items()
    issuer = TokenIssuer(issuer=stack.api_url, key_id=key_id, sign=KmsSigner(arn))
    for age, status in ((0, 404), (3700, 401)):
        token = issuer.issue(client_id=stack.client_id, scope="jobs:read", now=int(time.time()) - age)
        answer = api.get("/jobs/none", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == status, answer.text


def test_three_concurrent_copies_of_a_message_give_one_result(client: httpx.Client, cloud_admin: CloudAdmin) -> None:
    job_id = submit(client, text=TEXT)["id"]
    cloud_admin.send(*[cloud_admin.get_job(job_id)] * 3)
    assert wait_until_finished(client, job_id)["status"] == "succeeded"
    time.sleep(2)  # for the worker to receive the copies
    job = cloud_admin.get_job(job_id)
    assert cloud_admin.list_results(job) == {"result#1.1"}
    assert job.attempt == 1


def test_big_text_is_split_and_its_result_is_at_a_url(client: httpx.Client) -> None:
    text = "\n\n".join(f"{number}. Ada Lovelace lived in London. She wrote programs." for number in range(4000))
    assert len(text) > 200_000
    job = wait_until_finished(client, submit(client, text=text)["id"], seconds=120)
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
def test_bad_body_is_refused_with_its_status_and_code(
    client: httpx.Client, body: bytes, status: int, code: str
) -> None:
    answer = client.post("/analyze", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]


def test_plan_after_apply_is_empty(stack: Stack) -> None:
    commands = apply.open_terraform(FOLDER, FOLDER / "terraform", aws_environment=stack.aws_environment)
    has_changes, plan = apply.plan_changes(commands)
    assert not has_changes, plan
