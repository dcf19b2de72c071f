"""A token and its warm-up: the one never waits long for the other, and never fails with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from urllib.parse import urlencode

import pytest

from functions.auth.grants import FORM, WARM_UP_PATIENCE_SECONDS, Grants
from shared import clients
from shared.clients import Client, new_client, secret_matches
from shared.errors import Transient
from shared.models import Warmth
from shared.tokens import Minter

CLIENT, SECRET = new_client(name="tests", scope="jobs:read")
WARM = Warmth(state="warm", ready_in_seconds=0, environments=1)


class OneClient:
    def get(self, client_id: str) -> Client | None:
        return CLIENT if client_id == CLIENT.client_id else None


def token(warm_up: Callable[[Client], Warmth], sign: Callable[[bytes], bytes] = lambda message: b"signature") -> dict:
    grants = Grants(OneClient(), Minter(issuer="https://api.example", key_id="k1", sign=sign), warm_up)
    body = {"grant_type": "client_credentials", "client_id": CLIENT.client_id, "client_secret": SECRET}
    return grants.token(body=urlencode(body), content_type=FORM, authorization=None, now=0)


def test_token_says_how_warm_the_worker_is() -> None:
    assert token(lambda client: WARM)["worker"] == WARM.model_dump()


@pytest.mark.parametrize("error", [Transient("throttled"), RuntimeError("a defect")])
def test_warm_up_that_fails_does_not_fail_the_token(error: Exception) -> None:
    def broken(client: Client) -> Warmth:
        raise error

    answer = token(broken)
    assert answer["access_token"]
    assert answer["worker"]["state"] == "cold"


def test_warm_up_that_hangs_does_not_hold_the_token() -> None:
    release = threading.Event()
    began = time.monotonic()
    answer = token(lambda client: (release.wait(30), WARM)[1])
    assert time.monotonic() - began < WARM_UP_PATIENCE_SECONDS + 1
    release.set()
    assert answer["worker"]["state"] == "cold"


def test_token_and_warm_up_run_at_the_same_time() -> None:
    """Each waits for the other to have begun; in sequence one of them would wait in vain."""
    meeting = threading.Barrier(2, timeout=5)

    def sign(message: bytes) -> bytes:
        meeting.wait()
        return b"signature"

    def warm_up(client: Client) -> Warmth:
        meeting.wait()
        return WARM

    assert token(warm_up, sign)["worker"]["state"] == "warm"


@pytest.mark.parametrize("client", [None, CLIENT], ids=["unknown client", "wrong secret"])
def test_every_authentication_does_the_same_comparisons(client: Client | None, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []
    compare = clients.hmac.compare_digest
    monkeypatch.setattr(clients.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or compare(a, b))
    assert not secret_matches(client, "sk_wrong")
    assert [len(a) == len(b) == 64 for a, b in compared] == [True, True]


def test_secrets_are_256_bits_and_not_kept() -> None:
    client, secret = new_client(name="x", scope="jobs:read")
    assert secret.startswith("sk_")
    assert len(secret) == 3 + 43
    assert secret not in client.model_dump_json()
    assert secret_matches(client, secret)


def test_secret_of_a_revoked_client_does_not_match() -> None:
    assert not secret_matches(CLIENT.model_copy(update={"status": "revoked"}), SECRET)
