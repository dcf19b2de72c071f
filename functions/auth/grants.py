"""Authenticate a client and grant it a token (RFC 6749, sections 2.3.1, 4.4 and 5)."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote_plus

from shared.clients import Client, secret_matches
from shared.errors import (
    OAuthInvalidClient,
    OAuthInvalidRequest,
    OAuthInvalidScope,
    OAuthUnsupportedGrant,
)
from shared.log import logger
from shared.models import Warmth
from shared.tokens import LIFETIME_SECONDS, SCOPES, Minter

FORM = "application/x-www-form-urlencoded"
WARM_UP_PATIENCE_SECONDS = 1.5  # how long a token waits for its warm-up to be under way
_CLIENT_ID = re.compile(r"[\x21-\x7e]{1,128}")
_NOBODY = "nobody"  # looked up in place of an id that cannot exist, so that the work done is the same
_UNKNOWN = Warmth(state="cold", ready_in_seconds=None, environments=0)


class Clients(Protocol):
    """Where clients are kept."""

    def get(self, client_id: str) -> Client | None:
        """The client, None when there is none."""


@dataclass(frozen=True)
class Grants:
    """The token endpoint; `warm_up` begins a round for a client when one is due and says how warm the worker is."""

    clients: Clients
    minter: Minter
    warm_up: Callable[[Client], Warmth]

    def token(self, *, body: str, content_type: str, authorization: str | None, now: int) -> dict[str, Any]:
        """The answer to a token request: RFC 6749, section 5.1, and the member `worker`.

        Raises:
            OAuthError: with the code of RFC 6749, section 5.2.
            Transient: when a service is busy or away.
        """
        parameters = _parameters(body, content_type)
        client_id, secret = _credentials(parameters, authorization)
        if "grant_type" not in parameters:
            raise OAuthInvalidRequest("grant_type is missing")
        client = self._authenticated(client_id, secret)
        if parameters["grant_type"] != "client_credentials":
            raise OAuthUnsupportedGrant("The only grant type is client_credentials")
        scope = _granted_scope(client, parameters.get("scope"))
        token, warmth = self._mint_while_warming(client, scope, now)
        return {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": LIFETIME_SECONDS,
            "scope": scope,
            "worker": warmth.model_dump(),
        }

    def _authenticated(self, client_id: str, secret: str) -> Client:
        client = self.clients.get(client_id if _CLIENT_ID.fullmatch(client_id) else _NOBODY)
        if not secret_matches(client, secret) or client is None:
            raise OAuthInvalidClient("Client authentication failed")
        return client

    def _mint_while_warming(self, client: Client, scope: str, now: int) -> tuple[str, Warmth]:
        # The pings are sent before the answer leaves (a frozen environment runs no threads), but a token waits
        # for them only so long.
        executor = ThreadPoolExecutor(max_workers=1)
        warming = executor.submit(self._warm_up, client)
        try:
            token = self.minter.mint(client_id=client.client_id, scope=scope, now=now)
            return token, warming.result(timeout=WARM_UP_PATIENCE_SECONDS)
        except TimeoutError:
            logger.warning("The warm-up is slow; the token does not wait for it")
            return token, _UNKNOWN
        finally:
            executor.shutdown(wait=False)

    def _warm_up(self, client: Client) -> Warmth:
        try:
            return self.warm_up(client)
        except Exception:  # noqa: BLE001 (whatever the warm-up meets, the token is granted)
            logger.exception("The warm-up failed; the next token tries again")
            return _UNKNOWN


def _parameters(body: str, content_type: str) -> dict[str, str]:
    if content_type.partition(";")[0].strip().lower() != FORM:
        raise OAuthInvalidRequest(f"The content type must be {FORM}")
    try:
        pairs = parse_qsl(body, keep_blank_values=True, strict_parsing=bool(body), errors="strict", max_num_fields=20)
    except ValueError:
        raise OAuthInvalidRequest("The body is not a well-formed form") from None
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise OAuthInvalidRequest("A parameter is repeated")
    # "Parameters sent without a value MUST be treated as if they were omitted" (RFC 6749, section 3.2).
    return {name: value for name, value in parameters.items() if value}


def _credentials(parameters: Mapping[str, str], authorization: str | None) -> tuple[str, str]:
    """Client id and secret, from the header or from the body, never from both (RFC 6749, section 2.3)."""
    if authorization is None:
        if "client_id" not in parameters or "client_secret" not in parameters:
            raise OAuthInvalidClient("Send client_id and client_secret, as Basic credentials or in the body")
        return parameters["client_id"], parameters["client_secret"]
    if "client_secret" in parameters:
        raise OAuthInvalidRequest("The credentials are given twice: in the header and in the body")
    client_id, secret = _basic(authorization)
    if parameters.get("client_id", client_id) != client_id:
        raise OAuthInvalidRequest("The header and the body name different clients")
    return client_id, secret


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise OAuthInvalidClient("The authentication scheme must be Basic")
    try:
        client_id, separator, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:  # not ASCII, not base64, or not UTF-8
        raise OAuthInvalidClient("The Basic credentials cannot be decoded") from None
    if not separator:
        raise OAuthInvalidClient("The Basic credentials hold no colon")
    return unquote_plus(client_id), unquote_plus(secret)


def _granted_scope(client: Client, requested: str | None) -> str:
    """The requested scopes, or all that the client has, in one order."""
    wanted = client.scopes if requested is None else frozenset(requested.split(" "))
    if not wanted <= client.scopes:
        raise OAuthInvalidScope("The client does not have every scope it asks for")
    return " ".join(scope for scope in SCOPES if scope in wanted)
