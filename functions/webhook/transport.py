"""The transport of webhooks: one HTTP POST to a URL that a client chose.

The host's name is resolved once and its addresses are checked. The connection goes to a checked address. The receiver
is not trusted: one deadline and byte limits cover everything that it sends.

h11 implements the protocol and refuses malformed answers. This module handles sockets, TLS and time itself, because no
HTTP client library offers both a connection to a given address and one deadline for the whole exchange. Proxy settings
of the environment are ignored, and redirects are not followed.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol, TypeVar

import h11

from shared.errors import UrlRefused
from shared.webhooks.urls import WebhookUrl, check_addresses, parse_webhook_url

DEADLINE_SECONDS = 15.0
HEAD_LIMIT = 32_000  # bytes of an answer before its body
BODY_LIMIT = 20_000  # bytes that are read after the head; the rest of the body is ignored
EXCERPT_LIMIT = 1_024  # bytes of the body that are kept, and characters after they are escaped
RETRY_AFTER_LIMIT = 64  # characters
_ADDRESSES_LIMIT = 4  # addresses that are tried; all of them are checked
_CHUNK = 8_192

Resolver = Callable[[str], Sequence[str]]
_Result = TypeVar("_Result")
ErrorCode = Literal[
    "url_refused",  # a webhook may not call the URL, or an address of its host
    "name_not_resolved",
    "connection_failed",  # refused, or reset before an answer
    "certificate_refused",
    "tls_failed",
    "timed_out",
    "answer_unreadable",  # not HTTP, too long, or cut off before the end of its head
]

# The first match counts, because some of these classes inherit from others.
_CODES: tuple[tuple[type[Exception], ErrorCode], ...] = (
    (UrlRefused, "url_refused"),
    (TimeoutError, "timed_out"),
    (ssl.SSLCertVerificationError, "certificate_refused"),
    (ssl.SSLError, "tls_failed"),
    (socket.gaierror, "name_not_resolved"),
    (OSError, "connection_failed"),
    (h11.RemoteProtocolError, "answer_unreadable"),
)
_FAILURES = tuple(kind for kind, _ in _CODES)


@dataclass(frozen=True)
class AttemptResult:
    """The result of one attempt: the `status` of the answer, or an `error` if no complete head arrived.

    `latency_ms` is the duration of the attempt. `excerpt` is the beginning of the answer's body and safe to print.
    `retry_after` is the unparsed value of the header `Retry-After`.
    """

    latency_ms: int
    status: int | None = None
    error: ErrorCode | None = None
    excerpt: str = ""
    retry_after: str | None = None


def resolve_host(host: str) -> list[str]:
    """Return the addresses of `host`, in the system's order of preference.

    Raises:
        OSError: If the host has no address.
    """
    # The root's dot keeps the resolver from trying its search domains. Names in the hosts file have no dot.
    name = f"{host}." if "." in host else host
    found = socket.getaddrinfo(name.encode("ascii"), None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def build_tls_context() -> ssl.SSLContext:
    """Return a TLS context that trusts the system's certificate authorities."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


@dataclass(frozen=True, kw_only=True)
class Transport:
    """The sender of webhook requests. `deadline_seconds` limits a whole attempt, from the name to the last byte."""

    allow_loopback: bool = False
    resolve: Resolver = resolve_host
    tls_context: ssl.SSLContext = field(default_factory=build_tls_context)
    deadline_seconds: float = DEADLINE_SECONDS

    def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> AttemptResult:
        """Post the JSON text `body` to `url`, once. A failure is a result, not an exception."""
        deadline = _Deadline(self.deadline_seconds)
        try:
            answer = self._call(url, headers, body, deadline)
        except _FAILURES as error:
            return AttemptResult(deadline.duration_ms, error=_find_code(error))
        retry_after = answer.get_header(b"retry-after")
        return AttemptResult(
            deadline.duration_ms,
            status=answer.status,
            excerpt=make_excerpt(answer.body),
            retry_after=retry_after and retry_after[:RETRY_AFTER_LIMIT],
        )

    def _call(self, text: str, headers: Mapping[str, str], body: bytes, deadline: _Deadline) -> _Answer:
        url = parse_webhook_url(text, allow_loopback=self.allow_loopback)
        found = [url.host] if url.is_address else _resolve(self.resolve, url.host, deadline)
        # The name is not resolved again. It is only sent in the header `Host` and compared with the certificate.
        addresses = check_addresses(url, found, allow_loopback=self.allow_loopback)
        with _connect_to_any(addresses[:_ADDRESSES_LIMIT], url.port, deadline) as connection:
            stream: _Stream = _PlainStream(connection, deadline)
            if url.is_https:
                stream = _TlsStream(stream, self.tls_context, url.host)
            return _exchange(stream, url, headers, body)


