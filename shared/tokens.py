"""Access tokens: JSON Web Tokens (RFC 9068) signed by a key that never leaves KMS.

The only module that imports `jwt`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from jwt.algorithms import RSAAlgorithm

from shared import aws
from shared.errors import InsufficientScope, Unauthorized

ALGORITHM = "RS256"
TOKEN_TYPE = "at+jwt"  # noqa: S105 (RFC 9068, section 2.1: a media type, not a secret)
LIFETIME_SECONDS = 3600
CLOCK_SKEW_SECONDS = 5
SCOPES = ("jobs:read", "jobs:write")
_REQUIRED_CLAIMS = ["iss", "sub", "aud", "client_id", "scope", "iat", "exp", "jti"]


class KmsSigner:
    """Signs with a key in KMS, `RSASSA_PKCS1_V1_5_SHA_256`."""

    def __init__(self, key_arn: str) -> None:
        """Of the asymmetric KMS key `key_arn`; the AWS client is built at first use."""
        self._key_arn = key_arn

    def __call__(self, message: bytes) -> bytes:
        """Sign `message`, at most 4,096 bytes long; the signature has 256 bytes.

        Raises:
            Transient: when KMS is busy or away.
        """
        with aws.translated("Signing the token"):
            answer = self._kms.sign(
                KeyId=self._key_arn,
                Message=message,
                MessageType="RAW",
                SigningAlgorithm="RSASSA_PKCS1_V1_5_SHA_256",
            )
        return bytes(answer["Signature"])

    @cached_property
    def _kms(self) -> Any:
        return aws.client("kms", read_timeout=3)


class _RemoteRSA(RSAAlgorithm):
    """PyJWT's RS256, whose key is a function that signs."""

    def __init__(self) -> None:
        super().__init__(RSAAlgorithm.SHA256)

    def prepare_key(self, key: Any) -> Any:
        return key

    def check_key_length(self, key: Any) -> str | None:  # noqa: ARG002 (PyJWT's signature)
        return None  # Terraform decides the length, KMS keeps it

    def sign(self, msg: bytes, key: Any) -> bytes:
        signature: bytes = key(msg)
        return signature


# An own instance, so that the algorithms of PyJWT's global one stay as they are.
_JWS = jwt.PyJWS(algorithms=[ALGORITHM])
_JWS.unregister_algorithm(ALGORITHM)
_JWS.register_algorithm(ALGORITHM, _RemoteRSA())


@dataclass(frozen=True)
class Minter:
    """Mints tokens whose issuer and audience are the API itself."""

    issuer: str
    key_id: str
    sign: Callable[[bytes], bytes]

    def mint(self, *, client_id: str, scope: str, now: int) -> str:
        """A signed token for `client_id`, valid from `now` (seconds) for an hour."""
        claims = {
            "iss": self.issuer,
            "sub": client_id,
            "aud": self.issuer,
            "client_id": client_id,
            "scope": scope,
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
            "jti": secrets.token_urlsafe(16),
        }
        header = {"typ": TOKEN_TYPE, "kid": self.key_id}
        payload = json.dumps(claims, separators=(",", ":")).encode()
        return _JWS.encode(payload, self.sign, algorithm=ALGORITHM, headers=header)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Principal:
    """Who is calling, according to a verified token."""

    client_id: str
    scopes: frozenset[str]

    def require(self, scope: str) -> None:
        """Raises InsufficientScope unless the token carries `scope`."""
        if scope not in self.scopes:
            challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
            raise InsufficientScope(f"This call needs the scope {scope}", headers={"www-authenticate": challenge})


class Verifier:
    """Verifies tokens locally, against keys that Terraform read from KMS."""

    def __init__(self, *, issuer: str, public_keys: Mapping[str, bytes]) -> None:
        """Trust `issuer`'s `public_keys`: `kid` → DER SubjectPublicKeyInfo."""
        self._issuer = issuer
        self._keys = public_keys

    def authenticate(self, authorization: str | None) -> Principal:
        """The principal behind an `Authorization` header (RFC 6750, section 2.1).

        Raises:
            Unauthorized: for anything but a token that this API minted and that is still valid.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized("Send `Authorization: Bearer <access token>`", headers=_challenge())
        try:
            claims = self._verified_claims(token.strip())
        except (jwt.PyJWTError, UnicodeError, RecursionError) as error:
            raise Unauthorized(f"The access token is refused: {error}", headers=_challenge(error)) from None
        return Principal(client_id=claims["client_id"], scopes=frozenset(claims["scope"].split()))

    def _verified_claims(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        if str(header.get("typ", "")).lower().removeprefix("application/") != TOKEN_TYPE:
            raise jwt.InvalidTokenError(f"its type is not {TOKEN_TYPE}")
        claims: dict[str, Any] = jwt.decode(
            token,
            key=self._key(header.get("kid")),
            algorithms=[ALGORITHM],
            audience=self._issuer,
            issuer=self._issuer,
            leeway=CLOCK_SKEW_SECONDS,
            options={"require": _REQUIRED_CLAIMS},
        )
        if not isinstance(claims["client_id"], str) or not isinstance(claims["scope"], str):
            raise jwt.InvalidTokenError("a claim has the wrong type")
        return claims

    def _key(self, key_id: object) -> RSAPublicKey:
        if not isinstance(key_id, str) or key_id not in self._keys:
            raise jwt.InvalidTokenError("its key is not known")
        return _public_key(self._keys[key_id])


def jwks(public_keys: Mapping[str, bytes]) -> dict[str, list[dict[str, Any]]]:
    """The JSON Web Key Set (RFC 7517, section 5) of `public_keys`: `kid` → DER SubjectPublicKeyInfo."""
    return {"keys": [_jwk(key_id, der) for key_id, der in public_keys.items()]}


def _jwk(key_id: str, der: bytes) -> dict[str, Any]:
    parameters = RSAAlgorithm.to_jwk(_public_key(der), as_dict=True)
    return {
        "kty": "RSA",
        "use": "sig",
        "alg": ALGORITHM,
        "kid": key_id,
        "n": parameters["n"],
        "e": parameters["e"],
    }


@cache
def _public_key(der: bytes) -> RSAPublicKey:
    key = load_der_public_key(der)
    if not isinstance(key, RSAPublicKey):
        raise TypeError(f"An RSA public key is needed, not {type(key).__name__}")
    return key


def _challenge(error: Exception | None = None) -> dict[str, str]:
    """`WWW-Authenticate` (RFC 6750, section 3): no error code when no token was sent."""
    return {"www-authenticate": "Bearer" if error is None else 'Bearer error="invalid_token"'}
