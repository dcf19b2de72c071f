"""`POST /oauth/token`, and the documents by which any service can verify the tokens."""

from __future__ import annotations

import json
import time
from functools import cache, partial
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.auth.grants import Grants
from shared import http
from shared.clients import Client, ClientTable
from shared.clock import now_ms
from shared.errors import (
    MalformedBody,
    OAuthError,
    OAuthInvalidClient,
    OAuthInvalidRequest,
    OAuthUnavailable,
    Transient,
)
from shared.log import logger
from shared.models import Warmth
from shared.settings import AuthSettings
from shared.tokens import SCOPES, KmsSigner, Minter, jwks
from shared.warmup import Pings, Rounds, begin_round

BODY_LIMIT = 16_384  # bytes; a token request has a few hundred

app = APIGatewayHttpResolver()


@cache
def _settings() -> AuthSettings:
    return AuthSettings.from_environment()


@cache
def _grants() -> Grants:
    settings = _settings()
    minter = Minter(
        issuer=settings.public_url, key_id=settings.signing_key_id, sign=KmsSigner(settings.signing_key_arn)
    )
    rounds, pings = Rounds(settings.jobs_table), Pings(settings.worker_alias_arn)
    return Grants(
        clients=ClientTable(settings.clients_table),
        minter=minter,
        warm_up=partial(_warm_up, settings, rounds, pings),
    )


def _warm_up(settings: AuthSettings, rounds: Rounds, pings: Pings, client: Client) -> Warmth:
    now = now_ms()
    if not settings.warm_up_environments:
        return rounds.latest(settings.worker_version).warmth(now)
    return begin_round(
        rounds,
        pings,
        version=settings.worker_version,
        environments=max(settings.warm_up_environments, client.expected_parallelism),
        cooldown_ms=settings.warm_up_cooldown_seconds * 1000,
        now=now,
    )


@app.post("/oauth/token")
def token() -> Response[str]:
    """The token endpoint (RFC 6749, section 3.2)."""
    event = app.current_event
    try:
        body = http.text_body(event.raw_event)
        if len(body) > BODY_LIMIT:
            raise OAuthInvalidRequest(f"The body has more than {BODY_LIMIT:,} characters")
        granted = _grants().token(
            body=body,
            content_type=event.headers.get("content-type", ""),
            authorization=event.headers.get("authorization"),
            now=int(time.time()),
        )
    except OAuthError as error:
        return _refusal(error)
    except MalformedBody as error:
        return _refusal(OAuthInvalidRequest(error.detail))
    except Transient as error:
        logger.warning("A token could not be granted", reason=str(error))
        return _refusal(OAuthUnavailable("Try again in a moment"))
    return _answer(200, granted, {"cache-control": "no-store", "pragma": "no-cache"})


@app.get("/.well-known/jwks.json")
def key_set() -> Response[str]:
    """The public keys (RFC 7517)."""
    return _answer(200, jwks(_settings().public_keys), _CACHEABLE)


@app.get("/.well-known/oauth-authorization-server")
def metadata() -> Response[str]:
    """The authorization server's metadata (RFC 8414)."""
    issuer = _settings().public_url
    document = {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/oauth/token",
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "scopes_supported": list(SCOPES),
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    }
    return _answer(200, document, _CACHEABLE)


_CACHEABLE = {"cache-control": "public, max-age=300"}


def _refusal(error: OAuthError) -> Response[str]:
    """RFC 6749, section 5.2."""
    headers = {"cache-control": "no-store", "pragma": "no-cache"}
    if isinstance(error, OAuthInvalidClient):
        headers["www-authenticate"] = 'Basic realm="samovar", charset="UTF-8"'
    if isinstance(error, OAuthUnavailable):
        headers["retry-after"] = "1"
    return _answer(error.status, {"error": error.error, "error_description": error.description}, headers)


def _answer(status: int, document: dict[str, Any], headers: dict[str, str]) -> Response[str]:
    return Response(status_code=status, content_type=http.JSON, body=json.dumps(document), headers={**headers})


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The function's entry point: an HTTP API event, payload 2.0."""
    return http.answer(event, lambda accepted: app.resolve(accepted, context))
