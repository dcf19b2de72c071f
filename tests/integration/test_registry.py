"""The clients as `samovar admin` manages them: what it writes is what the token endpoint reads."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from local.errors import Problem
from local.registry import Registry
from shared.clients import ClientTable, secret_matches


@pytest.fixture
def registry(aws_services: SimpleNamespace) -> Registry:
    return Registry(aws_services.dynamodb, {"clients_table": "clients"})


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


def test_an_unknown_client_is_told(registry: Registry) -> None:
    for action in (registry.rotate_secret, registry.revoke):
        with pytest.raises(Problem, match="no client"):
            action("c_nobody")


@pytest.mark.parametrize(("name", "scope"), [(" ", "jobs:read"), ("one", ""), ("one", "jobs:admin")])
def test_what_cannot_be_a_client_is_refused(registry: Registry, name: str, scope: str) -> None:
    with pytest.raises(Problem):
        registry.create(name=name, scope=scope)
    assert registry.list() == []
