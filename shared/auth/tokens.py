"""Access tokens: JSON Web Tokens (RFC 9068), signed by a key that never leaves KMS. No other module imports `jwt`."""

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

from shared.aws.client import make_client, translate_errors
from shared.errors import InsufficientScope, Unauthorized

ALGORITHM = "RS256"
TOKEN_TYPE = "at+jwt"  # noqa: S105 (RFC 9068, section 2.1: a media type, not a secret)
LIFETIME_SECONDS = 3600
CLOCK_SKEW_SECONDS = 5
SCOPES = ("jobs:read", "jobs:write")
_REQUIRED_CLAIMS = ["iss", "sub", "aud", "client_id", "scope", "iat", "exp", "jti"]


class KmsSigner:
    """A function that signs with a KMS key (`RSASSA_PKCS1_V1_5_SHA_256`)."""

    def __init__(self, key_arn: str) -> None:
        """Use the asymmetric key `key_arn`. The AWS client is built at first use."""
        self._key_arn = key_arn

    def __call__(self, message: bytes) -> bytes:
        """Return the signature of `message`. The message may have 4,096 bytes; the signature has 256.

        Raises:
            Transient: If KMS is throttled or unreachable.
        """
        with translate_errors("Signing the token"):
            answer = self._kms.sign(
                KeyId=self._key_arn,
                Message=message,
                MessageType="RAW",
                SigningAlgorithm="RSASSA_PKCS1_V1_5_SHA_256",
            )
        return bytes(answer["Signature"])

    @cached_property
    def _kms(self) -> Any:
        return make_client("kms", read_timeout=3)


class _RemoteRSA(RSAAlgorithm):
    """PyJWT's algorithm RS256 with a function that signs in place of a key."""

    def __init__(self) -> None:
        super().__init__(RSAAlgorithm.SHA256)

    def prepare_key(self, key: Any) -> Any:
        return key

    def check_key_length(self, key: Any) -> str | None:  # noqa: ARG002 (PyJWT's signature)
        return None  # Terraform sets the length

    def sign(self, msg: bytes, key: Any) -> bytes:
        signature: bytes = key(msg)
        return signature


# A separate instance leaves the algorithms of PyJWT's global one unchanged.
_JWS = jwt.PyJWS(algorithms=[ALGORITHM])
_JWS.unregister_algorithm(ALGORITHM)
_JWS.register_algorithm(ALGORITHM, _RemoteRSA())


@dataclass(frozen=True)
class TokenIssuer:
    """The issuer of access tokens. The API is both the issuer and the audience."""

    issuer: str
    key_id: str
    sign: Callable[[bytes], bytes]

    def issue(self, *, client_id: str, scope: str, now: int) -> str:
        """Return a signed token for `client_id` that is valid for an hour from `now` (seconds since the epoch)."""
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
    """The caller, according to a verified token."""

    client_id: str
    scopes: frozenset[str]

    def require(self, scope: str) -> None:
        """Check that the token carries `scope`.

        Raises:
            InsufficientScope: If it does not.
        """
        if scope not in self.scopes:
            challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
            raise InsufficientScope(f"This call needs the scope {scope}", headers={"www-authenticate": challenge})


class TokenVerifier:
    """A verifier of access tokens. It needs no network: Terraform passes the public keys to the function."""

    def __init__(self, *, issuer: str, public_keys: Mapping[str, bytes]) -> None:
        """Trust `issuer`'s `public_keys`: `kid` → DER SubjectPublicKeyInfo."""
        self._issuer = issuer
        self._keys = public_keys

    def authenticate(self, authorization: str | None) -> Principal:
        """Return the caller that an `Authorization` header names (RFC 6750, section 2.1).

        Raises:
            Unauthorized: If the header holds no valid token that this API issued.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized("Send `Authorization: Bearer <access token>`", headers=_challenge())
        try:
            claims = self._verify(token.strip())
        except (jwt.PyJWTError, UnicodeError, RecursionError) as error:
            raise Unauthorized(f"The access token is refused: {error}", headers=_challenge(error)) from None
        return Principal(client_id=claims["client_id"], scopes=frozenset(claims["scope"].split()))

    def _verify(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        if str(header.get("typ", "")).lower().removeprefix("application/") != TOKEN_TYPE:
            raise jwt.InvalidTokenError(f"its type is not {TOKEN_TYPE}")
        claims: dict[str, Any] = jwt.decode(
            token,
            key=self._public_key(header.get("kid")),
            algorithms=[ALGORITHM],
            audience=self._issuer,
            issuer=self._issuer,
            leeway=CLOCK_SKEW_SECONDS,
            options={"require": _REQUIRED_CLAIMS},
        )
        if not isinstance(claims["client_id"], str) or not isinstance(claims["scope"], str):
            raise jwt.InvalidTokenError("a claim has the wrong type")
        return claims

    def _public_key(self, key_id: object) -> RSAPublicKey:
        if not isinstance(key_id, str) or key_id not in self._keys:
            raise jwt.InvalidTokenError("its key is not known")
        return _load_public_key(self._keys[key_id])


def key_set(public_keys: Mapping[str, bytes]) -> dict[str, list[dict[str, Any]]]:
    """Return the JSON Web Key Set (RFC 7517, section 5) of `public_keys`: `kid` → DER SubjectPublicKeyInfo."""
    return {"keys": [_jwk(key_id, der) for key_id, der in public_keys.items()]}


def _jwk(key_id: str, der: bytes) -> dict[str, Any]:
    parameters = RSAAlgorithm.to_jwk(_load_public_key(der), as_dict=True)
    return {
        "kty": "RSA",
        "use": "sig",
        "alg": ALGORITHM,
        "kid": key_id,
        "n": parameters["n"],
        "e": parameters["e"],
    }


@cache
def _load_public_key(der: bytes) -> RSAPublicKey:
    key = load_der_public_key(der)
    if not isinstance(key, RSAPublicKey):
        raise TypeError(f"The key must be an RSA public key, not {type(key).__name__}")
    return key


def _challenge(error: Exception | None = None) -> dict[str, str]:
    """Return the header `WWW-Authenticate` (RFC 6750, section 3). It has no error code if no token was sent."""
    return {"www-authenticate": "Bearer" if error is None else 'Bearer error="invalid_token"'}
