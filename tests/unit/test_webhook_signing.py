"""Signatures: the standard's own library verifies each, and no touched delivery."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from functions.webhook.signing import new_secret, signed_headers

ID = "0195a8c2-7b1e-7cc3-98c4-dc0c0c07398f.1.succeeded"
BODY = '{"type":"job.succeeded","data":{"metadata":"naïve ☕"}}'.encode()


def signed(*secrets: str, timestamp: int | None = None) -> dict[str, str]:
    return signed_headers(secrets, webhook_id=ID, timestamp=timestamp or int(time.time()), body=BODY)


def secret_of(length: int) -> str:
    return "whsec_" + base64.b64encode(bytes(length)).decode()


def test_the_standard_library_verifies_a_delivery() -> None:
    secret = new_secret()
    assert Webhook(secret).verify(BODY, signed(secret)) == {
        "type": "job.succeeded",
        "data": {"metadata": "naïve ☕"},
    }


def test_signatures_are_those_of_the_standard_library() -> None:
    secret, moment = new_secret(), datetime.now(UTC).replace(microsecond=0)
    headers = signed(secret, timestamp=int(moment.timestamp()))
    assert headers == {
        "webhook-id": ID,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(ID, moment, BODY.decode()),
    }


def test_the_example_of_the_standards_libraries() -> None:
    """The known answer that the standard's implementations test themselves with."""
    headers = signed_headers(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        webhook_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("touched", ["body", "webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_touched_delivery_is_rejected(touched: str) -> None:
    secret, now = new_secret(), int(time.time())
    headers, body = signed(secret, timestamp=now), BODY
    changes = {
        "webhook-id": ID.replace("succeeded", "failed"),
        "webhook-timestamp": str(now + 1),
        "webhook-signature": signed(new_secret(), timestamp=now)["webhook-signature"],
    }
    if touched == "body":
        body = BODY.replace(b"job.succeeded", b"job.canceled")
    else:
        headers[touched] = changes[touched]
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


def test_an_old_delivery_is_rejected() -> None:
    """Which is why each attempt is signed anew."""
    secret = new_secret()
    old = int((datetime.now(UTC) - timedelta(minutes=6)).timestamp())
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, signed(secret, timestamp=old))
    assert Webhook(secret).verify(BODY, signed(secret))


def test_either_secret_verifies_while_one_replaces_the_other() -> None:
    new, old = new_secret(), new_secret()
    headers = signed(new, old)
    assert headers["webhook-signature"].count(" ") == 1
    assert Webhook(new).verify(BODY, headers)
    assert Webhook(old).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(BODY, headers)


def test_new_secrets_are_long_and_never_the_same() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert {len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) for secret in secrets} == {32}


@pytest.mark.parametrize("length", [24, 64])
def test_secrets_of_any_allowed_length_sign(length: int) -> None:
    assert Webhook(secret_of(length)).verify(BODY, signed(secret_of(length)))


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        secret_of(23),
        secret_of(65),
        secret_of(32)[6:],
        "whsk_" + secret_of(32)[6:],
        "whsec_not base64!",
        secret_of(32) + "!",
    ],
)
def test_what_is_no_secret_does_not_sign_and_is_not_repeated(secret: str) -> None:
    with pytest.raises(ValueError, match="A signing secret") as refusal:
        signed(secret)
    assert secret.removeprefix("whsec_") == "" or secret not in str(refusal.value)


@pytest.mark.parametrize("count", [0, 3])
def test_one_secret_signs_or_two(count: int) -> None:
    with pytest.raises(ValueError, match="one secret, or two"):
        signed(*[new_secret() for _ in range(count)])
