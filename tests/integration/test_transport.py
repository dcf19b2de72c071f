"""The transport of webhooks, over real sockets: whom it calls, and what it makes of whoever answers."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from functions.webhook.transport import (
    BODY_LIMIT,
    EXCERPT_LIMIT,
    HEAD_LIMIT,
    Outcome,
    Transport,
    excerpt,
    system_addresses,
    system_trust,
)
from tests.hostile import HOSTILE_ADDRESSES, HOSTILE_URLS, LOOPBACK_URLS
from tests.receivers import Authority, Receiver, Resolver, drips, floods, hangs, read_request, running, says

DEADLINE = 0.4  # seconds
PATIENCE = DEADLINE + 3.0  # the machine may be busy
HEADERS = {"webhook-id": "job.1.succeeded", "webhook-timestamp": "1674087231", "webhook-signature": "v1,abc="}
BODY = b'{"type":"job.succeeded"}'
HOST = "receiver.example"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
NAMELESS = Resolver([])
TRUST = system_trust()  # made once: it reads all the authorities


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def start() -> Iterator[Callable[..., Receiver]]:
    """Starts receivers."""
    yield from running()


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The addresses and ports that anything connects to; nothing gets through."""
    addresses: list[tuple[str, int]] = []

    def connect(_self: socket.socket, address: tuple[str, int]) -> None:
        addresses.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    return addresses


def post(url: str, **options: object) -> Outcome:
    """One attempt, of the local cloud unless told otherwise."""
    settings = {"allow_loopback": True, "resolve": NAMELESS, "trust": TRUST, "deadline_seconds": 5.0, **options}
    return Transport(**settings).post(url, headers=HEADERS, body=BODY)


def answered(start: Callable[..., Receiver], answer: Callable[..., None], **options: object) -> SimpleNamespace:
    """The outcome of an attempt at a receiver, and the seconds that it took."""
    receiver = start(answer)
    began = time.monotonic()
    outcome = post(f"http://127.0.0.1:{receiver.port}/hook", **options)
    return SimpleNamespace(outcome=outcome, seconds=time.monotonic() - began, receiver=receiver)


# --- Whom it calls ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", HOSTILE_URLS + LOOPBACK_URLS, ids=ascii)
def test_a_hostile_url_is_neither_resolved_nor_called(called: list[tuple[str, int]], url: str) -> None:
    resolver = Resolver(["127.0.0.1"])
    outcome = post(url.format(port=""), allow_loopback=False, resolve=resolver)
    assert (outcome.error, outcome.status) == ("url_refused", None)
    assert (resolver.asked, called) == ([], [])


def test_a_canary_on_loopback_hears_of_no_hostile_url(start: Callable[..., Receiver]) -> None:
    """Where loopback and its ports are allowed, only the form of the URL can be the reason."""
    canary = start(says(OK))
    start(says(OK), address="::1", port=canary.port)
    resolver = Resolver(["127.0.0.1", "::1"])
    for url in HOSTILE_URLS:
        for scheme in ("https", "http"):
            given = url.format(port=f":{canary.port}").replace("https", scheme, 1)
            for allow_loopback in (True, False):
                outcome = post(given, allow_loopback=allow_loopback, resolve=resolver)
                assert outcome.error == "url_refused", ascii(given)
    assert resolver.asked == []
    assert canary.connections == 0
    assert post(f"http://127.0.0.1:{canary.port}/").status == 200
    assert canary.connections == 1


@pytest.mark.parametrize("address", [*HOSTILE_ADDRESSES, "127.0.0.1", "::1"], ids=ascii)
def test_a_name_is_not_called_when_one_of_its_addresses_is_hostile(called: list[tuple[str, int]], address: str) -> None:
    for addresses in ([address], ["1.1.1.1", address], [address, "1.1.1.1"]):
        resolver = Resolver(addresses, ["1.1.1.1"])
        outcome = post(f"https://{HOST}/", allow_loopback=False, resolve=resolver)
        assert outcome.error == "url_refused"
        assert resolver.asked == [HOST]
    assert called == []


@pytest.mark.parametrize("address", HOSTILE_ADDRESSES, ids=ascii)
def test_allowing_loopback_lets_no_other_address_pass(called: list[tuple[str, int]], address: str) -> None:
    for url in (f"https://{HOST}/", f"http://{HOST}:9001/"):
        assert post(url, resolve=Resolver([address])).error == "url_refused"
    assert called == []


