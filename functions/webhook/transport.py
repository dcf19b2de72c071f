"""Post to a URL that somebody else chose: resolve once, check, connect to what was checked, and believe nothing.

The protocol is h11's, which refuses what is malformed; sockets, TLS and time are handled here, because no client
library offers both a connection to a given address and one deadline over everything. Nothing is read from the
environment, no proxy either, and a redirect is an answer like any other.
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

from shared.addresses import Target, checked_addresses, webhook_target
from shared.errors import UrlRefused

DEADLINE_SECONDS = 15.0
HEAD_LIMIT = 32_000  # bytes of an answer before its body
BODY_LIMIT = 20_000  # bytes of an answer that are read after its head; how it goes on does not matter
EXCERPT_LIMIT = 1_024  # bytes of it that are kept, and characters once they are escaped
RETRY_AFTER_LIMIT = 64  # characters
_ADDRESSES_LIMIT = 4  # addresses that are tried; all of them are checked
_CHUNK = 8_192

Resolver = Callable[[str], Sequence[str]]
_Result = TypeVar("_Result")
ErrorCode = Literal[
    "url_refused",  # it, or an address of its host, must not be called
    "name_not_resolved",
    "connection_failed",  # or was reset before an answer
    "certificate_refused",
    "tls_failed",
    "timed_out",
    "answer_unreadable",  # not HTTP, too long, or cut off before the end of its head
]

# The first that matches counts: some are kinds of others.
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
class Outcome:
    """How one attempt ended: with the answer's `status`, or with an `error` when no answer's head was complete.

    `latency_ms` covers the attempt; `excerpt` is the beginning of the answer's body, safe to print; `retry_after` is
    that header's value as it came.
    """

    latency_ms: int
    status: int | None = None
    error: ErrorCode | None = None
    excerpt: str = ""
    retry_after: str | None = None


def system_addresses(host: str) -> list[str]:
    """The addresses of `host` in the system's order of preference.

    Raises:
        OSError: when it has none.
    """
    # The root's dot keeps the resolver from trying its search domains. Names of the hosts file have none.
    name = f"{host}." if "." in host else host
    found = socket.getaddrinfo(name.encode("ascii"), None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def system_trust() -> ssl.SSLContext:
    """Trust in the authorities that the system trusts."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


@dataclass(frozen=True, kw_only=True)
class Transport:
    """Posts to webhooks. One `deadline_seconds` holds for all of an attempt, whatever the receiver does."""

    allow_loopback: bool = False
    resolve: Resolver = system_addresses
    trust: ssl.SSLContext = field(default_factory=system_trust)
    deadline_seconds: float = DEADLINE_SECONDS

    def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Outcome:
        """Post the JSON text `body` to `url`, once. How that failed is an outcome, not an exception."""
        deadline = _Deadline(self.deadline_seconds)
        try:
            answer = self._exchange(url, headers, body, deadline)
        except _FAILURES as error:
            return Outcome(deadline.passed_ms, error=_code(error))
        retry_after = answer.header(b"retry-after")
        return Outcome(
            deadline.passed_ms,
            status=answer.status,
            excerpt=excerpt(answer.body),
            retry_after=retry_after and retry_after[:RETRY_AFTER_LIMIT],
        )

    def _exchange(self, url: str, headers: Mapping[str, str], body: bytes, deadline: _Deadline) -> _Answer:
        target = webhook_target(url, allow_loopback=self.allow_loopback)
        found = [target.host] if target.is_address else _resolved(self.resolve, target.host, deadline)
        # From here on the name is text for the header, the handshake and the certificate; only addresses are called.
        addresses = checked_addresses(target, found, allow_loopback=self.allow_loopback)
        with _connected(addresses[:_ADDRESSES_LIMIT], target.port, deadline) as connection:
            wire: _Wire = _PlainWire(connection, deadline)
            if target.is_https:
                wire = _EncryptedWire(wire, self.trust, target.host)
            return _converse(wire, target, headers, body)


