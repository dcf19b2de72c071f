"""Receivers of webhooks on loopback ports, mostly ill-behaved, and the authority that certifies them."""

from __future__ import annotations

import ipaddress
import itertools
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = "127.0.0.1"


@dataclass
class Receiver:
    """Hands each connection, its request read, to `answer`; `wait(seconds)` there ends early, with True, at the end.

    With `reads` false it hands over the connection as it came.
    """

    answer: Callable[[socket.socket, Callable[[float], bool]], None]
    tls: ssl.SSLContext | None = None
    reads: bool = True
    address: str = LOOPBACK
    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)

    def __enter__(self) -> Receiver:
        """Listen."""
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        self._listener = socket.create_server((self.address, self.port), family=family)
        self.port = self._listener.getsockname()[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="receiver")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self._stop.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            # A client that hangs up, as one that does not like the certificate, is nothing to remark on.
            with suppress(OSError), closing(connection):
                connection.settimeout(10)
                self._handle(connection)

    def _handle(self, connection: socket.socket) -> None:
        if self.tls is not None:
            with self.tls.wrap_socket(connection, server_side=True) as encrypted:
                self._respond(encrypted)
        else:
            self._respond(connection)

    def _respond(self, connection: socket.socket) -> None:
        if self.reads:
            self.requests.append(read_request(connection))
        self.answer(connection, self._stop.wait)


def read_request(connection: socket.socket) -> bytes:
    """Read one request with a `content-length`."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    while len(body) < length:
        body += _some(connection)
    return head + b"\r\n\r\n" + body


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    if not data:
        raise ConnectionError("The client hung up")
    return data


def says(*parts: bytes) -> Callable[..., None]:
    """Answers with `parts` and hangs up."""
    return lambda connection, wait: connection.sendall(b"".join(parts))


def drips(*parts: bytes, drop: bytes = b"x", seconds: float = 0.05) -> Callable[..., None]:
    """Answers with `parts`, then with `drop` again and again, a pause before each."""

    def answer(connection: socket.socket, wait: Callable[[float], bool]) -> None:
        connection.sendall(b"".join(parts))
        while not wait(seconds):
            connection.sendall(drop)

    return answer


def floods(*parts: bytes, drop: bytes) -> Callable[..., None]:
    """Answers with `parts`, then with `drop` without end."""
    return drips(*parts, drop=drop, seconds=0)


def hangs(*parts: bytes) -> Callable[..., None]:
    """Answers with `parts` and then no more."""

    def answer(connection: socket.socket, wait: Callable[[float], bool]) -> None:
        connection.sendall(b"".join(parts))
        wait(30)

    return answer


class Authority:
    """A certificate authority for one run of the tests."""

    def __init__(self, name: str = "authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = self._certify(
            self._name, self._key, (_usage(), x509.BasicConstraints(ca=True, path_length=0))
        )

    @property
    def trust(self) -> ssl.SSLContext:
        """What a client needs that trusts this authority and no other."""
        return ssl.create_default_context(cadata=_pem(self._certificate).decode())

    def server(self, *names: str, days: int = 1, sni: list[str | None] | None = None) -> ssl.SSLContext:
        """What a server of these names or addresses needs; `sni` collects the names that its clients ask for.

        With a negative number of `days` the certificate has expired.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        certificate = self._certify(subject, key, (alternatives,), days=days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            chain = Path(folder, "chain.pem")
            chain.write_bytes(_private_pem(key) + _pem(certificate))
            context.load_cert_chain(chain)
        context.sni_callback = lambda _connection, name, _context: None if sni is None else sni.append(name)
        return context

    def _certify(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        extensions: tuple[x509.ExtensionType, ...],
        *,
        days: int = 1,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=10))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=not isinstance(extension, x509.SubjectAlternativeName))
        return builder.sign(self._key, hashes.SHA256())


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage() -> x509.KeyUsage:
    uses = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    uses += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{use: use in ("key_cert_sign", "crl_sign") for use in uses})


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Resolver:
    """Answers with one list of addresses after the other, the last one for ever, and remembers what it was asked."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = itertools.chain(answers, itertools.repeat(answers[-1]))
        self.asked: list[str] = []

    def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        return next(self._answers)


def running() -> Iterator[Callable[..., Receiver]]:
    """A way to start receivers, which hang up in the end."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(Receiver(*arguments, **options))
