"""The transport of webhooks over real sockets: the addresses that it calls, and its results for many answers."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from functions.webhook.transport import (
    BODY_LIMIT,
    EXCERPT_LIMIT,
    HEAD_LIMIT,
    AttemptResult,
    Transport,
    build_tls_context,
    make_excerpt,
    resolve_host,
)
from tests.hostile import HOSTILE_ADDRESSES, HOSTILE_URLS, LOOPBACK_URLS
from tests.receivers import (
    Authority,
    Receiver,
    Resolver,
    Respond,
    StartReceiver,
    Wait,
    drip,
    flood,
    hang,
    manage_receivers,
    read_request,
    reply,
)

DEADLINE = 0.4  # seconds
LATEST = DEADLINE + 3.0  # seconds; the machine may be busy
HEADERS = {"webhook-id": "job.1.succeeded", "webhook-timestamp": "1674087231", "webhook-signature": "v1,abc="}
BODY = b'{"type":"job.succeeded"}'
HOST = "receiver.example"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
NO_ADDRESSES = Resolver([])
TLS_CONTEXT = build_tls_context()  # built once, because it reads all authorities of the system


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def start() -> Iterator[StartReceiver]:
    """Provide a function that starts receivers."""
    yield from manage_receivers()


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Refuse all connections, and provide the list of the addresses and ports that were called."""
    addresses: list[tuple[str, int]] = []

    def connect(_self: socket.socket, address: tuple[str, int]) -> None:
        addresses.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    return addresses


def post(url: str, **options: Any) -> AttemptResult:
    """Make one attempt. Use the options of the local cloud unless `options` has others."""
    defaults: dict[str, Any] = {
        "allow_loopback": True,
        "resolve": NO_ADDRESSES,
        "tls_context": TLS_CONTEXT,
        "deadline_seconds": 5.0,
    }
    return Transport(**{**defaults, **options}).post(url, headers=HEADERS, body=BODY)


@dataclass
class TimedAttempt:
    """An attempt to call a receiver, and its duration in seconds."""

    result: AttemptResult
    seconds: float
    receiver: Receiver


def call(start: StartReceiver, respond: Respond, **options: Any) -> TimedAttempt:
    """Start a receiver and make one attempt to call it."""
    receiver = start(respond)
    begin = time.monotonic()
    result = post(f"http://127.0.0.1:{receiver.port}/hook", **options)
    return TimedAttempt(result, time.monotonic() - begin, receiver)


# --- The addresses that it calls -------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", HOSTILE_URLS + LOOPBACK_URLS, ids=ascii)
def test_hostile_url_is_neither_resolved_nor_called(called: list[tuple[str, int]], url: str) -> None:
    resolver = Resolver(["127.0.0.1"])
    result = post(url.format(port=""), allow_loopback=False, resolve=resolver)
    assert (result.error, result.status) == ("url_refused", None)
    assert (resolver.asked, called) == ([], [])


def test_canary_on_loopback_is_not_called_by_hostile_urls(start: StartReceiver) -> None:
    """Loopback and all ports are allowed here, so only the form of the URL can be the reason for the refusal."""
    canary = start(reply(OK))
    start(reply(OK), address="::1", port=canary.port)
    resolver = Resolver(["127.0.0.1", "::1"])
    for url in HOSTILE_URLS:
        for scheme in ("https", "http"):
            given = url.format(port=f":{canary.port}").replace("https", scheme, 1)
            for allow_loopback in (True, False):
                result = post(given, allow_loopback=allow_loopback, resolve=resolver)
                assert result.error == "url_refused", ascii(given)
    assert resolver.asked == []
    assert canary.connections == 0
    assert post(f"http://127.0.0.1:{canary.port}/").status == 200
    assert canary.connections == 1


