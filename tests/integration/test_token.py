"""The function `auth` over moto: tokens, refused token requests, and the documents for verifying tokens."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest

from functions.auth.app import AuthApp, build
from functions.auth.routes import ROUTES
from shared.auth.clients import Client, ClientStore, new_client
from shared.auth.tokens import TokenVerifier
from shared.aws.table import Table
from shared.settings import AuthSettings
from tests.conftest import AwsServices
from tests.events import CONTEXT, http_event

URL = "https://api.example"
FORM = {"content-type": "application/x-www-form-urlencoded"}


class TokenService:
    """The function `auth` with one registered client."""

    def __init__(self, services: AwsServices) -> None:
        self.dynamodb = services.dynamodb
        self.clients = ClientStore(Table("clients"))
        self.client, self.secret = new_client(name="tests", scope="jobs:read jobs:write")
        self.clients.put(self.client)
        der = boto3.client("kms").get_public_key(KeyId=services.signing_key_arn)["PublicKey"]
        self.verifier = TokenVerifier(issuer=URL, public_keys={"k1": der})
        self.app = build_app(services.signing_key_arn, der)

    def request_token(self, body: Any = None, **headers: str) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Return the status, the body and the headers of the answer."""
        raw = body if isinstance(body, bytes | str) else urlencode(body or {})
        event = http_event("POST", "/oauth/token", body=raw, headers={**FORM, **headers})
        answer = self.app.handle(event, CONTEXT)
        return answer["statusCode"], json.loads(answer["body"]), answer["headers"]

    def parameters(self, **changes: str) -> dict[str, str]:
        """Return the parameters of a valid token request with some changes."""
        credentials = {"client_id": self.client.client_id, "client_secret": self.secret}
        return {"grant_type": "client_credentials", **credentials, **changes}


def build_app(signing_key_arn: str, public_key: bytes) -> AuthApp:
    environment = {
        "PUBLIC_URL": URL,
        "PUBLIC_KEYS": json.dumps({"k1": base64.b64encode(public_key).decode()}),
        "SIGNING_KEY_ARN": signing_key_arn,
        "SIGNING_KEY_ID": "k1",
        "CLIENTS_TABLE": "clients",
        "JOBS_TABLE": "jobs",
        "WORKER_ALIAS_ARN": "arn:aws:lambda:eu-west-2:123456789012:function:worker:live",
        "WORKER_VERSION": "1",
        "WARM_UP_ENVIRONMENTS": "0",
        "WARM_UP_COOLDOWN_SECONDS": "120",
    }
    return build(AuthSettings.from_environment(environment))


@pytest.fixture
def service(aws_services: AwsServices) -> TokenService:
    return TokenService(aws_services)


def encode_basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


