"""Receivers of webhooks on loopback ports, most of them ill-behaved, and the authority of their certificates."""

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
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = "127.0.0.1"

# A function that waits for a number of seconds, or until the receiver stops. It returns whether the receiver stops.
Wait = Callable[[float], bool]
Respond = Callable[[socket.socket, Wait], None]


@dataclass
class Receiver:
    """A server that passes each connection to `respond` after it has read the request.

    If `reads_request` is false, it passes the connection without reading.
    """

    respond: Respond
    tls_context: ssl.SSLContext | None = None
    reads_request: bool = True
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
        """Stop."""
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
            # A client may end the connection, for example because it refuses the certificate.
            with suppress(OSError), closing(connection):
                connection.settimeout(10)
                self._handle(connection)

    def _handle(self, connection: socket.socket) -> None:
        if self.tls_context is not None:
            with self.tls_context.wrap_socket(connection, server_side=True) as encrypted:
                self._read_and_respond(encrypted)
        else:
            self._read_and_respond(connection)

    def _read_and_respond(self, connection: socket.socket) -> None:
        if self.reads_request:
            self.requests.append(read_request(connection))
        self.respond(connection, self._stop.wait)


class StartReceiver(Protocol):
    """A function that starts a receiver. Its parameters are the fields of `Receiver`."""

    def __call__(
        self,
        respond: Respond,
        tls_context: ssl.SSLContext | None = None,
        reads_request: bool = True,
        address: str = LOOPBACK,
        port: int = 0,
    ) -> Receiver:
        """Start a receiver."""


def manage_receivers() -> Iterator[StartReceiver]:
    """Yield a function that starts receivers. Stop all of them at the end. Use it as a fixture."""
    with ExitStack() as stack:

        def start(
            respond: Respond,
            tls_context: ssl.SSLContext | None = None,
            reads_request: bool = True,
            address: str = LOOPBACK,
            port: int = 0,
        ) -> Receiver:
            return stack.enter_context(Receiver(respond, tls_context, reads_request, address, port))

        yield start


def read_request(connection: socket.socket) -> bytes:
    """Read one request with a `content-length`."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _receive(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    while len(body) < length:
        body += _receive(connection)
    return head + b"\r\n\r\n" + body


def _receive(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    if not data:
        raise ConnectionError("The client has ended the connection")
    return data


def reply(*parts: bytes) -> Respond:
    """Return a function that sends `parts` and ends the connection."""
    return lambda connection, wait: connection.sendall(b"".join(parts))


def drip(*parts: bytes, drop: bytes = b"x", seconds: float = 0.05) -> Respond:
    """Return a function that sends `parts`, and then `drop` every few `seconds`, without end."""

    def respond(connection: socket.socket, wait: Wait) -> None:
        connection.sendall(b"".join(parts))
        while not wait(seconds):
            connection.sendall(drop)

    return respond


def flood(*parts: bytes, drop: bytes) -> Respond:
    """Return a function that sends `parts`, and then `drop` without a pause and without end."""
    return drip(*parts, drop=drop, seconds=0)


def hang(*parts: bytes) -> Respond:
    """Return a function that sends `parts` and then nothing more."""

    def respond(connection: socket.socket, wait: Wait) -> None:
        connection.sendall(b"".join(parts))
        wait(30)

    return respond


class Authority:
    """A certificate authority for one run of the tests."""

    def __init__(self, name: str = "authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = self._certify(
            self._name, self._key, (_key_usage(), x509.BasicConstraints(ca=True, path_length=0))
        )

    def client_context(self) -> ssl.SSLContext:
        """Return the TLS context of a client that trusts only this authority."""
        return ssl.create_default_context(cadata=_encode_certificate(self._certificate).decode())

    def server_context(self, *names: str, days: int = 1, sni: list[str | None] | None = None) -> ssl.SSLContext:
        """Return the TLS context of a server with these names or addresses.

        Args:
            names: The names and addresses of the certificate.
            days: The days until the certificate expires. If the number is negative, it has expired.
            sni: A list to which the server adds the names that its clients ask for (RFC 6066, section 3).
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        certificate = self._certify(subject, key, (alternatives,), days=days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            chain = Path(folder, "chain.pem")
            chain.write_bytes(_encode_key(key) + _encode_certificate(certificate))
            context.load_cert_chain(chain)

        def record_name(_connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
            if sni is not None:
                sni.append(name)

        context.sni_callback = record_name
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


def _key_usage() -> x509.KeyUsage:
    uses = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{use: use in ("key_cert_sign", "crl_sign") for use in uses})


def _encode_certificate(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _encode_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Resolver:
    """A resolver that returns one list of addresses after the other, and the last one from then on.

    `asked` lists the names that it was asked for.
    """

    def __init__(self, *answers: list[str]) -> None:
        self._answers = itertools.chain(answers, itertools.repeat(answers[-1]))
        self.asked: list[str] = []

    def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        return next(self._answers)
