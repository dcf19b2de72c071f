"""The application of the function `auth`: the token endpoint, and the documents for verifying its tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.auth.routes import ROUTES
from functions.auth.token_endpoint import TokenEndpoint
from functions.auth.warm_up import WarmUpStarter
from shared import http
from shared.auth.clients import ClientStore
from shared.auth.tokens import SCOPES, KmsSigner, TokenIssuer, key_set
from shared.aws.table import Table
from shared.clock import now_ms
from shared.errors import (
    MalformedBody,
    NotFound,
    OAuthError,
    OAuthInvalidClient,
    OAuthInvalidRequest,
    OAuthUnavailable,
    Transient,
)
from shared.log import logger
from shared.settings import AuthSettings
from shared.warmup.pings import PingSender
from shared.warmup.store import WarmUpStore

BODY_LIMIT = 16_384  # characters; a token request has a few hundred

_NOT_CACHEABLE = {"cache-control": "no-store", "pragma": "no-cache"}
_CACHEABLE = {"cache-control": "public, max-age=300"}


class AuthApp:
    """The routes of the function `auth`."""

    def __init__(self, endpoint: TokenEndpoint, settings: AuthSettings, clock: Callable[[], int]) -> None:
        """Answer token requests with `endpoint`. `clock` returns the current time (ms)."""
        self._endpoint = endpoint
        self._settings = settings
        self._clock = clock
        self._handlers: dict[str, Callable[[http.Event], http.Event]] = {
            "POST /oauth/token": self._answer_token_request,
            "GET /.well-known/jwks.json": self._show_key_set,
            "GET /.well-known/oauth-authorization-server": self._show_metadata,
        }

    def handle(self, event: http.Event, context: LambdaContext) -> http.Event:  # noqa: ARG002 (as every function's)
        """Return the answer to an HTTP API event (payload 2.0). Never raise."""
        return http.answer(event, self._respond)

    def _respond(self, event: http.Event) -> http.Event:
        key = f"{event['requestContext']['http']['method']} {event['rawPath']}"
        if key not in ROUTES:
            raise NotFound("There is nothing at this path")
        return self._handlers[key](event)

    def _answer_token_request(self, event: http.Event) -> http.Event:
        """Answer a request to the token endpoint (RFC 6749, section 3.2)."""
        try:
            answer = self._grant_token(event)
        except OAuthError as error:
            return _refuse(error)
        except MalformedBody as error:
            return _refuse(OAuthInvalidRequest(error.detail))
        except Transient as error:
            logger.warning("Cannot issue a token", reason=str(error))
            return _refuse(OAuthUnavailable("Try again in a moment"))
        return _render(200, answer, _NOT_CACHEABLE)

    def _grant_token(self, event: http.Event) -> dict[str, Any]:
        body = http.text_body(event)
        if len(body) > BODY_LIMIT:
            raise OAuthInvalidRequest(f"The body has more than {BODY_LIMIT:,} characters")
        return self._endpoint.grant_token(
            body=body,
            content_type=event["headers"].get("content-type", ""),
            authorization=event["headers"].get("authorization"),
            now=self._clock() // 1000,
        )

    def _show_key_set(self, event: http.Event) -> http.Event:  # noqa: ARG002 (as every handler's)
        """Return the public keys (RFC 7517)."""
        return _render(200, key_set(self._settings.public_keys), _CACHEABLE)

    def _show_metadata(self, event: http.Event) -> http.Event:  # noqa: ARG002 (as every handler's)
        """Return the metadata of the authorization server (RFC 8414)."""
        issuer = self._settings.public_url
        document = {
            "issuer": issuer,
            "token_endpoint": f"{issuer}/oauth/token",
            "jwks_uri": f"{issuer}/.well-known/jwks.json",
            "scopes_supported": list(SCOPES),
            "response_types_supported": [],
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        }
        return _render(200, document, _CACHEABLE)


def build(settings: AuthSettings, clock: Callable[[], int] = now_ms) -> AuthApp:
    """Build the application from its settings. AWS is not called."""
    warm_ups = WarmUpStarter(
        WarmUpStore(Table(settings.jobs_table, read_timeout=1, attempts=2)),
        PingSender(settings.worker_alias_arn),
        settings,
        clock,
    )
    issuer = TokenIssuer(
        issuer=settings.public_url, key_id=settings.signing_key_id, sign=KmsSigner(settings.signing_key_arn)
    )
    clients = ClientStore(Table(settings.clients_table, read_timeout=3))
    return AuthApp(TokenEndpoint(clients, issuer, warm_ups.start), settings, clock)


def _refuse(error: OAuthError) -> http.Event:
    """Return an error of the token endpoint (RFC 6749, section 5.2)."""
    headers = dict(_NOT_CACHEABLE)
    if isinstance(error, OAuthInvalidClient):
        headers["www-authenticate"] = 'Basic realm="samovar", charset="UTF-8"'
    if isinstance(error, OAuthUnavailable):
        headers["retry-after"] = "1"
    return _render(error.status, {"error": error.error, "error_description": error.description}, headers)


def _render(status: int, document: dict[str, Any], headers: dict[str, str]) -> http.Event:
    """Return a response of the gateway."""
    return {"statusCode": status, "headers": {"content-type": http.JSON, **headers}, "body": json.dumps(document)}
