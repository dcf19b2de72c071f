"""Signatures of deliveries, checked by the library of the Standard Webhooks project."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from functions.webhook.signing import new_secret, sign_delivery

ID = "0195a8c2-7b1e-7cc3-98c4-dc0c0c07398f.1.succeeded"
BODY = '{"type":"job.succeeded","data":{"metadata":"naïve ☕"}}'.encode()


def sign(*secrets: str, timestamp: int | None = None) -> dict[str, str]:
    return sign_delivery(secrets, webhook_id=ID, timestamp=timestamp or int(time.time()), body=BODY)


def make_secret(length: int) -> str:
    return "whsec_" + base64.b64encode(bytes(length)).decode()


def test_standard_library_verifies_a_delivery() -> None:
    secret = new_secret()
    assert Webhook(secret).verify(BODY, sign(secret)) == {
        "type": "job.succeeded",
        "data": {"metadata": "naïve ☕"},
    }


def test_signatures_equal_those_of_the_standard_library() -> None:
    secret, now = new_secret(), datetime.now(UTC).replace(microsecond=0)
    headers = sign(secret, timestamp=int(now.timestamp()))
    assert headers == {
        "webhook-id": ID,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(ID, now, BODY.decode()),
    }


def test_example_of_the_standard_has_its_known_signature() -> None:
    """The implementations of the standard test themselves with this example."""
    headers = sign_delivery(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        webhook_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("changed", ["body", "webhook-id", "webhook-timestamp", "webhook-signature"])
def test_changed_delivery_is_rejected(changed: str) -> None:
    secret, now = new_secret(), int(time.time())
    headers, body = sign(secret, timestamp=now), BODY
    changes = {
        "webhook-id": ID.replace("succeeded", "failed"),
        "webhook-timestamp": str(now + 1),
        "webhook-signature": sign(new_secret(), timestamp=now)["webhook-signature"],
    }
    if changed == "body":
        body = BODY.replace(b"job.succeeded", b"job.canceled")
    else:
        headers[changed] = changes[changed]
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


def test_old_delivery_is_rejected() -> None:
    """So each attempt gets a new timestamp and a new signature."""
    secret = new_secret()
    old = int((datetime.now(UTC) - timedelta(minutes=6)).timestamp())
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, sign(secret, timestamp=old))
    assert Webhook(secret).verify(BODY, sign(secret))


def test_both_secrets_verify_during_a_rotation() -> None:
    new, old = new_secret(), new_secret()
    headers = sign(new, old)
    assert headers["webhook-signature"].count(" ") == 1
    assert Webhook(new).verify(BODY, headers)
    assert Webhook(old).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(BODY, headers)


def test_new_secrets_are_long_and_unique() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert {len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) for secret in secrets} == {32}


@pytest.mark.parametrize("length", [24, 64])
def test_shortest_and_longest_secrets_sign(length: int) -> None:
    assert Webhook(make_secret(length)).verify(BODY, sign(make_secret(length)))


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        make_secret(23),
        make_secret(65),
        make_secret(32)[6:],
        "whsk_" + make_secret(32)[6:],
        "whsec_not base64!",
        make_secret(32) + "!",
    ],
)
def test_malformed_secret_is_refused_and_not_shown_in_the_error(secret: str) -> None:
    with pytest.raises(ValueError, match="A signing secret") as refusal:
        sign(secret)
    assert secret.removeprefix("whsec_") == "" or secret not in str(refusal.value)


@pytest.mark.parametrize("count", [0, 3])
def test_number_of_secrets_must_be_one_or_two(count: int) -> None:
    with pytest.raises(ValueError, match="one secret, or with two"):
        sign(*[new_secret() for _ in range(count)])
