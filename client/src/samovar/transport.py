"""HTTP calls to the API: access token, deadline, repeated attempts and typed errors."""

from __future__ import annotations

import ipaddress
import json
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlsplit

import httpx

from samovar.errors import (
    BY_STATUS,
    ApiError,
    AuthenticationFailed,
    ConnectionFailed,
    DeadlineExceeded,
    Unauthorized,
    Unavailable,
)

MAX_ATTEMPTS = 6
FIRST_BACKOFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 8.0
CONNECT_SECONDS = 10.0
READ_SECONDS = 40.0  # between two parts of an answer; the API itself waits up to 25 s for a job to end
TOKEN_MARGIN_SECONDS = 60
DEFAULT_TOKEN_SECONDS = 300
_BUSY_STATUSES = {502, 503, 504}
# httpx raises these before it has sent the request.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True)
class Response:
    """An answer with a status below 400."""

    status: int
    headers: httpx.Headers
    content: bytes

    @property
    def retry_after(self) -> float | None:
        """Return the seconds to wait before the next call, or None if the answer does not say."""
        return _parse_retry_after(self.headers.get("retry-after"))

    def json(self) -> Any:
        """Return the body, parsed as JSON.

        Raises:
            Unavailable: If the body is not JSON, which means that a proxy answered in place of the API.
        """
        try:
            return json.loads(self.content)
        except ValueError:
            problem = {"title": "The answer is not JSON", "code": "not_json"}
            raise Unavailable(self.status, problem, request_id=None, retry_after=None) from None


class Deadline:
    """The time at which a call must end."""

    def __init__(self, seconds: float) -> None:
        """Set the deadline to `seconds` from now.

        Raises:
            ValueError: If `seconds` is not positive.
        """
        if not seconds > 0:
            raise ValueError(f"The timeout is {seconds:g} seconds, but must be positive")
        self._end = time.monotonic() + seconds
        self.seconds = seconds

    @property
    def remaining(self) -> float:
        """Return the remaining seconds, 0 after the deadline."""
        return max(0.0, self._end - time.monotonic())

    def require_remaining(self) -> float:
        """Return the remaining seconds.

        Raises:
            DeadlineExceeded: If no time remains.
        """
        remaining = self.remaining
        if not remaining:
            raise self.create_error()
        return remaining

    def create_error(self) -> DeadlineExceeded:
        """Return the error for a call that has reached this deadline."""
        return DeadlineExceeded(f"The call took longer than its timeout of {self.seconds:g} s")