def excerpt(body: bytes) -> str:
    """The beginning of `body` with whatever is not printable escaped: control characters, line ends, stray bytes."""
    text = body[:EXCERPT_LIMIT].decode(errors="backslashreplace")
    escaped = (char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return "".join(escaped)[:EXCERPT_LIMIT]


class _Deadline:
    """A moment by which everything must be done."""

    def __init__(self, seconds: float) -> None:
        self._began = time.monotonic()
        self._end = self._began + seconds

    def left(self) -> float:
        """Seconds until then; raises TimeoutError when there are none."""
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("The attempt took too long")
        return seconds

    @property
    def passed_ms(self) -> int:
        return round((time.monotonic() - self._began) * 1_000)


class _Wire(Protocol):
    """A way to the receiver on which no call outlasts the deadline, however slowly the other side drips."""

    def send(self, data: bytes) -> None:
        """Send all of `data`."""

    def receive(self) -> bytes:
        """What has come, nothing at the end."""


@dataclass(frozen=True)
class _PlainWire:
    connection: socket.socket
    deadline: _Deadline

    def send(self, data: bytes) -> None:
        unsent = memoryview(data)
        while unsent:
            self.connection.settimeout(self.deadline.left())
            unsent = unsent[self.connection.send(unsent) :]

    def receive(self) -> bytes:
        self.connection.settimeout(self.deadline.left())
        return self.connection.recv(_CHUNK)


class _EncryptedWire:
    """TLS over another wire, the handshake done.

    OpenSSL is handed what has come, a chunk at a time. On a socket of its own it goes on reading for as long as records
    come that carry no data, such as session tickets, whatever the deadline.
    """

    def __init__(self, wire: _Wire, trust: ssl.SSLContext, host: str) -> None:
        self._wire = wire
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = trust.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._complete(self._tls.do_handshake)

    def send(self, data: bytes) -> None:
        unsent = memoryview(data)
        while unsent:
            unsent = unsent[self._complete(partial(self._tls.write, unsent)) :]

    def receive(self) -> bytes:
        try:
            return self._complete(partial(self._tls.read, _CHUNK))
        except ssl.SSLEOFError:  # hung up without saying so, as many do
            return b""

    def _complete(self, step: Callable[[], _Result]) -> _Result:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                pass
            finally:
                self._wire.send(self._outgoing.read())  # an alert, too
            if data := self._wire.receive():
                self._incoming.write(data)
            else:
                self._incoming.write_eof()


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> str | None:
        return next((value.decode("latin-1") for key, value in self.headers if key == name), None)


def _resolved(resolve: Resolver, host: str, deadline: _Deadline) -> Sequence[str]:
    """What `resolve` says, once. It may hang for longer than the deadline: then its thread is left to itself."""
    answer: Future[Sequence[str]] = Future()

    def ask() -> None:
        try:
            answer.set_result(resolve(host))
        except Exception as error:  # noqa: BLE001 (it is raised where the answer is waited for)
            answer.set_exception(error)

    threading.Thread(target=ask, name="resolver", daemon=True).start()
    return answer.result(timeout=deadline.left())


def _connected(addresses: Sequence[str], port: int, deadline: _Deadline) -> socket.socket:
    """A connection to the first of the addresses that takes one; each gets its share of the time that is left."""
    for remaining in range(len(addresses), 1, -1):
        with suppress(OSError):
            return _connection(addresses[-remaining], port, deadline.left() / remaining)
    return _connection(addresses[-1], port, deadline.left())


def _connection(address: str, port: int, seconds: float) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect((address, port))
    except OSError:
        connection.close()
        raise
    return connection


def _converse(wire: _Wire, target: Target, headers: Mapping[str, str], body: bytes) -> _Answer:
    """Send the request and read the answer. A status is an answer, even if its body hangs or breaks off."""
    protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
    for event in (_request(target, headers, body), h11.Data(data=body), h11.EndOfMessage()):
        wire.send(protocol.send(event) or b"")
    head = _read_head(wire, protocol)
    return _Answer(head.status_code, list(head.headers), _read_body(wire, protocol))


def _request(target: Target, headers: Mapping[str, str], body: bytes) -> h11.Request:
    own = {
        "host": target.authority,
        "user-agent": "Samovar",
        "accept": "*/*",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
    }
    return h11.Request(method="POST", target=target.path, headers=[*own.items(), *headers.items()])


def _read_head(wire: _Wire, protocol: h11.Connection) -> h11.Response:
    received = 0
    while received <= HEAD_LIMIT:
        event = protocol.next_event()
        if isinstance(event, h11.Response):
            return event
        if event is h11.NEED_DATA:
            data = wire.receive()
            received += len(data)
            protocol.receive_data(data)
    raise h11.RemoteProtocolError("The answer's head is too long")


def _read_body(wire: _Wire, protocol: h11.Connection) -> bytes:
    body = bytearray()
    received = 0
    # What becomes of the body changes nothing: the receiver has said what it thinks of the delivery.
    with suppress(OSError, h11.RemoteProtocolError):
        while received < BODY_LIMIT:
            event = protocol.next_event()
            if event is h11.NEED_DATA:
                data = wire.receive()
                received += len(data)
                protocol.receive_data(data)
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                break
    return bytes(body)


def _code(error: Exception) -> ErrorCode:
    return next(code for kind, code in _CODES if isinstance(error, kind))
