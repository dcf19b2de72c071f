"""Third-party tools that call the running API by its OpenAPI document."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from authlib.integrations.requests_client import OAuth2Session

from local.stack import Stack
from tests.e2e.calls import fetch_token

CONFIG = Path(__file__).parent / "schemathesis.toml"
TOOLS = Path(sys.executable).parent
TEXT = "Ada Lovelace lived in London."


def run(*command: str, cwd: Path) -> None:
    """Run a command and check that it succeeds."""
    environment = {**os.environ, "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}"}
    completed = subprocess.run(
        [*command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_schemathesis_finds_no_difference(stack: Stack, token: str, tmp_path: Path) -> None:
    """Run all checks on generated calls and sequences of calls. The token endpoint belongs to another function."""
    run(
        str(TOOLS / "schemathesis"), "--config-file", str(CONFIG), "run", f"{stack.api_url}/openapi.json",
        "--header", f"Authorization: Bearer {token}", "--exclude-path", "/oauth/token",
        "--max-examples", "10", "--seed", "1", "--generation-database", "none",
        cwd=tmp_path,
    )  # fmt: skip


def test_authlib_gets_a_token_and_calls_the_api(stack: Stack) -> None:
    token_url = f"{stack.api_url}/oauth/token"
    with OAuth2Session(stack.client_id, stack.client_secret, scope="jobs:read jobs:write") as client:
        client.trust_env = False
        client.fetch_token(token_url, grant_type="client_credentials")
        answer = client.post(f"{stack.api_url}/analyze", json={"text": TEXT}, headers={"prefer": "wait=25"})
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")


def test_generated_client_submits_and_polls(
    stack: Stack, api: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specification = tmp_path / "openapi.json"
    specification.write_text(api.get("/openapi.json").text, encoding="utf-8")
    run(
        str(TOOLS / "openapi-python-client"), "generate", "--path", str(specification), "--meta", "none",
        "--output-path", str(tmp_path / "generated"), "--fail-on-warning",
        cwd=tmp_path,
    )  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    request = import_generated("models.analyze_request").AnalyzeRequest(text=TEXT)
    deadline = time.monotonic() + 60
    with import_generated("client").AuthenticatedClient(
        base_url=stack.api_url, token=fetch_token(stack, stack.client_id, stack.client_secret)
    ) as client:
        job = import_generated("api.default.analyze").sync(client=client, body=request)
        while job.status not in {"succeeded", "failed"} and time.monotonic() < deadline:
            job = import_generated("api.default.get_job").sync(id=job.id, client=client, wait=10)
    assert job.status == "succeeded"
    (document,) = job.result.documents
    assert json.dumps(document.to_dict()["ents"])


def import_generated(module: str) -> Any:
    return importlib.import_module(f"generated.{module}")