class Transport:
    """The connection of one client to one API. It is thread-safe."""

    def __init__(
        self, url: str, client_id: str, client_secret: str, *, timeout: float, transport: httpx.BaseTransport | None
    ) -> None:
        """Configure the connection without sending anything.

        Args:
            url: The URL of the API.
            client_id: The client's id.
            client_secret: The client's secret.
            timeout: The seconds that a call may take, all its attempts included.
            transport: A replacement of the network, for tests.

        Raises:
            ValueError: If `url` is not a URL, or would send the secret unencrypted.
        """
        self.url = normalize_url(url)
        self.client_id = client_id
        self.timeout = timeout
        self.worker: dict[str, Any] = {}  # how warm the worker was when the latest token was issued
        self._basic_auth = (quote_plus(client_id), quote_plus(client_secret))  # RFC 6749, section 2.3.1
        self._http = httpx.Client(
            # Do not use a configured proxy for an API on this machine.
            trust_env=not _is_loopback(urlsplit(self.url).hostname or ""),
            headers={"user-agent": "samovar-python"},
            transport=transport,
        )
        self._token: tuple[str, float] | None = None  # the token, and the monotonic time when to replace it
        self._token_lock = threading.Lock()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def authenticate(self) -> None:
        """Fetch an access token, unless a valid one is there.

        Raises:
            ApiError, AuthenticationFailed, ConnectionFailed, DeadlineExceeded: See `samovar.errors`.
        """
        self._get_token(Deadline(self.timeout))

    def call(
        self,
        method: str,
        path: str,
        *,
        idempotent: bool = True,
        deadline: Deadline | None = None,
        headers: Mapping[str, str] | None = None,
        **request: Any,
    ) -> Response:
        """Call the API with an access token. If the API rejects the token, call it once more with a new one.

        Raises:
            ApiError, AuthenticationFailed, ConnectionFailed, DeadlineExceeded: See `samovar.errors`.
        """
        deadline = deadline or Deadline(self.timeout)

        def send(token: str) -> Response:
            authorized = {**(headers or {}), "authorization": f"Bearer {token}"}
            url = f"{self.url}{path}"
            return self.send(method, url, idempotent=idempotent, deadline=deadline, headers=authorized, **request)

        token = self._get_token(deadline)
        try:
            return send(token)
        except Unauthorized:
            self._discard_token(token)
        return send(self._get_token(deadline))

    def send(self, method: str, url: str, *, idempotent: bool, deadline: Deadline, **request: Any) -> Response:
        """Send a request without an access token, and repeat it after a failure.

        An idempotent request (RFC 9110, section 9.2.2) is repeated after a lost connection, 429, 502, 503 and 504.
        Another request is only repeated if the API cannot have carried it out.

        Raises:
            ApiError, ConnectionFailed, DeadlineExceeded: See `samovar.errors`.
        """
        attempt = 0
        is_ambiguous = False  # whether an attempt without a clear answer may have been carried out
        while True:
            attempt += 1
            is_last = attempt == MAX_ATTEMPTS
            try:
                answer = self._send_once(method, url, deadline, request)
            except httpx.RequestError as error:
                is_ambiguous = is_ambiguous or not isinstance(error, _NOT_SENT)
                if is_last or (is_ambiguous and not idempotent) or not deadline.remaining:
                    raise self._convert_error(error, deadline) from error
                self._back_off(attempt, deadline)
                continue
            if answer.status_code < httpx.codes.BAD_REQUEST:
                return Response(answer.status_code, answer.headers, answer.content)
            problem = _create_error(answer, is_ambiguous=is_ambiguous)
            pause = problem.retry_after or 0
            if is_last or not _is_repeatable(answer.status_code, idempotent=idempotent) or pause >= deadline.remaining:
                raise problem
            is_ambiguous = is_ambiguous or answer.status_code in _BUSY_STATUSES
            self._back_off(attempt, deadline, at_least=pause)

    def _send_once(self, method: str, url: str, deadline: Deadline, request: dict[str, Any]) -> httpx.Response:
        """Send one request and read the whole answer. Check the deadline after each part of the answer."""
        remaining = deadline.require_remaining()
        timeout = httpx.Timeout(min(remaining, READ_SECONDS), connect=min(remaining, CONNECT_SECONDS))
        with self._http.stream(method, url, timeout=timeout, **request) as answer:
            parts = []
            for part in answer.iter_bytes():
                parts.append(part)
                deadline.require_remaining()
        return httpx.Response(answer.status_code, headers=_remove_encoding(answer.headers), content=b"".join(parts))

    def _back_off(self, attempt: int, deadline: Deadline, *, at_least: float = 0) -> None:
        longest = min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (attempt - 1))
        backoff = longest * random.uniform(0.5, 1)  # noqa: S311 (jitter is no secret)
        time.sleep(min(max(backoff, at_least), deadline.require_remaining()))
        deadline.require_remaining()

    @staticmethod
    def _convert_error(error: httpx.RequestError, deadline: Deadline) -> ConnectionFailed | DeadlineExceeded:
        if isinstance(error, httpx.TimeoutException) and not deadline.remaining:
            return deadline.create_error()
        return ConnectionFailed(f"No answer from the API: {str(error) or type(error).__name__}")

    def _get_token(self, deadline: Deadline) -> str:
        # One thread fetches the token. The other threads wait for it at the lock.
        if not self._token_lock.acquire(timeout=deadline.require_remaining()):
            raise deadline.create_error()
        try:
            if self._token is None or self._token[1] <= time.monotonic():
                self._token = self._fetch_token(deadline)
            return self._token[0]
        finally:
            self._token_lock.release()

    def _discard_token(self, token: str) -> None:
        with self._token_lock:
            if self._token and self._token[0] == token:  # another thread may have replaced the token
                self._token = None

    def _fetch_token(self, deadline: Deadline) -> tuple[str, float]:
        """Return a new token, and the monotonic time when to replace it."""
        started = time.monotonic()
        try:
            answer = self.send(
                "POST",
                f"{self.url}/oauth/token",
                idempotent=True,
                deadline=deadline,
                data={"grant_type": "client_credentials"},
                auth=self._basic_auth,
            )
        except ApiError as error:
            if error.status in _BUSY_STATUSES or "error" not in error.problem:
                raise
            description = error.problem.get("error_description")
            raise AuthenticationFailed(str(error.problem["error"]), str(description or "")) from None
        body = answer.json()
        lifetime = float(body.get("expires_in", DEFAULT_TOKEN_SECONDS))
        self.worker = body.get("worker") or {}
        return body["access_token"], started + lifetime - min(TOKEN_MARGIN_SECONDS, lifetime / 10)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url} as {self.client_id}>"


def normalize_url(url: str) -> str:
    """Return the URL of an API without its final slash.

    Raises:
        ValueError: If `url` is not a URL, or would send the secret unencrypted over a network.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{url!r} is not a URL of an API: it must begin with https:// and contain a host")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("The URL of the API must not contain credentials, a query or a fragment")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("The URL of the API must begin with https://, because the client secret is sent to it")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _remove_encoding(headers: httpx.Headers) -> list[tuple[str, str]]:
    """Return the headers without those that describe the encoded body, because httpx has decoded it."""
    encoding = {"content-encoding", "content-length", "transfer-encoding"}
    return [(name, value) for name, value in headers.multi_items() if name.lower() not in encoding]


def _is_repeatable(status: int, *, idempotent: bool) -> bool:
    # The API did nothing before it answered 429. Before a 502, 503 or 504 it may have carried out the request.
    return status == httpx.codes.TOO_MANY_REQUESTS or (status in _BUSY_STATUSES and idempotent)


def _create_error(answer: httpx.Response, *, is_ambiguous: bool) -> ApiError:
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    problem = problem if isinstance(problem, dict) else {}
    error_class = BY_STATUS.get(answer.status_code, Unavailable if answer.is_server_error else ApiError)
    error = error_class(
        answer.status_code,
        problem,
        request_id=answer.headers.get("x-request-id"),
        retry_after=_parse_retry_after(answer.headers.get("retry-after")),
    )
    error.is_ambiguous = is_ambiguous
    return error


def _parse_retry_after(header: str | None) -> float | None:
    # RFC 9110 also allows a date, which this API never sends.
    return float(header) if header and header.isdecimal() else None
