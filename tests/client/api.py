"""An API in memory that keeps to the contract, and can be told to misbehave."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import samovar

URL = "https://api.example"
SECRET = "sk_top secret+/"
Handler = Callable[[httpx.Request], httpx.Response | None]


class FakeApi:
    """Jobs end after `polls` looks; `before` may answer, or break, in place of the API."""

    def __init__(self, *, polls: int = 1) -> None:
        self.polls = polls
        self.before: list[Handler] = []
        self.requests: list[httpx.Request] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, str] = {}
        self.tokens = 0
        self.lifetime = 3600
        self.lock = threading.Lock()
        self.open = self.most_open = 0

    def client(self, **options: Any) -> samovar.Client:
        return samovar.Client(URL, "c_1", SECRET, transport=httpx.MockTransport(self.handle), **options)

    def handle(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            self.requests.append(request)
            if self.before:
                answer = self.before.pop(0)(request)
                if answer is not None:
                    return answer
            return self._route(request)

    def calls(self, path: str) -> list[httpx.Request]:
        return [request for request in self.requests if request.url.path == path]

    def _route(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/oauth/token":
            self.tokens += 1
            worker = {"state": "warm", "ready_in_seconds": 0, "environments": 1}
            return httpx.Response(
                200, json={"access_token": f"t{self.tokens}", "expires_in": self.lifetime, "worker": worker}
            )
        if request.headers.get("authorization") != f"Bearer t{self.tokens}":
            return problem(401, "unauthorized")
        if path == "/analyze":
            return self._submit(request)
        return self._job(request, path.split("/")[2])

    def _submit(self, request: httpx.Request) -> httpx.Response:
        key = request.headers["idempotency-key"]
        if key not in self.keys:
            job_id = str(uuid.uuid4())
            self.jobs[job_id] = {
                "id": job_id,
                "status": "queued",
                "left": self.polls,
                "body": json.loads(request.content),
            }
            self.keys[key] = job_id
            self.open += 1
            self.most_open = max(self.open, self.most_open)
        return self._shown(self.jobs[self.keys[key]], 202)

    def _job(self, request: httpx.Request, job_id: str) -> httpx.Response:
        job = self.jobs.get(job_id)
        if job is None:
            return problem(404, "not_found")
        if request.url.path.endswith("/cancel"):
            if job["status"] != "queued":
                return problem(409, "conflict")
            job["status"] = "canceled"
        job["left"] -= 1
        if job["left"] <= 0 and job["status"] == "queued":
            job["status"] = "succeeded"
            self.open -= 1
        shown = self._shown(job, 200)
        if request.headers.get("if-none-match") == shown.headers["etag"]:
            return httpx.Response(304, headers={"retry-after": "0"})
        return shown

    def _shown(self, job: dict[str, Any], status: int) -> httpx.Response:
        view = {"id": job["id"], "status": job["status"], "novelty": 1, "features": ["ents"], "metadata": {}}
        if job["status"] == "succeeded":
            text = job["body"].get("text", "")
            view["result"] = {"documents": [{"ents": [{"start": 0, "end": len(text), "label": "X"}], "novelty": 2}]}
        return httpx.Response(status, json=view, headers={"etag": f'"{job["status"]}"', "retry-after": "0"})


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    document = {"type": "about:blank", "title": "Refused", "status": status, "detail": "Because", "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=document, headers={"x-request-id": "r1", **named})


def hang_up(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("gone", request=request)


def no_connection(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


def slow(seconds: float) -> Handler:
    def handle(request: httpx.Request) -> None:
        time.sleep(seconds)

    return handle
