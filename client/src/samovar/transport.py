"""Calls to the API: token, deadline, safe repetition, typed errors."""

from __future__ import annotations

import ipaddress
import json
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote_plus, urlsplit

import httpx

from samovar.errors import (
    BY_STATUS,
    ApiError,
    AuthenticationFailed,
    ConnectionFailed,
    DeadlineExceeded,
    Unavailable,
)

ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.2
LAST_PAUSE_SECONDS = 8.0
READ_SECONDS = 40.0  # the longest silence within an answer; a call waits up to 25 s for a job's end
TOKEN_MARGIN_SECONDS = 60
_BUSY = {502, 503, 504}
# Raised before the request can have been sent.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

# How far a call may be repeated: always; or only when it is known that nothing was done.
Repeat = Literal["safe", "unsafe"]


@dataclass(frozen=True)
class Answered:
    """An answer below 400."""

    status: int
    headers: httpx.Headers
    content: bytes

    @property
    def retry_after(self) -> float | None:
        """Seconds after which to ask again, None when the answer does not say."""
        return _seconds(self.headers.get("retry-after"))

    def json(self) -> Any:
        """The body.

        Raises:
            Unavailable: when it is not JSON: something between here and the API answers in its place.
        """
        try:
            return json.loads(self.content)
        except ValueError:
            problem = {"title": "The answer is not JSON", "code": "not_json"}
            raise Unavailable(self.status, problem, request_id=None, retry_after=None) from None


class Deadline:
    """The end of a call."""

    def __init__(self, seconds: float) -> None:
        """In `seconds` from now."""
        if not seconds > 0:
            raise ValueError("A time-out is a positive number of seconds")
        self._end = time.monotonic() + seconds
        self.seconds = seconds

    @property
    def left(self) -> float:
        """Seconds that are left; not below 0."""
        return max(0.0, self._end - time.monotonic())

    def require(self) -> float:
        """What is left.

        Raises:
            DeadlineExceeded: when nothing is.
        """
        if not self.left:
            raise self.exceeded()
        return self.left

    def exceeded(self) -> DeadlineExceeded:
        """The error to raise."""
        return DeadlineExceeded(f"The call took longer than {self.seconds:g} s")


