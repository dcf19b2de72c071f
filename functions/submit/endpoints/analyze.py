"""The endpoint that submits a job."""

from __future__ import annotations

import re
from typing import Any

from functions.submit.endpoints.jobs import respond_with_job
from functions.submit.requests import WAIT_LIMIT_SECONDS, AnalyzeRequest
from functions.submit.services import Services
from functions.submit.web import Request, Response
from shared.errors import InvalidRequest

_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?(\d{1,4})\"?\s*(?=,|;|$)", re.IGNORECASE)

# The headers of the request, for the OpenAPI document.
IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    "description": "The same key with the same body returns the same job for 24 hours.",
}
PREFER: dict[str, Any] = {
    "name": "Prefer",
    "schema": {"type": "string", "examples": ["wait=10"]},
    "description": "`wait=N` waits for the end of the job, at most N seconds and at most 25 (RFC 7240).",
}


def analyze(services: Services, request: Request) -> Response:
    """Submit a job, and wait for its end if the client prefers that."""
    body: AnalyzeRequest = request.body
    wait, key = _read_wait(request.headers.get("prefer")), _check_key(request.headers.get("idempotency-key"))
    submitted = services.submission.submit(request.caller, body, size=request.body_bytes, key=key)
    job = submitted.job
    headers = {"location": f"{services.base_url}/jobs/{job.id}"}
    if submitted.is_replayed:
        headers["idempotency-replayed"] = "true"
    if wait is not None:
        headers["preference-applied"] = f"wait={wait}"
        job = services.jobs.get(request.client_id, job.id, wait_seconds=request.limit_wait(wait))
    return respond_with_job(services, 200 if job.is_terminal else 202, job, headers)


def _check_key(given: str | None) -> str | None:
    if given is not None and not _KEY.fullmatch(given):
        detail = "An Idempotency-Key must have 1 to 255 printable ASCII characters"
        raise InvalidRequest(detail, errors=[{"header": "Idempotency-Key", "detail": detail}])
    return given


def _read_wait(prefer: str | None) -> int | None:
    """Return the seconds of `Prefer: wait=N` (RFC 7240), at most 25. Ignore a preference that cannot be understood."""
    found = _WAIT.search(prefer or "")
    return min(int(found[1]), WAIT_LIMIT_SECONDS) if found else None
