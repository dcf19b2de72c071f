"""Calls of the API that several tests make."""

from __future__ import annotations

from typing import Any

import httpx

from local.stack import Stack
from tests.e2e.polling import poll

_OPEN = {"queued", "running"}


def open_http(stack: Stack, token: str | None = None) -> httpx.Client:
    """Return an HTTP client of the API. With `token`, it sends this access token with each request."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=stack.api_url, headers=headers, timeout=60, trust_env=False)


def fetch_token(stack: Stack, client_id: str, secret: str) -> str:
    """Return a new access token of an OAuth client."""
    with open_http(stack) as http:
        answer = http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=(client_id, secret))
    token: str = answer.raise_for_status().json()["access_token"]
    return token


def submit(client: httpx.Client, **body: Any) -> dict[str, Any]:
    """Submit a job with the members `body`, and return the job."""
    answer = client.post("/analyze", json=body)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def wait_until_finished(client: httpx.Client, job_id: str, *, seconds: float = 60) -> dict[str, Any]:
    """Return the job when it has ended. Fail the test if it has not after `seconds`."""

    def get_job() -> dict[str, Any]:
        job: dict[str, Any] = client.get(f"/jobs/{job_id}", params={"wait": 10}).raise_for_status().json()
        return job

    return poll(get_job, lambda job: job["status"] not in _OPEN, seconds=seconds, pause=0)
