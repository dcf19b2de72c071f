"""Tokens: what the function `auth` answers behind its handler, over moto."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest

from functions.auth import handler as auth
from functions.submit import handler as submit
from shared.clients import Client, ClientTable, new_client
from tests.events import CONTEXT, http_event
from tests.integration.conftest import URL

FORM = {"content-type": "application/x-www-form-urlencoded"}


def ask_token(body: Any = None, **headers: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    raw = body if isinstance(body, bytes | str) else urlencode(body or {})
    event = http_event("POST", "/oauth/token", body=raw, headers={**FORM, **headers})
    answer = auth.handler(event, CONTEXT)
    return answer["statusCode"], json.loads(answer["body"]), answer["headers"]


def grant(api: SimpleNamespace, **changes: str) -> dict[str, str]:
    credentials = {"client_id": api.client.client_id, "client_secret": api.secret}
    return {"grant_type": "client_credentials", **credentials, **changes}


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


class TestToken:
    def test_client_gets_a_token(self, api: SimpleNamespace) -> None:
        status, answer, headers = ask_token(grant(api))
        assert status == 200
        assert set(answer) == {"access_token", "token_type", "expires_in", "scope", "worker"}
        assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3600)
        assert answer["scope"] == "jobs:read jobs:write"
        assert answer["worker"] == {"state": "cold", "ready_in_seconds": None, "environments": 0}
        assert headers["Cache-Control".lower()] == "no-store"
        assert headers["x-request-id"] == "request-1"
        principal = submit._verifier().authenticate(f"Bearer {answer['access_token']}")
        assert principal.client_id == api.client.client_id

    def test_basic_authentication_works_as_well(self, api: SimpleNamespace) -> None:
        header = basic(api.client.client_id, api.secret)
        status, _, _ = ask_token({"grant_type": "client_credentials"}, authorization=header)
        assert status == 200

    def test_form_in_base64_works_as_well(self, api: SimpleNamespace) -> None:
        assert ask_token(urlencode(grant(api)).encode())[0] == 200

    def test_scope_can_be_narrowed(self, api: SimpleNamespace) -> None:
        assert ask_token(grant(api, scope="jobs:read"))[1]["scope"] == "jobs:read"

    def test_unknown_client_and_wrong_secret_are_indistinguishable(self, api: SimpleNamespace) -> None:
        wrong = ask_token(grant(api, client_secret="sk_wrong"))
        unknown = ask_token(grant(api, client_id="c_unknown"))
        impossible = ask_token(grant(api, client_id="é" * 300))
        assert wrong == unknown == impossible
        assert wrong[:2] == (401, {"error": "invalid_client", "error_description": "Client authentication failed"})
        assert wrong[2]["www-authenticate"].startswith("Basic ")

    def test_second_secret_is_valid_too(self, api: SimpleNamespace) -> None:
        other, secret = new_client(name="other", scope="jobs:read")
        both = Client.model_validate({**other.model_dump(), "secrets": (*api.client.secrets, *other.secrets)})
        ClientTable("clients").put(both)
        for valid in (secret, api.secret):
            assert ask_token(grant(api, client_id=other.client_id, client_secret=valid))[0] == 200

    def test_revoked_client_is_refused(self, api: SimpleNamespace) -> None:
        other, secret = new_client(name="other", scope="jobs:read")
        ClientTable("clients").put(other.model_copy(update={"status": "revoked"}))
        assert ask_token(grant(api, client_id=other.client_id, client_secret=secret))[0] == 401

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"grant_type": "password"}, "unsupported_grant_type"),
            ({"grant_type": ""}, "invalid_request"),
            ({"scope": "jobs:read admin"}, "invalid_scope"),
            ({"scope": "jobs:read  jobs:write"}, "invalid_scope"),
        ],
    )
    def test_bad_parameters_have_the_codes_of_rfc_6749(
        self, api: SimpleNamespace, change: dict[str, str], code: str
    ) -> None:
        status, answer, _ = ask_token(grant(api, **change))
        assert (status, answer["error"]) == (400, code)

    def test_repeated_parameter_is_invalid(self, api: SimpleNamespace) -> None:
        body = urlencode(grant(api)) + "&grant_type=client_credentials"
        assert ask_token(body)[1]["error"] == "invalid_request"

    def test_credentials_in_both_places_are_invalid(self, api: SimpleNamespace) -> None:
        header = basic(api.client.client_id, api.secret)
        assert ask_token(grant(api), authorization=header)[1]["error"] == "invalid_request"

    @pytest.mark.parametrize(
        "header", ["Basic", "Basic é", "Basic !!!", "Basic bm9jb2xvbg==", "Bearer x", "Basic /w=="]
    )
    def test_broken_basic_credentials_are_a_failed_authentication(self, api: SimpleNamespace, header: str) -> None:
        status, answer, headers = ask_token({"grant_type": "client_credentials"}, authorization=header)
        assert (status, answer["error"]) == (401, "invalid_client")
        assert headers["www-authenticate"].startswith("Basic ")

    @pytest.mark.parametrize("missing", ["client_id", "client_secret"])
    def test_missing_credentials_are_a_failed_authentication(self, api: SimpleNamespace, missing: str) -> None:
        body = {name: value for name, value in grant(api).items() if name != missing}
        assert ask_token(body)[:1] == (401,)

    @pytest.mark.parametrize(
        "body", ["", "%zz=%ff", b"\xff\xfe", "a=1&" * 50, "x" * 20_000, "grant_type", "\ud800=1", "a\x00=1"]
    )
    def test_malformed_body_is_a_4xx(self, api: SimpleNamespace, body: str | bytes) -> None:
        status, answer, _ = ask_token(body)
        assert status in {400, 401}
        assert answer["error"] in {"invalid_request", "invalid_client"}

    def test_json_body_is_invalid(self, api: SimpleNamespace) -> None:
        event = http_event(
            "POST", "/oauth/token", body=json.dumps(grant(api)), headers={"content-type": "application/json"}
        )
        answer = auth.handler(event, CONTEXT)
        assert (answer["statusCode"], json.loads(answer["body"])["error"]) == (400, "invalid_request")

    def test_store_that_is_away_is_temporary(self, api: SimpleNamespace) -> None:
        api.services.dynamodb.delete_table(TableName="clients")
        status, answer, headers = ask_token(grant(api))
        assert (status, answer["error"], headers["retry-after"]) == (503, "temporarily_unavailable", "1")

    def test_documents_for_other_services(self, api: SimpleNamespace) -> None:
        keys = json.loads(auth.handler(http_event("GET", "/.well-known/jwks.json"), CONTEXT)["body"])
        assert [key["kid"] for key in keys["keys"]] == ["k1"]
        event = http_event("GET", "/.well-known/oauth-authorization-server")
        metadata = json.loads(auth.handler(event, CONTEXT)["body"])
        assert metadata["issuer"] == URL
        assert metadata["token_endpoint"] == f"{URL}/oauth/token"
        assert metadata["grant_types_supported"] == ["client_credentials"]