@pytest.mark.parametrize("address", [*HOSTILE_ADDRESSES, "127.0.0.1", "::1"], ids=ascii)
def test_name_with_one_hostile_address_is_not_called(called: list[tuple[str, int]], address: str) -> None:
    for addresses in ([address], ["1.1.1.1", address], [address, "1.1.1.1"]):
        resolver = Resolver(addresses, ["1.1.1.1"])
        result = post(f"https://{HOST}/", allow_loopback=False, resolve=resolver)
        assert result.error == "url_refused"
        assert resolver.asked == [HOST]
    assert called == []


@pytest.mark.parametrize("address", HOSTILE_ADDRESSES, ids=ascii)
def test_allowing_loopback_allows_no_other_address(called: list[tuple[str, int]], address: str) -> None:
    for url in (f"https://{HOST}/", f"http://{HOST}:9001/"):
        assert post(url, resolve=Resolver([address])).error == "url_refused"
    assert called == []


@pytest.mark.parametrize("url", [f"http://{HOST}/", f"https://{HOST}:8443/"])
def test_http_and_other_ports_stay_on_the_machine(called: list[tuple[str, int]], url: str) -> None:
    assert post(url, resolve=Resolver(["1.1.1.1"])).error == "url_refused"
    assert called == []


def test_name_is_resolved_only_once(called: list[tuple[str, int]]) -> None:
    """DNS rebinding: the name has a public address at the check, and a private one afterwards."""
    resolver = Resolver(["93.184.215.14"], ["169.254.169.254"])
    result = post(f"https://{HOST}/", allow_loopback=False, resolve=resolver)
    assert result.error == "connection_failed"
    assert resolver.asked == [HOST]
    assert called == [("93.184.215.14", 443)]