class TestToken:
    def test_client_gets_a_token(self, service: TokenService) -> None:
        status, answer, headers = service.request_token(service.parameters())
        assert status == 200
        assert set(answer) == {"access_token", "token_type", "expires_in", "scope", "worker"}
        assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3600)
        assert answer["scope"] == "jobs:read jobs:write"
        assert answer["worker"] == {"state": "cold", "ready_in_seconds": None, "environments": 0}
        assert headers["cache-control"] == "no-store"
        assert headers["x-request-id"] == "request-1"
        principal = service.verifier.authenticate(f"Bearer {answer['access_token']}")
        assert principal.client_id == service.client.client_id

    def test_basic_authentication_is_accepted(self, service: TokenService) -> None:
        header = encode_basic(service.client.client_id, service.secret)
        status, _, _ = service.request_token({"grant_type": "client_credentials"}, authorization=header)
        assert status == 200

    def test_body_in_base64_is_accepted(self, service: TokenService) -> None:
        assert service.request_token(urlencode(service.parameters()).encode())[0] == 200

    def test_client_may_request_fewer_scopes(self, service: TokenService) -> None:
        assert service.request_token(service.parameters(scope="jobs:read"))[1]["scope"] == "jobs:read"

    def test_unknown_client_and_wrong_secret_get_the_same_answer(self, service: TokenService) -> None:
        wrong = service.request_token(service.parameters(client_secret="sk_wrong"))
        unknown = service.request_token(service.parameters(client_id="c_unknown"))
        malformed = service.request_token(service.parameters(client_id="é" * 300))
        assert wrong == unknown == malformed
        assert wrong[:2] == (401, {"error": "invalid_client", "error_description": "Client authentication failed"})
        assert wrong[2]["www-authenticate"].startswith("Basic ")

    def test_both_secrets_of_a_client_are_valid(self, service: TokenService) -> None:
        other, secret = new_client(name="other", scope="jobs:read")
        both = Client.model_validate({**other.model_dump(), "secrets": (*service.client.secrets, *other.secrets)})
        service.clients.put(both)
        for valid in (secret, service.secret):
            body = service.parameters(client_id=other.client_id, client_secret=valid)
            assert service.request_token(body)[0] == 200

    def test_revoked_client_is_refused(self, service: TokenService) -> None:
        other, secret = new_client(name="other", scope="jobs:read")
        service.clients.put(other.model_copy(update={"status": "revoked"}))
        body = service.parameters(client_id=other.client_id, client_secret=secret)
        assert service.request_token(body)[0] == 401

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"grant_type": "password"}, "unsupported_grant_type"),
            ({"grant_type": ""}, "invalid_request"),
            ({"scope": "jobs:read admin"}, "invalid_scope"),
            ({"scope": "jobs:read  jobs:write"}, "invalid_scope"),
        ],
    )
    def test_invalid_parameters_have_the_codes_of_rfc_6749(
        self, service: TokenService, change: dict[str, str], code: str
    ) -> None:
        status, answer, _ = service.request_token(service.parameters(**change))
        assert (status, answer["error"]) == (400, code)

    def test_repeated_parameter_is_invalid(self, service: TokenService) -> None:
        body = urlencode(service.parameters()) + "&grant_type=client_credentials"
        assert service.request_token(body)[1]["error"] == "invalid_request"

    def test_credentials_in_both_header_and_body_are_invalid(self, service: TokenService) -> None:
        header = encode_basic(service.client.client_id, service.secret)
        assert service.request_token(service.parameters(), authorization=header)[1]["error"] == "invalid_request"

    @pytest.mark.parametrize(
        "header", ["Basic", "Basic é", "Basic !!!", "Basic bm9jb2xvbg==", "Bearer x", "Basic /w=="]
    )
    def test_malformed_basic_credentials_fail_authentication(self, service: TokenService, header: str) -> None:
        status, answer, headers = service.request_token({"grant_type": "client_credentials"}, authorization=header)
        assert (status, answer["error"]) == (401, "invalid_client")
        assert headers["www-authenticate"].startswith("Basic ")

    @pytest.mark.parametrize("missing", ["client_id", "client_secret"])
    def test_missing_credentials_fail_authentication(self, service: TokenService, missing: str) -> None:
        body = {name: value for name, value in service.parameters().items() if name != missing}
        assert service.request_token(body)[:1] == (401,)

    @pytest.mark.parametrize(
        "body", ["", "%zz=%ff", b"\xff\xfe", "a=1&" * 50, "x" * 20_000, "grant_type", "\ud800=1", "a\x00=1"]
    )
    def test_malformed_body_is_refused(self, service: TokenService, body: str | bytes) -> None:
        status, answer, _ = service.request_token(body)
        assert status in {400, 401}
        assert answer["error"] in {"invalid_request", "invalid_client"}

    def test_json_body_is_invalid(self, service: TokenService) -> None:
        status, answer, _ = service.request_token(
            json.dumps(service.parameters()), **{"content-type": "application/json"}
        )
        assert (status, answer["error"]) == (400, "invalid_request")

    def test_unreachable_table_is_a_temporary_error(self, service: TokenService) -> None:
        service.dynamodb.delete_table(TableName="clients")
        status, answer, headers = service.request_token(service.parameters())
        assert (status, answer["error"], headers["retry-after"]) == (503, "temporarily_unavailable", "1")

    def test_documents_describe_the_keys_and_the_server(self, service: TokenService) -> None:
        keys = json.loads(service.app.handle(http_event("GET", "/.well-known/jwks.json"), CONTEXT)["body"])
        assert [key["kid"] for key in keys["keys"]] == ["k1"]
        event = http_event("GET", "/.well-known/oauth-authorization-server")
        metadata = json.loads(service.app.handle(event, CONTEXT)["body"])
        assert metadata["issuer"] == URL
        assert metadata["token_endpoint"] == f"{URL}/oauth/token"
        assert metadata["grant_types_supported"] == ["client_credentials"]


def test_every_listed_route_is_served(service: TokenService) -> None:
    """The gateway's routes come from the table, so the application must serve exactly these."""
    for key in ROUTES:
        answer = service.app.handle(http_event(*key.split(" ")), CONTEXT)
        assert answer["statusCode"] not in {404, 500}, f"Add a handler for {key} to functions/auth/app.py"
    assert service.app.handle(http_event("GET", "/elsewhere"), CONTEXT)["statusCode"] == 404
