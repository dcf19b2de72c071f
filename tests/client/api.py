"""An API in memory that follows the documented contract, and that a test can make fail."""

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
BUCKET_URL = "https://bucket.example"
NDJSON = "application/x-ndjson"
SECRET = "sk_top secret+/"
Handler = Callable[[httpx.Request], httpx.Response | None]


class FakeBucket:
    """An S3 bucket in memory. The path of an object's URL is its key."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request to a presigned URL."""
        key = request.url.path
        if "authorization" in request.headers:  # S3 allows one kind of authentication per request
            return httpx.Response(400, text="<Error><Code>InvalidArgument</Code></Error>")
        if request.method == "PUT":
            return self._put(key, request)
        if key not in self.objects:
            return httpx.Response(404, text="<Error><Code>NoSuchKey</Code></Error>")
        return httpx.Response(200, content=self.objects[key])

    def _put(self, key: str, request: httpx.Request) -> httpx.Response:
        if request.headers.get("if-none-match") == "*" and key in self.objects:
            return httpx.Response(412, text="<Error><Code>PreconditionFailed</Code></Error>")
        self.objects[key] = request.content
        return httpx.Response(200)


class FakeApi:
    """An API in memory, with its bucket.

    A job ends after `polls` calls about it. An input of more than `inline_characters` is answered as a URL. Each entry
    of `before` handles one request: it can answer or raise in place of the API, or return None to let the API answer.
    """

    def __init__(self, *, polls: int = 1) -> None:
        self.polls = polls
        self.inline_characters = 1_000
        self.bucket = FakeBucket()
        self.before: list[Handler] = []
        self.requests: list[httpx.Request] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.content_types: dict[str, str] = {}  # by upload id
        self.job_ids: dict[str, str] = {}  # by idempotency key
        self.tokens = 0
        self.token_seconds = 3600
        self.open_jobs = 0
        self.most_open_jobs = 0
        self._lock = threading.Lock()

    def client(self, *, timeout: float = 60) -> samovar.Client:
        """Return an SDK client that is connected to this API."""
        return samovar.Client(URL, "c_1", SECRET, timeout=timeout, transport=httpx.MockTransport(self._handle))

    def authenticated_client(self, *, timeout: float = 60) -> samovar.Client:
        """Return an SDK client that already has an access token, so that its next request is the first one."""
        client = self.client(timeout=timeout)
        client.authenticate()
        return client

    def find_requests(self, path: str) -> list[httpx.Request]:
        """Return the requests to a path."""
        return [request for request in self.requests if request.url.path == path]

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request without asking `before`."""
        path = request.url.path
        if request.url.host == httpx.URL(BUCKET_URL).host:
            return self.bucket.answer(request)
        if path == "/oauth/token":
            return self._issue_token()
        if request.headers.get("authorization") != f"Bearer t{self.tokens}":
            return problem(401, "unauthorized")
        if path == "/uploads":
            return self._create_upload(request)
        if path == "/analyze":
            return self._submit(request)
        return self._answer_about_job(request, path.split("/")[2])

    def _handle(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.requests.append(request)
            answer = self.before.pop(0)(request) if self.before else None
            return self.answer(request) if answer is None else answer

    def _issue_token(self) -> httpx.Response:
        self.tokens += 1
        worker = {"state": "warm", "ready_in_seconds": 0, "environments": 1}
        body = {"access_token": f"t{self.tokens}", "expires_in": self.token_seconds, "worker": worker}
        return httpx.Response(200, json=body)

    def _create_upload(self, request: httpx.Request) -> httpx.Response:
        upload_id = f"upload{len(self.content_types)}"
        self.content_types[upload_id] = content_type = json.loads(request.content)["content_type"]
        headers = {"content-type": content_type, "if-none-match": "*"}
        upload = {"upload_id": upload_id, "method": "PUT", "url": f"{BUCKET_URL}/{upload_id}", "headers": headers}
        return httpx.Response(201, json=upload)

    def _submit(self, request: httpx.Request) -> httpx.Response:
        key = request.headers["idempotency-key"]
        if key not in self.job_ids:
            job_id = str(uuid.uuid4())
            body = json.loads(request.content)
            self.jobs[job_id] = {"id": job_id, "status": "queued", "polls": self.polls, "body": body}
            self.job_ids[key] = job_id
            self.open_jobs += 1
            self.most_open_jobs = max(self.open_jobs, self.most_open_jobs)
        return self._render_job(self.jobs[self.job_ids[key]], 202)

    def _answer_about_job(self, request: httpx.Request, job_id: str) -> httpx.Response:
        job = self.jobs.get(job_id)
        if job is None:
            return problem(404, "not_found")
        if job["status"] == "deleted":
            return problem(410, "gone")
        if request.method == "DELETE":
            job["status"] = "deleted"
            return httpx.Response(204)
        if request.url.path.endswith("/input"):
            return self._answer_input(job)
        if request.url.path.endswith("/cancel"):
            if job["status"] != "queued":
                return problem(409, "conflict")
            job["status"] = "canceled"
        self._poll(job)
        answer = self._render_job(job, 200)
        if request.headers.get("if-none-match") == answer.headers["etag"]:
            return httpx.Response(304, headers={"retry-after": "0"})
        return answer

    def _answer_input(self, job: dict[str, Any]) -> httpx.Response:
        if upload_id := job["body"].get("upload_id"):
            view = {"input_url": f"{BUCKET_URL}/{upload_id}", "content_type": self.content_types[upload_id]}
            return httpx.Response(200, json=view)
        documents = self._list_documents(job["body"])
        if sum(len(document["text"]) for document in documents) <= self.inline_characters:
            return httpx.Response(200, json={"documents": documents})
        key = f"/inputs/{job['id']}"
        self.bucket.objects[key] = "\n".join(json.dumps(document) for document in documents).encode()
        return httpx.Response(200, json={"input_url": BUCKET_URL + key, "content_type": NDJSON})

    def _list_documents(self, body: dict[str, Any]) -> list[dict[str, str]]:
        if "text" in body:
            return [{"text": body["text"]}]
        if "documents" in body:
            documents: list[dict[str, str]] = body["documents"]
            return documents
        content = self.bucket.objects[f"/{body['upload_id']}"].decode()
        if self.content_types[body["upload_id"]] == NDJSON:
            return [json.loads(line) for line in content.split("\n") if line.strip()]
        return [{"text": content}]

    def _poll(self, job: dict[str, Any]) -> None:
        job["polls"] -= 1
        if job["polls"] <= 0 and job["status"] == "queued":
            job["status"] = "succeeded"
            self.open_jobs -= 1

    def _render_job(self, job: dict[str, Any], status: int) -> httpx.Response:
        # The fields `novelty` stand for fields that a newer service adds.
        features = job["body"].get("features", ["ents", "sents"])
        view = {"id": job["id"], "status": job["status"], "novelty": 1, "features": features, "metadata": {}}
        if job["status"] == "succeeded":
            view["result"] = {
                "documents": [_analyze(document, features) for document in self._list_documents(job["body"])]
            }
        return httpx.Response(status, json=view, headers={"etag": f'"{job["status"]}"', "retry-after": "0"})


def _analyze(document: dict[str, str], features: list[str]) -> dict[str, Any]:
    """Return a result whose only entity is the whole text, with the label X."""
    text = document["text"]
    values: dict[str, Any] = {
        "tokens": [{"id": 0, "start": 0, "end": len(text)}],
        "ents": [{"start": 0, "end": len(text), "label": "X"}],
        "sents": [{"start": 0, "end": len(text)}],
        "stats": {"characters": len(text), "words": len(text.split()), "sentences": 1, "ents": {"X": 1}},
    }
    names = {"id": document["id"]} if "id" in document else {}
    texts = {"text": text} if "tokens" in features else {}
    return {**names, **texts, **{name: values[name] for name in features if name in values}, "novelty": 2}


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    """Return an error answer (RFC 9457). Underscores in the names of headers become hyphens."""
    document = {"type": "about:blank", "title": "Refused", "status": status, "detail": "Because", "code": code}
    hyphenated = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=document, headers={"x-request-id": "r1", **hyphenated})


def hang_up(request: httpx.Request) -> httpx.Response:
    """Close the connection after the request was sent."""
    raise httpx.ReadError("gone", request=request)


def refuse_connection(request: httpx.Request) -> httpx.Response:
    """Refuse the connection before the request can be sent."""
    raise httpx.ConnectError("refused", request=request)


def delay(seconds: float) -> Handler:
    """Return a handler that lets the API answer after `seconds`."""

    def wait(request: httpx.Request) -> None:
        time.sleep(seconds)

    return wait