def make_excerpt(body: bytes) -> str:
    """Return the beginning of `body` as printable text. Escape line ends, control characters and invalid bytes."""
    text = body[:EXCERPT_LIMIT].decode(errors="backslashreplace")
    escaped = (char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return "".join(escaped)[:EXCERPT_LIMIT]


class _Deadline:
    """The time at which an attempt must end."""

    def __init__(self, seconds: float) -> None:
        self._start = time.monotonic()
        self._end = self._start + seconds

    def get_remaining(self) -> float:
        """Return the remaining seconds. Raise `TimeoutError` if there are none."""
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("The attempt took too long")
        return seconds

    @property
    def duration_ms(self) -> int:
        """Return the milliseconds since the attempt began."""
        return round((time.monotonic() - self._start) * 1_000)


class _Stream(Protocol):
    """A byte stream to the receiver. No call outlasts the deadline, however slowly the receiver reads or writes."""

    def send(self, data: bytes) -> None:
        """Send all of `data`."""

    def receive(self) -> bytes:
        """Return the next bytes, or no bytes at the end of the stream."""


@dataclass(frozen=True)
class _PlainStream:
    """A TCP connection."""

    connection: socket.socket
    deadline: _Deadline

    def send(self, data: bytes) -> None:
        unsent = memoryview(data)
        while unsent:
            self.connection.settimeout(self.deadline.get_remaining())
            unsent = unsent[self.connection.send(unsent) :]

    def receive(self) -> bytes:
        self.connection.settimeout(self.deadline.get_remaining())
        return self.connection.recv(_CHUNK)


class _TlsStream:
    """TLS over another stream.

    OpenSSL gets the received bytes through a memory buffer, one chunk at a time. If it read the socket itself, it would
    ignore the deadline for as long as records without data, such as session tickets, arrive.
    """

    def __init__(self, stream: _Stream, context: ssl.SSLContext, host: str) -> None:
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._complete(self._tls.do_handshake)

    def send(self, data: bytes) -> None:
        unsent = memoryview(data)
        while unsent:
            unsent = unsent[self._complete(partial(self._tls.write, unsent)) :]

    def receive(self) -> bytes:
        try:
            return self._complete(partial(self._tls.read, _CHUNK))
        except ssl.SSLEOFError:  # many servers end the connection without the closing alert of TLS
            return b""

    def _complete(self, operation: Callable[[], _Result]) -> _Result:
        """Repeat `operation` until it needs no more bytes from the receiver. Return its result."""
        while True:
            try:
                return operation()
            except ssl.SSLWantReadError:
                pass
            finally:
                self._stream.send(self._outgoing.read())  # after a failure, too: OpenSSL has written an alert
            if data := self._stream.receive():
                self._incoming.write(data)
            else:
                self._incoming.write_eof()


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    def get_header(self, name: bytes) -> str | None:
        return next((value.decode("latin-1") for key, value in self.headers if key == name), None)


def _resolve(resolve: Resolver, host: str, deadline: _Deadline) -> Sequence[str]:
    """Return the addresses from one call of `resolve`. If the call outlasts the deadline, abandon its thread."""
    answer: Future[Sequence[str]] = Future()

    def call() -> None:
        try:
            answer.set_result(resolve(host))
        except Exception as error:  # noqa: BLE001 (the waiting thread raises it)
            answer.set_exception(error)

    threading.Thread(target=call, name="resolver", daemon=True).start()
    return answer.result(timeout=deadline.get_remaining())


def _connect_to_any(addresses: Sequence[str], port: int, deadline: _Deadline) -> socket.socket:
    """Connect to the first address that accepts. Each address gets an equal share of the remaining time."""
    for remaining in range(len(addresses), 1, -1):
        with suppress(OSError):
            return _connect(addresses[-remaining], port, deadline.get_remaining() / remaining)
    return _connect(addresses[-1], port, deadline.get_remaining())


def _connect(address: str, port: int, seconds: float) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect((address, port))
    except OSError:
        connection.close()
        raise
    return connection


def _exchange(stream: _Stream, url: WebhookUrl, headers: Mapping[str, str], body: bytes) -> _Answer:
    """Send the request and read the answer. A complete head is an answer, even if its body hangs or breaks off."""
    protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
    for event in (_build_request(url, headers, body), h11.Data(data=body), h11.EndOfMessage()):
        stream.send(protocol.send(event) or b"")
    head = _read_head(stream, protocol)
    return _Answer(head.status_code, list(head.headers), _read_body(stream, protocol))


def _build_request(url: WebhookUrl, headers: Mapping[str, str], body: bytes) -> h11.Request:
    own = {
        "host": url.authority,
        "user-agent": "Samovar",
        "accept": "*/*",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
    }
    return h11.Request(method="POST", target=url.path, headers=[*own.items(), *headers.items()])


def _read_head(stream: _Stream, protocol: h11.Connection) -> h11.Response:
    received = 0
    while received <= HEAD_LIMIT:
        event = protocol.next_event()
        if isinstance(event, h11.Response):
            return event
        if event is h11.NEED_DATA:
            data = stream.receive()
            received += len(data)
            protocol.receive_data(data)
    raise h11.RemoteProtocolError("The answer's head is too long")


def _read_body(stream: _Stream, protocol: h11.Connection) -> bytes:
    body = bytearray()
    received = 0
    # The status alone decides about the delivery, so an error in the body is ignored.
    with suppress(OSError, h11.RemoteProtocolError):
        while received < BODY_LIMIT:
            event = protocol.next_event()
            if event is h11.NEED_DATA:
                data = stream.receive()
                received += len(data)
                protocol.receive_data(data)
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                break
    return bytes(body)


def _find_code(error: Exception) -> ErrorCode:
    return next(code for kind, code in _CODES if isinstance(error, kind))
