"""The administration of clients. `samovar admin` and the token endpoint share one table."""

from __future__ import annotations

import dataclasses
from typing import Any

import boto3
import pytest

from local.client_admin import ClientAdmin
from local.errors import CommandError
from shared.auth.clients import ClientStore, secret_matches
from shared.aws.table import Table
from shared.clock import now_ms
from shared.webhooks.secrets import SecretCipher
from tests.conftest import AwsServices


@pytest.fixture
def admin(aws_services: AwsServices) -> ClientAdmin:
    key = boto3.client("kms").create_key()["KeyMetadata"]["Arn"]
    return ClientAdmin(
        aws_services.dynamodb,
        boto3.client("kms"),
        {"clients_table": "clients", "jobs_table": "jobs", "webhook_secrets_key_arn": key},
    )


def is_admitted(client_id: str, secret: str) -> bool:
    return secret_matches(ClientStore(Table("clients")).get(client_id), secret)


def test_a_client_is_registered_rotated_and_revoked(admin: ClientAdmin) -> None:
    created = admin.create(name="one", scope="jobs:read  jobs:write")
    client_id, first = created["client_id"], created["client_secret"]
    second, third = (admin.rotate_secret(client_id)["client_secret"] for _ in range(2))
    assert [is_admitted(client_id, secret) for secret in (first, second, third)] == [False, True, True]
    admin.revoke(client_id)
    admin.revoke(client_id)
    assert not is_admitted(client_id, third)
    with pytest.raises(CommandError, match="revoked"):
        admin.rotate_secret(client_id)


def test_attributes_of_a_client_are_set_and_removed(admin: ClientAdmin) -> None:
    client_id = admin.create(name="one", scope="jobs:read")["client_id"]
    admin.configure(client_id, {"webhook_url": "https://receiver.example/", "limits": {"open_jobs": 7}})
    admin.configure(client_id, {"expected_parallelism": 4, "limits": {"bytes_per_day": 9}})
    client = ClientStore(Table("clients")).get(client_id)
    assert client is not None
    assert (client.webhook_url, client.expected_parallelism) == ("https://receiver.example/", 4)
    assert client.limits == {"open_jobs": 7, "bytes_per_day": 9}
    admin.configure(client_id, {"webhook_url": None, "limits": {"open_jobs": None}})
    client = ClientStore(Table("clients")).get(client_id)
    assert client is not None
    assert (client.webhook_url, client.limits) == (None, {"bytes_per_day": 9})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"webhook_url": "http://receiver.example/"}, "https"),
        ({"webhook_url": "https://127.0.0.1/"}, "127.0.0.1"),
        ({"expected_parallelism": 0}, "expected_parallelism"),
        ({"limits": {"open_jobs": -1}}, "open_jobs"),
    ],
)
def test_an_invalid_value_is_an_error_that_names_it(admin: ClientAdmin, changes: dict[str, Any], named: str) -> None:
    client_id = admin.create(name="one", scope="jobs:read")["client_id"]
    with pytest.raises(CommandError, match=named):
        admin.configure(client_id, changes)


def test_a_webhook_url_on_this_machine_is_allowed_only_in_a_local_cloud(admin: ClientAdmin) -> None:
    client_id = admin.create(name="one", scope="jobs:read")["client_id"]
    url = "http://127.0.0.1:8000/hook"
    with pytest.raises(CommandError, match="https"):
        admin.configure(client_id, {"webhook_url": url})
    local = dataclasses.replace(admin, allow_loopback=True)
    local.configure(client_id, {"webhook_url": url})
    client = ClientStore(Table("clients")).get(client_id)
    assert client is not None
    assert client.webhook_url == url
    with pytest.raises(CommandError, match="not public"):
        local.configure(client_id, {"webhook_url": "http://10.0.0.1/"})


