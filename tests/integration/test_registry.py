"""The clients as `samovar admin` manages them: what it writes is what the token endpoint reads."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from local.errors import Problem
from local.registry import Registry
from shared.clients import ClientTable, secret_matches
from shared.clock import now_ms
from shared.vault import Vault


@pytest.fixture
def registry(aws_services: SimpleNamespace) -> Registry:
    key = boto3.client("kms").create_key()["KeyMetadata"]["Arn"]
    return Registry(
        aws_services.dynamodb,
        boto3.client("kms"),
        {"clients_table": "clients", "jobs_table": "jobs", "webhook_secrets_key_arn": key},
    )


def admitted(client_id: str, secret: str) -> bool:
    return secret_matches(ClientTable("clients").get(client_id), secret)


def test_a_client_is_admitted_rotated_and_revoked(registry: Registry) -> None:
    made = registry.create(name="one", scope="jobs:read  jobs:write")
    client_id, first = made["client_id"], made["client_secret"]
    second, third = (registry.rotate_secret(client_id)["client_secret"] for _ in range(2))
    assert [admitted(client_id, secret) for secret in (first, second, third)] == [False, True, True]
    registry.revoke(client_id)
    registry.revoke(client_id)
    assert not admitted(client_id, third)
    with pytest.raises(Problem, match="revoked"):
        registry.rotate_secret(client_id)


def test_a_client_is_given_what_it_needs(registry: Registry) -> None:
    client_id = registry.create(name="one", scope="jobs:read")["client_id"]
    registry.configure(client_id, {"webhook_url": "https://receiver.example/", "limits": {"open_jobs": 7}})
    registry.configure(client_id, {"expected_parallelism": 4, "limits": {"bytes_per_day": 9}})
    client = ClientTable("clients").get(client_id)
    assert client is not None
    assert (client.webhook_url, client.expected_parallelism) == ("https://receiver.example/", 4)
    assert client.limits == {"open_jobs": 7, "bytes_per_day": 9}
    registry.configure(client_id, {"webhook_url": None, "limits": {"open_jobs": None}})
    client = ClientTable("clients").get(client_id)
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
def test_what_a_client_may_not_have_is_named(registry: Registry, changes: dict[str, Any], named: str) -> None:
    client_id = registry.create(name="one", scope="jobs:read")["client_id"]
    with pytest.raises(Problem, match=named):
        registry.configure(client_id, changes)


def test_a_default_receiver_on_this_machine_is_the_local_clouds_alone(registry: Registry) -> None:
    client_id = registry.create(name="one", scope="jobs:read")["client_id"]
    url = "http://127.0.0.1:8000/hook"
    with pytest.raises(Problem, match="https"):
        registry.configure(client_id, {"webhook_url": url})
    local = dataclasses.replace(registry, allow_loopback=True)
    local.configure(client_id, {"webhook_url": url})
    client = ClientTable("clients").get(client_id)
    assert client is not None
    assert client.webhook_url == url
    with pytest.raises(Problem, match="not public"):
        local.configure(client_id, {"webhook_url": "http://10.0.0.1/"})


def test_an_outage_is_replayed(registry: Registry, aws_services: SimpleNamespace) -> None:
    client_id = registry.create(name="one", scope="jobs:read")["client_id"]
    assert registry.replay(client_id, since=0) == ()
    with pytest.raises(Problem, match="no client"):
        registry.replay("c_nobody", since=0)


def test_signing_secrets_rotate(registry: Registry) -> None:
    made = registry.create(name="one", scope="jobs:read")
    again = registry.rotate_webhook_secret(made["client_id"])
    assert again["webhook_secret"].startswith("whsec_")
    assert again["webhook_secret"] != made["webhook_secret"]
    client = ClientTable("clients").get(made["client_id"])
    assert client is not None
    assert len(client.webhook_secrets) == 2


def test_the_list_holds_nothing_secret(registry: Registry) -> None:
    made = [registry.create(name=name, scope="jobs:read") for name in ("one", "two")]
    listed = registry.list()
    assert {one["client_id"] for one in listed} == {one["client_id"] for one in made}
    assert "sha256" not in str(listed)
    assert listed[0]["secrets"] == 1


def test_what_a_newer_version_keeps_with_a_client_stays(registry: Registry, aws_services: SimpleNamespace) -> None:
    """Only what changes is written."""
    client_id = registry.create(name="one", scope="jobs:read")["client_id"]
    key = {"client_id": {"S": client_id}}
    aws_services.dynamodb.update_item(
        TableName="clients",
        Key=key,
        UpdateExpression="SET novelty = :n",
        ExpressionAttributeValues={":n": {"S": "kept"}},
    )
    registry.rotate_secret(client_id)
    registry.revoke(client_id)
    assert aws_services.dynamodb.get_item(TableName="clients", Key=key)["Item"]["novelty"] == {"S": "kept"}


def test_two_rotations_at_once_do_not_lose_a_secret(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that read first is told, and shows no secret that does not count."""
    client_id = registry.create(name="one", scope="jobs:read")["client_id"]
    stale = registry._get(client_id)
    won = registry.rotate_secret(client_id)["client_secret"]
    monkeypatch.setattr(Registry, "_get", lambda self, client_id: stale)
    with pytest.raises(Problem, match="same time"):
        registry.rotate_secret(client_id)
    assert admitted(client_id, won)


@pytest.mark.parametrize("what", ["rotate_secret", "rotate_webhook_secret"])
def test_a_rotation_whose_answer_is_lost_is_the_same_rotation(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Botocore repeats the call; as a failure it would leave a secret that nobody knows beside the one in use."""
    client_id = registry.create(name="one", scope="jobs:read")["client_id"]
    update = registry.dynamodb.update_item

    def twice(**options: Any) -> Any:
        update(**options)
        return update(**options)

    monkeypatch.setattr(registry.dynamodb, "update_item", twice)
    rotated = getattr(registry, what)(client_id)
    client = ClientTable("clients").get(client_id)
    assert client is not None
    if what == "rotate_secret":
        assert len(client.secrets) == 2
        assert admitted(client_id, rotated["client_secret"])
    else:
        assert len(client.webhook_secrets) == 2
        sealed = client.sealed_webhook_secrets(now=now_ms())
        assert Vault(kms=registry.kms).open(client_id, sealed[0]) == rotated["webhook_secret"]


def test_an_unknown_client_is_told(registry: Registry) -> None:
    for action in (registry.rotate_secret, registry.revoke):
        with pytest.raises(Problem, match="no client"):
            action("c_nobody")


@pytest.mark.parametrize(("name", "scope"), [(" ", "jobs:read"), ("one", ""), ("one", "jobs:admin")])
def test_what_cannot_be_a_client_is_refused(registry: Registry, name: str, scope: str) -> None:
    with pytest.raises(Problem):
        registry.create(name=name, scope=scope)
    assert registry.list() == []
