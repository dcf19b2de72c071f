"""Measurements that the planner takes from a deployment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

import planner
from planner.measurements import Measurements
from tests.unit.test_planner_input import assert_refused

CREDENTIALS = ["--client-id", "c", "--client-secret", "s"]


class Deployment(BaseHTTPRequestHandler):
    """A fake Samovar whose first job meets a cold worker."""

    jobs: ClassVar[int] = 0
    status: ClassVar[str] = "succeeded"
    code: ClassVar[int] = 200

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        if self.path == "/oauth/token":
            assert body == "grant_type=client_credentials"
            return self.answer({"access_token": "t"})
        assert self.headers["authorization"] == "Bearer t"
        type(self).jobs += 1
        return self.answer({"id": str(self.jobs), "status": "queued"})

    def do_GET(self) -> None:
        cold = self.path.startswith("/jobs/1?")
        metrics = {"queue_ms": 2050 if cold else 50, "cold_start_ms": 900 if cold else 0, "run_ms": 40}
        self.answer({"id": "1", "status": self.status, "error": None, "metrics": metrics})

    def answer(self, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(self.code)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def deployment() -> Iterator[tuple[str, type[Deployment]]]:
    kind = type("Own", (Deployment,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", kind
        server.shutdown()


def test_measurements_come_from_the_metrics_of_jobs(
    deployment: tuple[str, type[Deployment]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The planner can read the file that it writes."""
    file = tmp_path / "measured.json"
    options = [*CREDENTIALS, "--jobs", "3", "--output", str(file)]
    assert planner.main(["measure", "--url", deployment[0], *options]) == 0
    measured = Measurements.read(file)
    assert measured.init_seconds == (2.0,)
    assert measured.load_seconds == (0.9,)
    assert measured.run_seconds == (0.04, 0.04, 0.04)
    assert 0 <= measured.overhead_seconds < 5


def test_a_deployment_whose_jobs_fail_is_refused(
    deployment: tuple[str, type[Deployment]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, kind = deployment
    kind.status = "failed"
    file = tmp_path / "measured.json"
    assert_refused(capsys, ["measure", "--url", url, *CREDENTIALS, "--output", str(file)], "url:")
    assert not file.exists()


def test_a_deployment_that_rejects_the_client_is_refused(
    deployment: tuple[str, type[Deployment]], capsys: pytest.CaptureFixture[str]
) -> None:
    url, kind = deployment
    kind.code = 401
    assert_refused(capsys, ["measure", "--url", url, *CREDENTIALS], "url: ")


def test_measuring_without_a_secret_or_a_deployment_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SAMOVAR_CLIENT_SECRET", raising=False)
    nowhere = ["measure", "--url", "http://127.0.0.1:9", "--client-id", "c"]
    assert_refused(capsys, nowhere, "client-secret:")
    assert_refused(capsys, [*nowhere, "--client-secret", "s"], "url:")
