"""Tokens: what is minted verifies, and nothing else does."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from shared.errors import InsufficientScope, Unauthorized
from shared.tokens import Minter, Verifier, jwks

ISSUER = "https://api.example"
PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
DER = PRIVATE.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
PEM = PRIVATE.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def sign(message: bytes) -> bytes:
    return PRIVATE.sign(message, padding.PKCS1v15(), hashes.SHA256())


MINTER = Minter(issuer=ISSUER, key_id="k1", sign=sign)
VERIFIER = Verifier(issuer=ISSUER, public_keys={"k1": DER})


def minted(now: int | None = None) -> str:
    return MINTER.mint(client_id="c_1", scope="jobs:read jobs:write", now=now or int(time.time()))


def forged(header: dict[str, Any] | None = None, key: Any = PRIVATE, algorithm: str = "RS256", **claims: Any) -> str:
    """A token like a minted one but for what is given; a claim of None is left out."""
    now = int(time.time())
    payload = {
        "iss": ISSUER, "sub": "c_1", "aud": ISSUER, "client_id": "c_1", "scope": "jobs:read",
        "iat": now, "exp": now + 60, "jti": "x", **claims,
    }  # fmt: skip
    payload = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(payload, key, algorithm=algorithm, headers={"typ": "at+jwt", "kid": "k1", **(header or {})})


def test_minted_token_verifies() -> None:
    """The verifier accepts what the minter mints, and reads client and scopes from it."""
    principal = VERIFIER.authenticate(f"Bearer {minted()}")
    assert principal.client_id == "c_1"
    assert principal.scopes == {"jobs:read", "jobs:write"}


def test_minted_token_follows_rfc_9068() -> None:
    token = minted()
    header = jwt.get_unverified_header(token)
    assert header == {"typ": "at+jwt", "alg": "RS256", "kid": "k1"}
    claims = jwt.decode(token, options={"verify_signature": False})
    assert set(claims) == {"iss", "sub", "aud", "client_id", "scope", "iat", "exp", "jti"}
    assert claims["exp"] - claims["iat"] == 3600


def test_a_well_formed_forgery_is_accepted_by_the_helper() -> None:
    """So that each refusal below is due to the one thing that it changes."""
    assert VERIFIER.authenticate(f"Bearer {forged()}").client_id == "c_1"


def hs256_with_the_public_key() -> str:
    """The classic confusion: an HMAC keyed by the public key. PyJWT refuses to make one, so it is made by hand."""
    import hashlib
    import hmac

    def encode(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    now = int(time.time())
    header = encode(json.dumps({"typ": "at+jwt", "alg": "HS256", "kid": "k1"}).encode())
    claims = {
        "iss": ISSUER,
        "sub": "c",
        "aud": ISSUER,
        "client_id": "c",
        "scope": "",
        "iat": now,
        "exp": now + 9,
        "jti": "x",
    }
    signed = f"{header}.{encode(json.dumps(claims).encode())}"
    return f"{signed}.{encode(hmac.new(PEM, signed.encode(), hashlib.sha256).digest())}"


REFUSED = {
    "expired": lambda: minted(int(time.time()) - 3700),
    "no exp": lambda: forged(exp=None),
    "no jti": lambda: forged(jti=None),
    "other audience": lambda: forged(aud="https://other.example"),
    "no audience": lambda: forged(aud=None),
    "other issuer": lambda: forged(iss="https://other.example"),
    "type JWT": lambda: forged({"typ": "JWT"}),
    "no type": lambda: forged({"typ": None}),
    "unknown key": lambda: forged({"kid": "k2"}),
    "alg none": lambda: forged(key=None, algorithm="none"),
    "HS256 with the public key": hs256_with_the_public_key,
    "another private key": lambda: forged(key=rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    "RS512": lambda: forged(algorithm="RS512"),
    "issued in the future": lambda: forged(iat=int(time.time()) + 600),
    "client id of a number": lambda: forged(client_id=7),
    "a tampered signature": lambda: minted()[:-8] + "AAAAAAAA",
    "two segments": lambda: minted().rpartition(".")[0],
    "not a token": lambda: "x",
    "not ASCII": lambda: "é.é.é",
    "deep claims": lambda: "e30." + base64.urlsafe_b64encode(b"[" * 100_000).decode() + ".x",
    "deep header": lambda: base64.urlsafe_b64encode(b"[" * 100_000).decode() + ".e30.x",
}


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_everything_else_is_refused(name: str) -> None:
    with pytest.raises(Unauthorized) as refused:
        VERIFIER.authenticate(f"Bearer {REFUSED[name]()}")
    assert refused.value.headers["www-authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic eDp5", "bearer"])
def test_no_token_is_challenged_without_an_error_code(header: str | None) -> None:
    """RFC 6750, section 3.1: a request without authentication information gets no error code."""
    with pytest.raises(Unauthorized) as refused:
        VERIFIER.authenticate(header)
    assert refused.value.headers["www-authenticate"] == "Bearer"


def test_missing_scope_is_named() -> None:
    principal = VERIFIER.authenticate(f"Bearer {forged()}")
    principal.require("jobs:read")
    with pytest.raises(InsufficientScope) as refused:
        principal.require("jobs:write")
    assert 'scope="jobs:write"' in refused.value.headers["www-authenticate"]


def test_key_set_verifies_a_token() -> None:
    """A stranger with the JWKS alone can verify a token."""
    (key,) = jwks({"k1": DER})["keys"]
    assert (key["kid"], key["use"], key["alg"], key["kty"]) == ("k1", "sig", "RS256", "RSA")
    claims = jwt.decode(minted(), jwt.PyJWK(key), algorithms=["RS256"], audience=ISSUER)
    assert claims["client_id"] == "c_1"