def test_connection_goes_to_the_checked_address(
    start: StartReceiver, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resolver would return another address the second time."""
    receiver = start(reply(OK), tls_context=authority.server_context(HOST))
    other = start(reply(OK), tls_context=authority.server_context(HOST), address="127.0.0.2", port=receiver.port)
    resolver = Resolver(["127.0.0.1"], ["127.0.0.2"])
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, None)
    result = post(f"https://{HOST}:{receiver.port}/", resolve=resolver, tls_context=authority.client_context())
    assert result.status == 200
    assert (receiver.connections, other.connections) == (1, 0)
    assert resolver.asked == [HOST]


def test_address_in_the_url_is_not_resolved(called: list[tuple[str, int]]) -> None:
    resolver = Resolver(["127.0.0.1"])
    for url in ("https://1.1.1.1/", "https://[2606:4700::1111]/"):
        assert post(url, allow_loopback=False, resolve=resolver).error == "connection_failed"
    assert called == [("1.1.1.1", 443), ("2606:4700::1111", 443)]
    assert resolver.asked == []


def test_proxies_of_the_environment_are_ignored(start: StartReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, receiver = start(reply(OK)), start(reply(OK))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{proxy.port}")
    assert post(f"http://127.0.0.1:{receiver.port}/").status == 200
    assert (proxy.connections, receiver.connections) == (0, 1)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(start: StartReceiver, status: int) -> None:
    elsewhere = start(reply(OK))
    location = f"location: http://127.0.0.1:{elsewhere.port}/\r\n".encode()
    result = call(start, reply(f"HTTP/1.1 {status} Moved\r\n".encode(), location, b"content-length: 0\r\n\r\n")).result
    assert (result.status, result.error) == (status, None)
    assert elsewhere.connections == 0


def test_next_address_is_tried_after_a_refused_connection(start: StartReceiver) -> None:
    receiver = start(reply(OK))
    resolver = Resolver(["::1", "127.0.0.3", "127.0.0.1"])
    assert post(f"http://{HOST}:{receiver.port}/", resolve=resolver).status == 200
    assert resolver.asked == [HOST]


# --- The request -----------------------------------------------------------------------------------------------------


def test_request_has_the_signed_headers_and_the_unchanged_body(start: StartReceiver) -> None:
    receiver = start(reply(OK))
    url = f"http://{HOST}:{receiver.port}/a/../hook?x=%20&y"
    assert post(url, resolve=Resolver(["127.0.0.1"])).status == 200
    head, _, body = receiver.requests[0].partition(b"\r\n\r\n")
    line, *rest = head.decode().split("\r\n")
    headers = dict(header.lower().split(": ", 1) for header in rest)
    assert line == "POST /a/../hook?x=%20&y HTTP/1.1"
    assert body == BODY
    assert headers["host"] == f"{HOST}:{receiver.port}"
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(BODY))
    assert headers["connection"] == "close"
    assert headers.items() >= HEADERS.items()
    assert len(headers) == len(rest)


def test_slow_reader_gets_the_whole_body(start: StartReceiver, authority: Authority) -> None:
    body = b"0123456789" * 500_000

    def take(connection: socket.socket, wait: Wait) -> None:
        wait(0.2)
        request = read_request(connection)
        connection.sendall(OK if request.endswith(b"\r\n\r\n" + body) else b"HTTP/1.1 400 Bad\r\n\r\n")

    for tls in (None, authority.server_context("127.0.0.1")):
        receiver = start(take, reads_request=False, tls_context=tls)
        scheme = "https" if tls else "http"
        transport = Transport(allow_loopback=True, tls_context=authority.client_context())
        result = transport.post(f"{scheme}://127.0.0.1:{receiver.port}/", headers=HEADERS, body=body)
        assert result.status == 200


def test_certificate_and_sni_use_the_name(start: StartReceiver, authority: Authority) -> None:
    """The connection goes to an address."""
    asked_for: list[str | None] = []
    receiver = start(reply(OK), tls_context=authority.server_context(HOST, sni=asked_for))
    url = f"https://{HOST.upper()}:{receiver.port}/"
    assert post(url, resolve=Resolver(["127.0.0.1"]), tls_context=authority.client_context()).status == 200
    assert asked_for == [HOST]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_certificate_may_name_an_address(start: StartReceiver, authority: Authority, address: str) -> None:
    receiver = start(reply(OK), tls_context=authority.server_context(address), address=address)
    host = f"[{address}]" if ":" in address else address
    assert post(f"https://{host}:{receiver.port}/", tls_context=authority.client_context()).status == 200
    assert f"host: {host}:{receiver.port}\r\n".encode() in receiver.requests[0].lower()


def test_wrong_certificate_ends_the_attempt_before_the_request_is_sent(
    start: StartReceiver, authority: Authority
) -> None:
    servers = {
        "another name": authority.server_context("other.example"),
        "the address, not the name": authority.server_context("127.0.0.1"),
        "a wildcard of another depth": authority.server_context("*.receiver.example"),
        "expired": authority.server_context(HOST, days=-1),
        "another authority": Authority().server_context(HOST),
        "another authority of that name": Authority("authority").server_context(HOST),
    }
    for kind, tls in servers.items():
        receiver = start(reply(OK), tls_context=tls)
        result = post(
            f"https://{HOST}:{receiver.port}/", resolve=Resolver(["127.0.0.1"]), tls_context=authority.client_context()
        )
        assert (result.status, result.error) == (None, "certificate_refused"), kind
        assert (receiver.connections, receiver.requests) == (1, []), kind


def test_private_authority_is_not_trusted_by_default(start: StartReceiver, authority: Authority) -> None:
    receiver = start(reply(OK), tls_context=authority.server_context(HOST))
    result = post(f"https://{HOST}:{receiver.port}/", resolve=Resolver(["127.0.0.1"]))
    assert (result.error, receiver.requests) == ("certificate_refused", [])
    assert Transport().tls_context.verify_mode == ssl.CERT_REQUIRED
    assert Transport().tls_context.check_hostname
    assert Transport().tls_context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_receiver_without_tls_gets_no_request_over_https(start: StartReceiver) -> None:
    receiver = start(reply(OK), reads_request=False)
    result = post(f"https://{HOST}:{receiver.port}/", resolve=Resolver(["127.0.0.1"]))
    assert (result.error, receiver.requests) == ("tls_failed", [])


# --- The result ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 202, 204, 400, 404, 410, 429, 500, 503])
def test_result_has_the_status_of_the_answer(start: StartReceiver, status: int) -> None:
    attempt = call(start, reply(f"HTTP/1.1 {status} Whatever\r\ncontent-length: 0\r\n\r\n".encode()))
    assert (attempt.result.status, attempt.result.error) == (status, None)
    assert 0 <= attempt.result.latency_ms <= attempt.seconds * 1_000 + 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello",
    ],
)
def test_body_is_read_with_every_kind_of_framing(start: StartReceiver, answer: bytes) -> None:
    result = call(start, reply(answer)).result
    assert (result.status, result.excerpt) == (200, "hello")


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b"plain text, na\xc3\xafve \xe2\x98\x95", "plain text, naïve ☕"),
        (b"\x00\x1b[31mred\x1b[0m\x7f\r\n\t", r"\x00\x1b[31mred\x1b[0m\x7f\r\n\t"),
        (b"\xff\xfe cut \xe2\x98", r"\xff\xfe cut \xe2\x98"),
        ("\u202egnp.exe \u2028 \u200b \u0085 \ue000 \U000e0001".encode(), None),
        (b"x" * 5_000, "x" * EXCERPT_LIMIT),
        (b"\x00" * 5_000, r"\x00" * (EXCERPT_LIMIT // 4)),
        (b"", ""),
    ],
)
def test_excerpt_is_short_and_printable(start: StartReceiver, body: bytes, kept: str | None) -> None:
    result = call(start, reply(b"HTTP/1.1 500 Oops\r\n\r\n", body)).result
    assert result.excerpt == make_excerpt(body)
    assert result.excerpt.isprintable()
    assert len(result.excerpt) <= EXCERPT_LIMIT
    assert kept is None or result.excerpt == kept


@pytest.mark.parametrize(
    ("value", "kept"),
    [("999999", "999999"), ("Fri, 06 Nov 2026 08:49:37 GMT", "Fri, 06 Nov 2026 08:49:37 GMT"), ("9" * 500, "9" * 64)],
)
def test_result_has_the_retry_after_of_the_answer(start: StartReceiver, value: str, kept: str) -> None:
    head = f"HTTP/1.1 429 Slow Down\r\nRetry-After: {value}\r\ncontent-length: 0\r\n\r\n".encode()
    result = call(start, reply(head)).result
    assert (result.status, result.retry_after) == (429, kept)


def test_retry_after_is_none_without_the_header(start: StartReceiver) -> None:
    assert call(start, reply(OK)).result.retry_after is None


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"<html>hello</html>\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\x00b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * (HEAD_LIMIT + 1) + b"\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x16",
    ],
    ids=lambda answer: ascii(answer[:60]),
)
def test_incomplete_or_malformed_answer_is_an_error(start: StartReceiver, answer: bytes) -> None:
    attempt = call(start, reply(answer))
    assert (attempt.result.status, attempt.result.error) == (None, "answer_unreadable")
    assert attempt.result.excerpt == ""


def test_long_head_is_read(start: StartReceiver) -> None:
    """Security policies and cookies of ordinary servers can have kilobytes."""
    cookies = b"set-cookie: " + b"x" * 900 + b"\r\n"
    result = call(start, reply(b"HTTP/1.1 200 OK\r\n", cookies * 30, b"\r\nhello")).result
    assert (result.status, result.excerpt) == (200, "hello")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 202 Accepted\r\ncontent-length: 100\r\n\r\nhel",
        b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\nnonsense",
    ],
)
def test_status_counts_if_the_body_breaks_off(start: StartReceiver, answer: bytes) -> None:
    """The status decides about the delivery. The body is for the log only."""
    result = call(start, reply(answer)).result
    assert (result.status, result.error, result.excerpt) == (202, None, "hel")


# --- The deadline ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "respond",
    [
        hang(),
        hang(b"HTTP/1.1 200 OK\r\ncontent-le"),
        drip(drop=b"H"),
        drip(b"HTTP/1.1 200 OK\r\nx: ", drop=b"x"),
        drip(b"HTTP/1.1 200 OK\r\n", drop=b"x: y\r\n"),
        drip(drop=b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=[
        "hangs",
        "hangs in the head",
        "drips no http",
        "drips a header",
        "drips headers",
        "drips informational answers",
    ],
)
def test_answer_without_a_complete_head_at_the_deadline_is_an_error(start: StartReceiver, respond: Respond) -> None:
    """Single bytes do not extend the deadline."""
    attempt = call(start, respond, deadline_seconds=DEADLINE)
    assert (attempt.result.status, attempt.result.error) == (None, "timed_out")
    assert DEADLINE <= attempt.seconds < LATEST


@pytest.mark.parametrize("respond", [hang(OK[:-1]), drip(b"HTTP/1.1 200 OK\r\n\r\no")], ids=["hangs", "drips"])
def test_slow_body_does_not_extend_the_deadline(start: StartReceiver, respond: Respond) -> None:
    attempt = call(start, respond, deadline_seconds=DEADLINE)
    assert (attempt.result.status, attempt.result.error) == (200, None)
    assert attempt.result.excerpt.startswith("o")
    assert DEADLINE <= attempt.seconds < LATEST
    assert DEADLINE * 1_000 <= attempt.result.latency_ms < LATEST * 1_000


@pytest.mark.parametrize(
    ("respond", "status", "error"),
    [
        (flood(b"HTTP/1.1 200 OK\r\n\r\n", drop=b"x" * 65_536), 200, None),
        (flood(b"HTTP/1.1 500 Oops\r\ncontent-length: 10000000000\r\n\r\n", drop=b"x" * 65_536), 500, None),
        (flood(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", drop=b"1\r\nx\r\n" * 10_000), 200, None),
        (flood(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", drop=b"x" * 65_536), 200, None),
        (flood(drop=b"x" * 65_536), None, "answer_unreadable"),
        (flood(b"HTTP/1.1 200 OK\r\nx: ", drop=b"x" * 65_536), None, "answer_unreadable"),
        (flood(b"HTTP/1.1 200 OK\r\n", drop=b"x: y\r\n" * 10_000), None, "answer_unreadable"),
        (flood(drop=b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000), None, "answer_unreadable"),
    ],
    ids=["body", "long body", "chunks", "chunk extension", "no http", "header", "headers", "informational answers"],
)
def test_endless_answer_is_cut_short(
    start: StartReceiver, respond: Respond, status: int | None, error: str | None
) -> None:
    """The attempt ends long before the deadline and needs little memory."""
    tracemalloc.start()
    try:
        attempt = call(start, respond, deadline_seconds=30.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (attempt.result.status, attempt.result.error) == (status, error)
    assert attempt.seconds < 10
    assert peak < 40 * (HEAD_LIMIT + BODY_LIMIT)


def test_hanging_handshake_ends_at_the_deadline(start: StartReceiver) -> None:
    for respond in (hang(), drip(b"\x16\x03\x03\x40\x00", drop=b"\x00")):
        receiver = start(respond, reads_request=False)
        began = time.monotonic()
        result = post(f"https://127.0.0.1:{receiver.port}/", deadline_seconds=DEADLINE)
        assert result.error == "timed_out"
        assert time.monotonic() - began < LATEST


def test_slow_answer_over_tls_does_not_extend_the_deadline(start: StartReceiver, authority: Authority) -> None:
    receiver = start(drip(b"HTTP/1.1 200 OK\r\nx: "), tls_context=authority.server_context("127.0.0.1"))
    began = time.monotonic()
    result = post(
        f"https://127.0.0.1:{receiver.port}/", tls_context=authority.client_context(), deadline_seconds=DEADLINE
    )
    assert result.error == "timed_out"
    assert time.monotonic() - began < LATEST


def test_flood_of_empty_tls_records_does_not_extend_the_deadline(start: StartReceiver, authority: Authority) -> None:
    """Records without data, such as session tickets, arrive faster than the client reads them."""
    tls, client = authority.server_context("127.0.0.1"), authority.client_context()
    tls.num_tickets = 5_000
    # Each record takes as long as on a slow machine.
    client._msg_callback = lambda *_: time.sleep(0.002)  # type: ignore[attr-defined]  # private: not in the stubs
    receiver = start(hang(), tls_context=tls)
    began = time.monotonic()
    result = post(f"https://127.0.0.1:{receiver.port}/", tls_context=client, deadline_seconds=DEADLINE)
    assert result.error == "timed_out"
    assert time.monotonic() - began < LATEST


def test_attempt_ends_at_the_deadline_if_the_receiver_does_not_read(start: StartReceiver) -> None:
    receiver = start(hang(), reads_request=False)
    began = time.monotonic()
    transport = Transport(allow_loopback=True, deadline_seconds=DEADLINE)
    result = transport.post(f"http://127.0.0.1:{receiver.port}/", headers=HEADERS, body=bytes(50_000_000))
    assert result.error == "timed_out"
    assert time.monotonic() - began < LATEST


def test_hanging_resolver_ends_at_the_deadline() -> None:
    release = threading.Event()

    def resolve(_host: str) -> list[str]:
        release.wait(30)
        return ["127.0.0.1"]

    began = time.monotonic()
    result = post(f"http://{HOST}:1/", resolve=resolve, deadline_seconds=DEADLINE)
    release.set()
    assert result.error == "timed_out"
    assert DEADLINE <= time.monotonic() - began < LATEST


def test_unresponsive_address_leaves_time_for_the_next(start: StartReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = start(reply(OK))
    connect = socket.socket.connect

    def connect_or_time_out(self: socket.socket, address: tuple[str, int]) -> None:
        if address[0] != "127.0.0.1":
            time.sleep(self.gettimeout() or 30)
            raise TimeoutError
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_or_time_out)
    resolver = Resolver(["127.0.0.2", "127.0.0.3", "127.0.0.1"])
    result = post(f"http://{HOST}:{receiver.port}/", resolve=resolver, deadline_seconds=2.4)
    assert result.status == 200
    assert 1_500 <= result.latency_ms < 2_400


def test_all_addresses_are_checked_but_only_four_are_tried(called: list[tuple[str, int]]) -> None:
    many = [f"1.1.{high}.{low}" for high in range(4) for low in range(1, 200)]
    assert post(f"https://{HOST}/", resolve=Resolver(many)).error == "connection_failed"
    assert called == [(address, 443) for address in many[:4]]
    called.clear()
    assert post(f"https://{HOST}/", resolve=Resolver([*many, "10.0.0.1"])).error == "url_refused"
    assert called == []


# --- Other failures --------------------------------------------------------------------------------------------------


def test_closed_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert post(f"http://127.0.0.1:{port}/").error == "connection_failed"


def test_reset_connection_is_an_error(start: StartReceiver) -> None:
    def reset(connection: socket.socket, _wait: Wait) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")

    assert call(start, reset).result.error == "connection_failed"


def test_unknown_name_is_an_error() -> None:
    def resolve(_host: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert post(f"https://{HOST}/", resolve=resolve).error == "name_not_resolved"


def test_search_domains_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search domain of the network must not be added to a client's name."""
    asked: list[bytes] = []

    def getaddrinfo(host: bytes, *_: object, **__: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert resolve_host(HOST) == ["1.1.1.1"]
    assert asked == [b"receiver.example."]


def test_localhost_is_resolved() -> None:
    assert set(resolve_host("localhost")) <= {"127.0.0.1", "::1"}