@pytest.mark.parametrize("url", [f"http://{HOST}/", f"https://{HOST}:8443/"])
def test_http_and_other_ports_stay_on_the_machine(called: list[tuple[str, int]], url: str) -> None:
    assert post(url, resolve=Resolver(["1.1.1.1"])).error == "url_refused"
    assert called == []


def test_the_second_answer_of_a_resolver_is_never_asked_for(called: list[tuple[str, int]]) -> None:
    """DNS rebinding: a public address for the check, a private one for the call."""
    resolver = Resolver(["93.184.215.14"], ["169.254.169.254"])
    outcome = post(f"https://{HOST}/", allow_loopback=False, resolve=resolver)
    assert outcome.error == "connection_failed"
    assert resolver.asked == [HOST]
    assert called == [("93.184.215.14", 443)]


def test_nothing_but_the_resolver_resolves(
    start: Callable[..., Receiver], authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is checked is what is connected to, though the name has another address by then."""
    receiver = start(says(OK), tls=authority.server(HOST))
    other = start(says(OK), tls=authority.server(HOST), address="127.0.0.2", port=receiver.port)
    resolver = Resolver(["127.0.0.1"], ["127.0.0.2"])
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, None)
    outcome = post(f"https://{HOST}:{receiver.port}/", resolve=resolver, trust=authority.trust)
    assert outcome.status == 200
    assert (receiver.connections, other.connections) == (1, 0)
    assert resolver.asked == [HOST]


def test_an_address_in_the_url_is_not_resolved(called: list[tuple[str, int]]) -> None:
    resolver = Resolver(["127.0.0.1"])
    for url in ("https://1.1.1.1/", "https://[2606:4700::1111]/"):
        assert post(url, allow_loopback=False, resolve=resolver).error == "connection_failed"
    assert called == [("1.1.1.1", 443), ("2606:4700::1111", 443)]
    assert resolver.asked == []


def test_proxies_of_the_environment_are_ignored(
    start: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, receiver = start(says(OK)), start(says(OK))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{proxy.port}")
    assert post(f"http://127.0.0.1:{receiver.port}/").status == 200
    assert (proxy.connections, receiver.connections) == (0, 1)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_not_followed(start: Callable[..., Receiver], status: int) -> None:
    elsewhere = start(says(OK))
    location = f"location: http://127.0.0.1:{elsewhere.port}/\r\n".encode()
    outcome = answered(
        start, says(f"HTTP/1.1 {status} Moved\r\n".encode(), location, b"content-length: 0\r\n\r\n")
    ).outcome
    assert (outcome.status, outcome.error) == (status, None)
    assert elsewhere.connections == 0


def test_the_next_address_is_tried_when_one_takes_no_connection(start: Callable[..., Receiver]) -> None:
    receiver = start(says(OK))
    resolver = Resolver(["::1", "127.0.0.3", "127.0.0.1"])
    assert post(f"http://{HOST}:{receiver.port}/", resolve=resolver).status == 200
    assert resolver.asked == [HOST]


# --- What it sends ---------------------------------------------------------------------------------------------------


def test_the_request_carries_the_signed_headers_and_the_body_untouched(start: Callable[..., Receiver]) -> None:
    receiver = start(says(OK))
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


def test_a_body_arrives_whole_though_it_is_taken_slowly(start: Callable[..., Receiver], authority: Authority) -> None:
    body = b"0123456789" * 500_000

    def take(connection: socket.socket, wait: Callable[[float], bool]) -> None:
        wait(0.2)
        request = read_request(connection)
        connection.sendall(OK if request.endswith(b"\r\n\r\n" + body) else b"HTTP/1.1 400 Bad\r\n\r\n")

    for tls in (None, authority.server("127.0.0.1")):
        receiver = start(take, reads=False, tls=tls)
        scheme = "https" if tls else "http"
        transport = Transport(allow_loopback=True, trust=authority.trust)
        outcome = transport.post(f"{scheme}://127.0.0.1:{receiver.port}/", headers=HEADERS, body=body)
        assert outcome.status == 200


def test_the_certificate_and_sni_are_those_of_the_name(start: Callable[..., Receiver], authority: Authority) -> None:
    """Though the connection was made to an address."""
    asked_for: list[str | None] = []
    receiver = start(says(OK), tls=authority.server(HOST, sni=asked_for))
    url = f"https://{HOST.upper()}:{receiver.port}/"
    assert post(url, resolve=Resolver(["127.0.0.1"]), trust=authority.trust).status == 200
    assert asked_for == [HOST]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_an_address_can_be_certified_too(start: Callable[..., Receiver], authority: Authority, address: str) -> None:
    receiver = start(says(OK), tls=authority.server(address), address=address)
    host = f"[{address}]" if ":" in address else address
    assert post(f"https://{host}:{receiver.port}/", trust=authority.trust).status == 200
    assert f"host: {host}:{receiver.port}\r\n".encode() in receiver.requests[0].lower()


def test_a_wrong_certificate_ends_the_attempt_before_anything_is_sent(
    start: Callable[..., Receiver], authority: Authority
) -> None:
    servers = {
        "another name": authority.server("other.example"),
        "the address, not the name": authority.server("127.0.0.1"),
        "a wildcard of another depth": authority.server("*.receiver.example"),
        "expired": authority.server(HOST, days=-1),
        "another authority": Authority().server(HOST),
        "another authority of that name": Authority("authority").server(HOST),
    }
    for kind, tls in servers.items():
        receiver = start(says(OK), tls=tls)
        outcome = post(f"https://{HOST}:{receiver.port}/", resolve=Resolver(["127.0.0.1"]), trust=authority.trust)
        assert (outcome.status, outcome.error) == (None, "certificate_refused"), kind
        assert (receiver.connections, receiver.requests) == (1, []), kind


def test_no_private_authority_is_trusted_by_default(start: Callable[..., Receiver], authority: Authority) -> None:
    receiver = start(says(OK), tls=authority.server(HOST))
    outcome = post(f"https://{HOST}:{receiver.port}/", resolve=Resolver(["127.0.0.1"]))
    assert (outcome.error, receiver.requests) == ("certificate_refused", [])
    assert Transport().trust.verify_mode == ssl.CERT_REQUIRED
    assert Transport().trust.check_hostname
    assert Transport().trust.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_receiver_without_tls_gets_nothing_over_https(start: Callable[..., Receiver]) -> None:
    receiver = start(says(OK), reads=False)
    outcome = post(f"https://{HOST}:{receiver.port}/", resolve=Resolver(["127.0.0.1"]))
    assert (outcome.error, receiver.requests) == ("tls_failed", [])


# --- What it makes of an answer --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 202, 204, 400, 404, 410, 429, 500, 503])
def test_the_status_is_the_outcome(start: Callable[..., Receiver], status: int) -> None:
    attempt = answered(start, says(f"HTTP/1.1 {status} Whatever\r\ncontent-length: 0\r\n\r\n".encode()))
    assert (attempt.outcome.status, attempt.outcome.error) == (status, None)
    assert 0 <= attempt.outcome.latency_ms <= attempt.seconds * 1_000 + 1


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
def test_the_body_is_read_however_it_is_framed(start: Callable[..., Receiver], answer: bytes) -> None:
    outcome = answered(start, says(answer)).outcome
    assert (outcome.status, outcome.excerpt) == (200, "hello")


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
def test_the_excerpt_is_short_and_safe_to_print(start: Callable[..., Receiver], body: bytes, kept: str | None) -> None:
    outcome = answered(start, says(b"HTTP/1.1 500 Oops\r\n\r\n", body)).outcome
    assert outcome.excerpt == excerpt(body)
    assert outcome.excerpt.isprintable()
    assert len(outcome.excerpt) <= EXCERPT_LIMIT
    assert kept is None or outcome.excerpt == kept


@pytest.mark.parametrize(
    ("value", "kept"),
    [("999999", "999999"), ("Fri, 06 Nov 2026 08:49:37 GMT", "Fri, 06 Nov 2026 08:49:37 GMT"), ("9" * 500, "9" * 64)],
)
def test_retry_after_is_handed_on(start: Callable[..., Receiver], value: str, kept: str) -> None:
    head = f"HTTP/1.1 429 Slow Down\r\nRetry-After: {value}\r\ncontent-length: 0\r\n\r\n".encode()
    outcome = answered(start, says(head)).outcome
    assert (outcome.status, outcome.retry_after) == (429, kept)


def test_without_retry_after_there_is_none(start: Callable[..., Receiver]) -> None:
    assert answered(start, says(OK)).outcome.retry_after is None


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
def test_an_answer_that_is_cut_off_or_no_http_is_an_error(start: Callable[..., Receiver], answer: bytes) -> None:
    attempt = answered(start, says(answer))
    assert (attempt.outcome.status, attempt.outcome.error) == (None, "answer_unreadable")
    assert attempt.outcome.excerpt == ""


def test_a_long_head_is_read(start: Callable[..., Receiver]) -> None:
    """Policies and cookies of ordinary servers can fill kilobytes."""
    cookies = b"set-cookie: " + b"x" * 900 + b"\r\n"
    outcome = answered(start, says(b"HTTP/1.1 200 OK\r\n", cookies * 30, b"\r\nhello")).outcome
    assert (outcome.status, outcome.excerpt) == (200, "hello")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 202 Accepted\r\ncontent-length: 100\r\n\r\nhel",
        b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\nnonsense",
    ],
)
def test_a_status_counts_though_the_body_breaks_off(start: Callable[..., Receiver], answer: bytes) -> None:
    """The receiver has said what it thinks of the delivery; the body is for the log."""
    outcome = answered(start, says(answer)).outcome
    assert (outcome.status, outcome.error, outcome.excerpt) == (202, None, "hel")


# --- The deadline ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        hangs(),
        hangs(b"HTTP/1.1 200 OK\r\ncontent-le"),
        drips(drop=b"H"),
        drips(b"HTTP/1.1 200 OK\r\nx: ", drop=b"x"),
        drips(b"HTTP/1.1 200 OK\r\n", drop=b"x: y\r\n"),
        drips(drop=b"HTTP/1.1 100 Continue\r\n\r\n"),
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
def test_no_answer_within_the_deadline_is_an_error(start: Callable[..., Receiver], answer: Callable[..., None]) -> None:
    """However often a byte comes."""
    attempt = answered(start, answer, deadline_seconds=DEADLINE)
    assert (attempt.outcome.status, attempt.outcome.error) == (None, "timed_out")
    assert DEADLINE <= attempt.seconds < PATIENCE


@pytest.mark.parametrize("answer", [hangs(OK[:-1]), drips(b"HTTP/1.1 200 OK\r\n\r\no")], ids=["hangs", "drips"])
def test_a_slow_body_does_not_extend_the_deadline(start: Callable[..., Receiver], answer: Callable[..., None]) -> None:
    attempt = answered(start, answer, deadline_seconds=DEADLINE)
    assert (attempt.outcome.status, attempt.outcome.error) == (200, None)
    assert attempt.outcome.excerpt.startswith("o")
    assert DEADLINE <= attempt.seconds < PATIENCE
    assert DEADLINE * 1_000 <= attempt.outcome.latency_ms < PATIENCE * 1_000


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        (floods(b"HTTP/1.1 200 OK\r\n\r\n", drop=b"x" * 65_536), 200, None),
        (floods(b"HTTP/1.1 500 Oops\r\ncontent-length: 10000000000\r\n\r\n", drop=b"x" * 65_536), 500, None),
        (floods(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", drop=b"1\r\nx\r\n" * 10_000), 200, None),
        (floods(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", drop=b"x" * 65_536), 200, None),
        (floods(drop=b"x" * 65_536), None, "answer_unreadable"),
        (floods(b"HTTP/1.1 200 OK\r\nx: ", drop=b"x" * 65_536), None, "answer_unreadable"),
        (floods(b"HTTP/1.1 200 OK\r\n", drop=b"x: y\r\n" * 10_000), None, "answer_unreadable"),
        (floods(drop=b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000), None, "answer_unreadable"),
    ],
    ids=["body", "long body", "chunks", "chunk extension", "no http", "header", "headers", "informational answers"],
)
def test_an_answer_without_end_is_cut_short(
    start: Callable[..., Receiver], answer: Callable[..., None], status: int | None, error: str | None
) -> None:
    """Long before the deadline, and in little memory."""
    tracemalloc.start()
    try:
        attempt = answered(start, answer, deadline_seconds=30.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (attempt.outcome.status, attempt.outcome.error) == (status, error)
    assert attempt.seconds < 10
    assert peak < 40 * (HEAD_LIMIT + BODY_LIMIT)


def test_a_handshake_that_hangs_ends_at_the_deadline(start: Callable[..., Receiver]) -> None:
    for answer in (hangs(), drips(b"\x16\x03\x03\x40\x00", drop=b"\x00")):
        receiver = start(answer, reads=False)
        began = time.monotonic()
        outcome = post(f"https://127.0.0.1:{receiver.port}/", deadline_seconds=DEADLINE)
        assert outcome.error == "timed_out"
        assert time.monotonic() - began < PATIENCE


def test_dripping_within_tls_does_not_extend_the_deadline(start: Callable[..., Receiver], authority: Authority) -> None:
    receiver = start(drips(b"HTTP/1.1 200 OK\r\nx: "), tls=authority.server("127.0.0.1"))
    began = time.monotonic()
    outcome = post(f"https://127.0.0.1:{receiver.port}/", trust=authority.trust, deadline_seconds=DEADLINE)
    assert outcome.error == "timed_out"
    assert time.monotonic() - began < PATIENCE


def test_a_flood_within_tls_does_not_extend_the_deadline(start: Callable[..., Receiver], authority: Authority) -> None:
    """Records that carry no data, such as session tickets, come faster than they are read."""
    tls, trust = authority.server("127.0.0.1"), authority.trust
    tls.num_tickets = 5_000
    trust._msg_callback = lambda *_: time.sleep(0.002)  # what a slow machine takes for each
    receiver = start(hangs(), tls=tls)
    began = time.monotonic()
    outcome = post(f"https://127.0.0.1:{receiver.port}/", trust=trust, deadline_seconds=DEADLINE)
    assert outcome.error == "timed_out"
    assert time.monotonic() - began < PATIENCE


def test_a_receiver_that_does_not_read_ends_at_the_deadline(start: Callable[..., Receiver]) -> None:
    receiver = start(hangs(), reads=False)
    began = time.monotonic()
    transport = Transport(allow_loopback=True, deadline_seconds=DEADLINE)
    outcome = transport.post(f"http://127.0.0.1:{receiver.port}/", headers=HEADERS, body=bytes(50_000_000))
    assert outcome.error == "timed_out"
    assert time.monotonic() - began < PATIENCE


def test_a_resolver_that_hangs_ends_at_the_deadline() -> None:
    release = threading.Event()

    def resolve(_host: str) -> list[str]:
        release.wait(30)
        return ["127.0.0.1"]

    began = time.monotonic()
    outcome = post(f"http://{HOST}:1/", resolve=resolve, deadline_seconds=DEADLINE)
    release.set()
    assert outcome.error == "timed_out"
    assert DEADLINE <= time.monotonic() - began < PATIENCE


def test_an_address_that_does_not_answer_leaves_time_for_the_next(
    start: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = start(says(OK))
    connect = socket.socket.connect

    def connect_or_time_out(self: socket.socket, address: tuple[str, int]) -> None:
        if address[0] != "127.0.0.1":
            time.sleep(self.gettimeout() or 30)
            raise TimeoutError
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_or_time_out)
    resolver = Resolver(["127.0.0.2", "127.0.0.3", "127.0.0.1"])
    outcome = post(f"http://{HOST}:{receiver.port}/", resolve=resolver, deadline_seconds=2.4)
    assert outcome.status == 200
    assert 1_500 <= outcome.latency_ms < 2_400


def test_a_name_with_very_many_addresses_is_checked_whole_but_not_tried_for_ever(called: list[tuple[str, int]]) -> None:
    many = [f"1.1.{high}.{low}" for high in range(4) for low in range(1, 200)]
    assert post(f"https://{HOST}/", resolve=Resolver(many)).error == "connection_failed"
    assert called == [(address, 443) for address in many[:4]]
    called.clear()
    assert post(f"https://{HOST}/", resolve=Resolver([*many, "10.0.0.1"])).error == "url_refused"
    assert called == []


# --- What may go wrong besides ---------------------------------------------------------------------------------------


def test_a_closed_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert post(f"http://127.0.0.1:{port}/").error == "connection_failed"


def test_a_reset_connection_is_an_error(start: Callable[..., Receiver]) -> None:
    def reset(connection: socket.socket, _wait: Callable[[float], bool]) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")

    assert answered(start, reset).outcome.error == "connection_failed"


def test_a_name_that_does_not_exist_is_an_error() -> None:
    def resolve(_host: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert post(f"https://{HOST}/", resolve=resolve).error == "name_not_resolved"


def test_the_system_resolves_names_absolutely(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search domain of the network must not complete a client's name."""
    asked: list[bytes] = []

    def getaddrinfo(host: bytes, *_: object, **__: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert system_addresses(HOST) == ["1.1.1.1"]
    assert asked == [b"receiver.example."]


def test_the_system_resolves_localhost() -> None:
    assert set(system_addresses("localhost")) <= {"127.0.0.1", "::1"}