class Transport:
    """One API as one client; for any number of threads."""

    def __init__(
        self, url: str, client_id: str, client_secret: str, *, timeout: float, transport: httpx.BaseTransport | None
    ) -> None:
        """`timeout` is what a call may take, in seconds; `transport` replaces the network."""
        self.url = checked_url(url)
        self.client_id = client_id
        self.timeout = timeout
        self._basic = (quote_plus(client_id), quote_plus(client_secret))  # RFC 6749, section 2.3.1
        self._http = httpx.Client(
            # A proxy is for what is elsewhere.
            trust_env=not _is_loopback(urlsplit(self.url).hostname or ""),
            headers={"user-agent": "samovar-python"},
            transport=transport,
        )
        self._token: tuple[str, float] | None = None
        self._token_lock = threading.Lock()
        self.worker: dict[str, Any] = {}  # how warm the worker was when the last token was issued

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def authenticate(self) -> None:
        """Fetch a token, unless there is one.

        Raises:
            ApiError, AuthenticationFailed, ConnectionFailed, DeadlineExceeded: see `samovar.errors`.
        """
        self._access_token(Deadline(self.timeout))

    def call(
        self,
        method: str,
        path: str,
        *,
        repeat: Repeat = "safe",
        deadline: Deadline | None = None,
        **request: Any,
    ) -> Answered:
        """Call the API with a token, and a second time with a fresh one if the token is not accepted.

        Raises:
            ApiError, AuthenticationFailed, ConnectionFailed, DeadlineExceeded: see `samovar.errors`.
        """
        deadline = deadline or Deadline(self.timeout)
        headers: Mapping[str, str] = request.pop("headers", {})
        for last in (False, True):
            token = self._access_token(deadline)
            authorized = {**headers, "authorization": f"Bearer {token}"}
            try:
                return self.send(
                    method, f"{self.url}{path}", repeat=repeat, deadline=deadline, headers=authorized, **request
                )
            except ApiError as error:
                if error.status != httpx.codes.UNAUTHORIZED or last:
                    raise
                self._forget(token)
        raise AssertionError  # the second round answers or raises

    def send(self, method: str, url: str, *, repeat: Repeat, deadline: Deadline, **request: Any) -> Answered:
        """Send a request as it is, without a token; repeat it as far as that is safe and the time allows."""
        unsure = False  # whether an attempt without an answer may have been carried out
        for attempt in range(1, ATTEMPTS + 1):
            last = attempt == ATTEMPTS
            try:
                answer = self._attempt(method, url, deadline, request)
            except httpx.RequestError as error:
                unsure = unsure or not isinstance(error, _NOT_SENT)
                if last or (unsure and repeat == "unsafe") or not deadline.left:
                    raise self._broken(error, deadline) from error
                self._pause(attempt, 0, deadline)
                continue
            if answer.status_code < httpx.codes.BAD_REQUEST:
                return Answered(answer.status_code, answer.headers, answer.content)
            refusal = _error(answer, repeated=unsure)
            pause = refusal.retry_after or 0
            if last or not _may_repeat(answer.status_code, repeat) or pause >= deadline.left:
                raise refusal
            unsure = unsure or answer.status_code in _BUSY
            self._pause(attempt, pause, deadline)
        raise AssertionError  # the last attempt answers or raises

    def _attempt(self, method: str, url: str, deadline: Deadline, request: dict[str, Any]) -> httpx.Response:
        """One request, its answer read whole; the clock is looked at between the parts of the answer."""
        left = deadline.require()
        timeout = httpx.Timeout(min(left, READ_SECONDS), connect=min(left, 10.0))
        with self._http.stream(method, url, timeout=timeout, **request) as answer:
            parts = []
            for part in answer.iter_bytes():
                parts.append(part)
                deadline.require()
        return httpx.Response(answer.status_code, headers=_plain(answer.headers), content=b"".join(parts))

    def _pause(self, attempt: int, at_least: float, deadline: Deadline) -> None:
        backoff = min(LAST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)) * random.uniform(0.5, 1)  # noqa: S311
        time.sleep(min(max(backoff, at_least), deadline.require()))
        deadline.require()

    @staticmethod
    def _broken(error: httpx.RequestError, deadline: Deadline) -> ConnectionFailed | DeadlineExceeded:
        if isinstance(error, httpx.TimeoutException) and not deadline.left:
            return deadline.exceeded()
        return ConnectionFailed(f"No answer: {str(error) or type(error).__name__}")

    def _access_token(self, deadline: Deadline) -> str:
        # One thread fetches, the others use what it got.
        if not self._token_lock.acquire(timeout=deadline.require()):
            raise deadline.exceeded()
        try:
            if self._token is None or self._token[1] <= time.monotonic():
                self._token = self._fetch_token(deadline)
            return self._token[0]
        finally:
            self._token_lock.release()

    def _forget(self, token: str) -> None:
        with self._token_lock:
            if self._token and self._token[0] == token:  # another thread may have a fresh one already
                self._token = None

    def _fetch_token(self, deadline: Deadline) -> tuple[str, float]:
        """A token, and the monotonic time from which on it is not used any more."""
        asked = time.monotonic()
        try:
            answer = self.send(
                "POST",
                f"{self.url}/oauth/token",
                repeat="safe",
                deadline=deadline,
                data={"grant_type": "client_credentials"},
                auth=self._basic,
            )
        except ApiError as error:
            if error.status in _BUSY or "error" not in error.problem:
                raise
            refusal, description = error.problem["error"], error.problem.get("error_description")
            raise AuthenticationFailed(str(refusal), str(description or "")) from None
        granted = answer.json()
        lifetime = float(granted.get("expires_in", 300))
        self.worker = granted.get("worker") or {}
        return granted["access_token"], asked + lifetime - min(TOKEN_MARGIN_SECONDS, lifetime / 10)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url} as {self.client_id}>"


def checked_url(url: str) -> str:
    """The API's URL without its final slash.

    Raises:
        ValueError: when it is none, or a secret would cross a network in the clear.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"Not the URL of an API: {url!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("The URL of an API has no credentials, no query and no fragment")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("The URL must begin with https: a secret does not go over a network in the clear")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _plain(headers: httpx.Headers) -> list[tuple[str, str]]:
    """The headers of an answer whose body was decoded while it was read."""
    decoded = {"content-encoding", "content-length", "transfer-encoding"}
    return [(name, value) for name, value in headers.multi_items() if name.lower() not in decoded]


def _may_repeat(status: int, repeat: Repeat) -> bool:
    """429: nothing was done. What is busy may have done it and could not say so."""
    return status == httpx.codes.TOO_MANY_REQUESTS or (status in _BUSY and repeat == "safe")


def _error(answer: httpx.Response, *, repeated: bool) -> ApiError:
    """The answer as the error that it is; `repeated` when an earlier attempt may have done the same already."""
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    problem = problem if isinstance(problem, dict) else {}
    kind = BY_STATUS.get(answer.status_code, Unavailable if answer.is_server_error else ApiError)
    error = kind(
        answer.status_code,
        problem,
        request_id=answer.headers.get("x-request-id"),
        retry_after=_seconds(answer.headers.get("retry-after")),
    )
    error.repeated = repeated
    return error


def _seconds(header: str | None) -> float | None:
    """`Retry-After` in seconds; its other form, a date, is not used by this API."""
    return float(header) if header and header.isdecimal() else None
