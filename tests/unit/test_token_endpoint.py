"""The token endpoint: a token does not wait long for its warm-up, and does not fail with it. Secrets are compared."""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from functions.auth.token_endpoint import FORM, WARM_UP_TIMEOUT_SECONDS, TokenEndpoint
from shared.auth.clients import Client, new_client, secret_matches
from shared.auth.tokens import TokenIssuer
from shared.errors import Transient
from shared.warmup.records import Warmth

CLIENT, SECRET = new_client(name="tests", scope="jobs:read")
WARM = Warmth(state="warm", ready_in_seconds=0, environments=1)


class OneClient:
    """A table that holds one client."""

    def get(self, client_id: str) -> Client | None:
        return CLIENT if client_id == CLIENT.client_id else None


def sign_nothing(message: bytes) -> bytes:
    return b"signature"


def request_token(warm_up: Callable[[Client], Warmth], sign: Callable[[bytes], bytes] = sign_nothing) -> dict[str, Any]:
    """Return the answer of a token endpoint to its client's request."""
    issuer = TokenIssuer(issuer="https://api.example", key_id="k1", sign=sign)
    body = {"grant_type": "client_credentials", "client_id": CLIENT.client_id, "client_secret": SECRET}
    endpoint = TokenEndpoint(OneClient(), issuer, warm_up)
    return endpoint.grant_token(body=urlencode(body), content_type=FORM, authorization=None, now=0)


def test_answer_tells_how_warm_the_worker_is() -> None:
    assert request_token(lambda client: WARM)["worker"] == WARM.model_dump()


@pytest.mark.parametrize("error", [Transient("throttled"), RuntimeError("a defect")])
def test_failing_warm_up_does_not_fail_the_token(error: Exception) -> None:
    def fail(client: Client) -> Warmth:
        raise error

    answer = request_token(fail)
    assert answer["access_token"]
    assert answer["worker"]["state"] == "cold"


def test_hanging_warm_up_does_not_delay_the_token_beyond_the_timeout() -> None:
    release = threading.Event()

    def hang(client: Client) -> Warmth:
        release.wait(30)
        return WARM

    start = time.monotonic()
    answer = request_token(hang)
    assert time.monotonic() - start < WARM_UP_TIMEOUT_SECONDS + 1
    release.set()
    assert answer["worker"]["state"] == "cold"


def test_token_and_warm_up_run_at_the_same_time() -> None:
    """Each of them waits until the other has begun. If they ran in sequence, the barrier would time out."""
    barrier = threading.Barrier(2, timeout=5)

    def sign(message: bytes) -> bytes:
        barrier.wait()
        return b"signature"

    def warm_up(client: Client) -> Warmth:
        barrier.wait()
        return WARM

    assert request_token(warm_up, sign)["worker"]["state"] == "warm"


@pytest.mark.parametrize("client", [None, CLIENT], ids=["unknown client", "wrong secret"])
def test_every_authentication_makes_the_same_comparisons(
    client: Client | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[str, str]] = []
    compare_digest = hmac.compare_digest

    def record(first: str, second: str) -> bool:
        compared.append((first, second))
        return compare_digest(first, second)

    monkeypatch.setattr(hmac, "compare_digest", record)
    assert not secret_matches(client, "sk_wrong")
    assert [len(first) == len(second) == 64 for first, second in compared] == [True, True]


def test_new_secret_has_256_bits_and_is_not_stored() -> None:
    client, secret = new_client(name="x", scope="jobs:read")
    assert secret.startswith("sk_")
    assert len(secret) == 3 + 43
    assert secret not in client.model_dump_json()
    assert secret_matches(client, secret)


def test_secret_of_a_revoked_client_does_not_match() -> None:
    assert not secret_matches(CLIENT.model_copy(update={"status": "revoked"}), SECRET)
