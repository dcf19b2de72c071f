"""The token endpoint: it authenticates a client and issues a token (RFC 6749, sections 2.3.1, 4.4 and 5)."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote_plus

from shared.auth.clients import Client, secret_matches
from shared.auth.tokens import LIFETIME_SECONDS, SCOPES, TokenIssuer
from shared.errors import (
    OAuthInvalidClient,
    OAuthInvalidRequest,
    OAuthInvalidScope,
    OAuthUnsupportedGrant,
)
from shared.log import logger
from shared.warmup.records import Warmth

FORM = "application/x-www-form-urlencoded"
WARM_UP_TIMEOUT_SECONDS = 1.5  # a token waits so long for the start of its warm-up
_CLIENT_ID = re.compile(r"[\x21-\x7e]{1,128}")
_PLACEHOLDER_ID = "nobody"  # read in place of a malformed id, so that every refusal takes the same time
_UNKNOWN_WARMTH = Warmth(state="cold", ready_in_seconds=None, environments=0)


class Clients(Protocol):
    """The registered clients, such as `shared.auth.clients.ClientStore`."""

    def get(self, client_id: str) -> Client | None:
        """Return the client, or None if there is none."""


@dataclass(frozen=True)
class TokenEndpoint:
    """The token endpoint for the grant type `client_credentials`.

    `warm_up` starts a warm-up for a client if the last one is too old. It returns how warm the worker is.
    """

    clients: Clients
    issuer: TokenIssuer
    warm_up: Callable[[Client], Warmth]

    def grant_token(self, *, body: str, content_type: str, authorization: str | None, now: int) -> dict[str, Any]:
        """Return the answer to a token request at `now` (seconds): RFC 6749, section 5.1, and the member `worker`.

        Raises:
            OAuthError: If the request is refused. The code is one of RFC 6749, section 5.2.
            Transient: If DynamoDB or KMS is throttled or unreachable.
        """
        client, scope = self._authorize(_parse_form(body, content_type), authorization)
        token, warmth = self._issue_and_warm_up(client, scope, now)
        return {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": LIFETIME_SECONDS,
            "scope": scope,
            "worker": warmth.model_dump(),
        }

    def _authorize(self, parameters: Mapping[str, str], authorization: str | None) -> tuple[Client, str]:
        """Return the authenticated client, and the scope of its token."""
        client_id, secret = _parse_credentials(parameters, authorization)
        if "grant_type" not in parameters:
            raise OAuthInvalidRequest("grant_type is missing")
        client = self._authenticate(client_id, secret)
        if parameters["grant_type"] != "client_credentials":
            raise OAuthUnsupportedGrant("The only grant type is client_credentials")
        return client, _choose_scope(client, parameters.get("scope"))

    def _authenticate(self, client_id: str, secret: str) -> Client:
        client = self.clients.get(client_id if _CLIENT_ID.fullmatch(client_id) else _PLACEHOLDER_ID)
        if not secret_matches(client, secret) or client is None:
            raise OAuthInvalidClient("Client authentication failed")
        return client

    def _issue_and_warm_up(self, client: Client, scope: str, now: int) -> tuple[str, Warmth]:
        """Issue the token while another thread starts the warm-up."""
        # The pings must be sent before the answer: Lambda freezes the environment, and its threads, after the answer.
        executor = ThreadPoolExecutor(max_workers=1)
        warm_up = executor.submit(self._try_warm_up, client)
        try:
            token = self.issuer.issue(client_id=client.client_id, scope=scope, now=now)
            return token, warm_up.result(timeout=WARM_UP_TIMEOUT_SECONDS)
        except TimeoutError:
            logger.warning("The warm-up is slow; answering without it")
            return token, _UNKNOWN_WARMTH
        finally:
            executor.shutdown(wait=False)

    def _try_warm_up(self, client: Client) -> Warmth:
        try:
            return self.warm_up(client)
        except Exception:  # noqa: BLE001 (no failure of the warm-up may cost the client its token)
            logger.exception("The warm-up failed; the next token tries again")
            return _UNKNOWN_WARMTH


def _parse_form(body: str, content_type: str) -> dict[str, str]:
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


def _parse_credentials(parameters: Mapping[str, str], authorization: str | None) -> tuple[str, str]:
    """Return the client's id and secret from the header or the body, never from both (RFC 6749, section 2.3)."""
    if authorization is None:
        if "client_id" not in parameters or "client_secret" not in parameters:
            raise OAuthInvalidClient("Send client_id and client_secret, as Basic credentials or in the body")
        return parameters["client_id"], parameters["client_secret"]
    if "client_secret" in parameters:
        raise OAuthInvalidRequest("The credentials are given twice: in the header and in the body")
    client_id, secret = _parse_basic(authorization)
    if parameters.get("client_id", client_id) != client_id:
        raise OAuthInvalidRequest("The header and the body name different clients")
    return client_id, secret


def _parse_basic(authorization: str) -> tuple[str, str]:
    """Return the id and the secret in a header of the scheme Basic (RFC 7617, section 2)."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise OAuthInvalidClient("The authentication scheme must be Basic")
    try:
        client_id, separator, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:  # not ASCII, not base64, or not UTF-8
        raise OAuthInvalidClient("The Basic credentials cannot be decoded") from None
    if not separator:
        raise OAuthInvalidClient("The Basic credentials have no colon")
    return unquote_plus(client_id), unquote_plus(secret)


def _choose_scope(client: Client, requested: str | None) -> str:
    """Return the requested scopes, or by default all scopes of the client, in the order of `SCOPES`."""
    wanted = client.scopes if requested is None else frozenset(requested.split(" "))
    if not wanted <= client.scopes:
        raise OAuthInvalidScope("The client does not have every scope that it requests")
    return " ".join(scope for scope in SCOPES if scope in wanted)