def test_a_replay_without_failed_deliveries_replays_none(admin: ClientAdmin, aws_services: AwsServices) -> None:
    client_id = admin.create(name="one", scope="jobs:read")["client_id"]
    assert admin.replay(client_id, since=0) == ()
    with pytest.raises(CommandError, match="no client"):
        admin.replay("c_nobody", since=0)


def test_rotating_the_webhook_secret_keeps_the_former_one(admin: ClientAdmin) -> None:
    created = admin.create(name="one", scope="jobs:read")
    again = admin.rotate_webhook_secret(created["client_id"])
    assert again["webhook_secret"].startswith("whsec_")
    assert again["webhook_secret"] != created["webhook_secret"]
    client = ClientStore(Table("clients")).get(created["client_id"])
    assert client is not None
    assert len(client.webhook_secrets) == 2


def test_the_list_holds_no_secret(admin: ClientAdmin) -> None:
    created = [admin.create(name=name, scope="jobs:read") for name in ("one", "two")]
    listed = admin.list()
    assert {one["client_id"] for one in listed} == {one["client_id"] for one in created}
    assert "sha256" not in str(listed)
    assert listed[0]["secrets"] == 1


def test_attributes_of_a_newer_version_are_kept(admin: ClientAdmin, aws_services: AwsServices) -> None:
    """An update writes only the attributes that change."""
    client_id = admin.create(name="one", scope="jobs:read")["client_id"]
    key = {"client_id": {"S": client_id}}
    aws_services.dynamodb.update_item(
        TableName="clients",
        Key=key,
        UpdateExpression="SET novelty = :n",
        ExpressionAttributeValues={":n": {"S": "kept"}},
    )
    admin.rotate_secret(client_id)
    admin.revoke(client_id)
    assert aws_services.dynamodb.get_item(TableName="clients", Key=key)["Item"]["novelty"] == {"S": "kept"}


def test_of_two_rotations_at_once_one_fails(admin: ClientAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rotation that fails shows no secret, because its secret would not be valid."""
    client_id = admin.create(name="one", scope="jobs:read")["client_id"]
    stale = admin._get(client_id)
    won = admin.rotate_secret(client_id)["client_secret"]
    monkeypatch.setattr(ClientAdmin, "_get", lambda self, client_id: stale)
    with pytest.raises(CommandError, match="same time"):
        admin.rotate_secret(client_id)
    assert is_admitted(client_id, won)


@pytest.mark.parametrize("what", ["rotate_secret", "rotate_webhook_secret"])
def test_a_rotation_that_boto3_repeats_succeeds(admin: ClientAdmin, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """An error would leave a valid secret that nobody knows."""
    client_id = admin.create(name="one", scope="jobs:read")["client_id"]
    update = admin.dynamodb.update_item

    def twice(**options: Any) -> Any:
        update(**options)
        return update(**options)

    monkeypatch.setattr(admin.dynamodb, "update_item", twice)
    rotated = getattr(admin, what)(client_id)
    client = ClientStore(Table("clients")).get(client_id)
    assert client is not None
    if what == "rotate_secret":
        assert len(client.secrets) == 2
        assert is_admitted(client_id, rotated["client_secret"])
    else:
        assert len(client.webhook_secrets) == 2
        ciphertexts = client.webhook_ciphertexts(now=now_ms())
        assert SecretCipher(kms=admin.kms).decrypt(client_id, ciphertexts[0]) == rotated["webhook_secret"]


def test_an_unknown_client_is_an_error(admin: ClientAdmin) -> None:
    for action in (admin.rotate_secret, admin.revoke):
        with pytest.raises(CommandError, match="no client"):
            action("c_nobody")


@pytest.mark.parametrize(("name", "scope"), [(" ", "jobs:read"), ("one", ""), ("one", "jobs:admin")])
def test_an_invalid_name_or_scope_is_an_error(admin: ClientAdmin, name: str, scope: str) -> None:
    with pytest.raises(CommandError):
        admin.create(name=name, scope=scope)
    assert admin.list() == []
