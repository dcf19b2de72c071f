"""Access tokens: the verifier accepts the issuer's tokens and refuses everything else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from shared.auth.tokens import TokenIssuer, TokenVerifier, key_set
from shared.errors import InsufficientScope, Unauthorized

URL = "https://api.example"
PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
DER = PRIVATE.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
PEM = PRIVATE.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def sign(message: bytes) -> bytes:
    return PRIVATE.sign(message, padding.PKCS1v15(), hashes.SHA256())


ISSUER = TokenIssuer(issuer=URL, key_id="k1", sign=sign)
VERIFIER = TokenVerifier(issuer=URL, public_keys={"k1": DER})


def issue(now: int | None = None) -> str:
    return ISSUER.issue(client_id="c_1", scope="jobs:read jobs:write", now=now or int(time.time()))


def forge(header: dict[str, Any] | None = None, key: Any = PRIVATE, algorithm: str = "RS256", **claims: Any) -> str:
    """Return a valid token with some changes. A claim of None is left out."""
    now = int(time.time())
    payload = {
        "iss": URL, "sub": "c_1", "aud": URL, "client_id": "c_1", "scope": "jobs:read",
        "iat": now, "exp": now + 60, "jti": "x", **claims,
    }  # fmt: skip
    payload = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(payload, key, algorithm=algorithm, headers={"typ": "at+jwt", "kid": "k1", **(header or {})})


def test_issued_token_verifies() -> None:
    """The verifier reads the client and the scopes from the token."""
    principal = VERIFIER.authenticate(f"Bearer {issue()}")
    assert principal.client_id == "c_1"
    assert principal.scopes == {"jobs:read", "jobs:write"}


def test_issued_token_follows_rfc_9068() -> None:
    token = issue()
    header = jwt.get_unverified_header(token)
    assert header == {"typ": "at+jwt", "alg": "RS256", "kid": "k1"}
    claims = jwt.decode(token, options={"verify_signature": False})
    assert set(claims) == {"iss", "sub", "aud", "client_id", "scope", "iat", "exp", "jti"}
    assert claims["exp"] - claims["iat"] == 3600


def test_forged_token_without_a_change_verifies() -> None:
    """So each refusal below has one reason: the change that the test makes."""
    assert VERIFIER.authenticate(f"Bearer {forge()}").client_id == "c_1"


def forge_hs256_with_the_public_key() -> str:
    """Return a token whose HMAC is keyed by the public key, an algorithm confusion. PyJWT refuses to make one."""

    def encode(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    now = int(time.time())
    header = encode(json.dumps({"typ": "at+jwt", "alg": "HS256", "kid": "k1"}).encode())
    claims = {
        "iss": URL, "sub": "c", "aud": URL, "client_id": "c", "scope": "", "iat": now, "exp": now + 9, "jti": "x",
    }  # fmt: skip
    content = f"{header}.{encode(json.dumps(claims).encode())}"
    return f"{content}.{encode(hmac.new(PEM, content.encode(), hashlib.sha256).digest())}"


REFUSED: dict[str, Callable[[], str]] = {
    "expired": lambda: issue(int(time.time()) - 3700),
    "no exp": lambda: forge(exp=None),
    "no jti": lambda: forge(jti=None),
    "other audience": lambda: forge(aud="https://other.example"),
    "no audience": lambda: forge(aud=None),
    "other issuer": lambda: forge(iss="https://other.example"),
    "type JWT": lambda: forge({"typ": "JWT"}),
    "no type": lambda: forge({"typ": None}),
    "unknown key": lambda: forge({"kid": "k2"}),
    "alg none": lambda: forge(key=None, algorithm="none"),
    "HS256 with the public key": forge_hs256_with_the_public_key,
    "another private key": lambda: forge(key=rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    "RS512": lambda: forge(algorithm="RS512"),
    "issued in the future": lambda: forge(iat=int(time.time()) + 600),
    "client id is a number": lambda: forge(client_id=7),
    "changed signature": lambda: issue()[:-8] + "AAAAAAAA",
    "two segments": lambda: issue().rpartition(".")[0],
    "not a token": lambda: "x",
    "not ASCII": lambda: "é.é.é",
    "deep claims": lambda: "e30." + base64.urlsafe_b64encode(b"[" * 100_000).decode() + ".x",
    "deep header": lambda: base64.urlsafe_b64encode(b"[" * 100_000).decode() + ".e30.x",
}


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_every_other_token_is_refused(name: str) -> None:
    with pytest.raises(Unauthorized) as refusal:
        VERIFIER.authenticate(f"Bearer {REFUSED[name]()}")
    assert refusal.value.headers["www-authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic eDp5", "bearer"])
def test_missing_token_is_challenged_without_an_error_code(header: str | None) -> None:
    """RFC 6750, section 3.1: a request without authentication information gets no error code."""
    with pytest.raises(Unauthorized) as refusal:
        VERIFIER.authenticate(header)
    assert refusal.value.headers["www-authenticate"] == "Bearer"


def test_refusal_names_the_missing_scope() -> None:
    principal = VERIFIER.authenticate(f"Bearer {forge()}")
    principal.require("jobs:read")
    with pytest.raises(InsufficientScope) as refusal:
        principal.require("jobs:write")
    assert 'scope="jobs:write"' in refusal.value.headers["www-authenticate"]


def test_key_set_suffices_to_verify_a_token() -> None:
    (key,) = key_set({"k1": DER})["keys"]
    assert (key["kid"], key["use"], key["alg"], key["kty"]) == ("k1", "sig", "RS256", "RSA")
    claims = jwt.decode(issue(), jwt.PyJWK(key), algorithms=["RS256"], audience=URL)
    assert claims["client_id"] == "c_1"
