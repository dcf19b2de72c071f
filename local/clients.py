"""`python -m local.clients create`: registers a client at a deployment, or at the local cloud."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from functions.webhook.signing import new_secret
from local.emulator import ROOT
from local.errors import Problem
from local.stack import Stack
from local.steps import run
from local.terraform import environment, require_terraform
from shared import aws
from shared.clients import ClientTable, new_client
from shared.clock import now_ms
from shared.errors import Transient
from shared.vault import Vault

SCOPE = "jobs:read jobs:write"
SCOPES = frozenset(SCOPE.split())
_NOT_DEPLOYED = (
    "Nothing is deployed from this checkout: run `make deploy`, or take the local cloud"
    " (`make client LOCAL=1`, `samovar admin … --local`)."
)


def register(dynamodb: Any, table: str, *, name: str, scope: str) -> tuple[str, str]:
    """Put a new client into the table; returns its id and its secret, which nothing can show again."""
    client, secret = new_client(name=name, scope=scope)
    dynamodb.put_item(
        TableName=table,
        Item=aws.to_item(client.model_dump(mode="json")),
        ConditionExpression="attribute_not_exists(client_id)",
    )
    return client.client_id, secret


def give_webhook_secret(dynamodb: Any, kms: Any, *, table: str, key: str, client_id: str) -> str:
    """Sign the client's webhooks with a new secret, which is returned; a former one goes on beside it for 24 hours."""
    secret = new_secret()
    sealed = Vault(key, kms=kms).seal(client_id, secret)
    if not ClientTable(table, dynamodb=dynamodb).rotate_webhook_secret(client_id, sealed, now=now_ms()):
        raise Problem(f"There is no client {client_id}.")
    return secret


def exists(dynamodb: Any, table: str, client_id: str) -> bool:
    """Whether the table holds the client."""
    return "Item" in dynamodb.get_item(TableName=table, Key=aws.to_item({"client_id": client_id}))


def create(dynamodb: Any, kms: Any, outputs: Mapping[str, Any], *, name: str, scope: str) -> dict[str, str]:
    """Register a client where Terraform's outputs say; returns what is to be shown of it, this once.

    Raises:
        Problem: when the name or the scope is none, or AWS does not take the client.
    """
    check(name, scope)
    table, key = outputs["clients_table"], outputs["webhook_secrets_key_arn"]
    try:
        client_id, secret = register(dynamodb, table, name=name, scope=" ".join(scope.split()))
        webhook_secret = give_webhook_secret(dynamodb, kms, table=table, key=key, client_id=client_id)
    except (BotoCoreError, ClientError, Transient) as error:
        raise Problem(f"AWS does not take the client: {error}") from error
    return {"client_id": client_id, "client_secret": secret, "webhook_secret": webhook_secret}


def check(name: str, scope: str) -> None:
    """Raises Problem when a client cannot have such a name or scope."""
    if not name.strip():
        raise Problem("A client needs a name: make client NAME=…")
    if not scope.split() or not SCOPES.issuperset(scope.split()):
        raise Problem(f"The scope may hold {' and '.join(sorted(SCOPES))}.")


def _create(*, name: str, scope: str, folder: Path | None) -> None:
    check(name, scope)  # before anything is asked of Terraform or AWS
    for what, value in create(*services(folder), name=name, scope=scope).items():
        print(f"{what:<16}{value}")
    print("The secrets are shown this once; kept are a hash, and what only webhooks can open.", file=sys.stderr)


def services(folder: Path | None) -> tuple[Any, Any, dict[str, Any]]:
    """DynamoDB, KMS and Terraform's outputs: of the local cloud in `folder`, or of the deployment."""
    if folder:
        stack = Stack.load(folder)
        return stack.client("dynamodb"), stack.client("kms"), stack.outputs
    outputs = deployed()
    region = outputs["region"]
    return boto3.client("dynamodb", region_name=region), boto3.client("kms", region_name=region), outputs


def deployed() -> dict[str, Any]:
    """The outputs of the deployment whose state `terraform/` is initialised for."""
    if not (ROOT / "terraform" / ".terraform").is_dir():
        raise Problem(_NOT_DEPLOYED)
    answer = subprocess.run(
        [require_terraform(), "-chdir=terraform", "output", "-json", "-no-color"],
        cwd=ROOT,
        env=environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise Problem(f"Terraform cannot read the deployment's outputs:\n{answer.stderr.strip()}")
    outputs = {name: output["value"] for name, output in json.loads(answer.stdout).items()}
    if not outputs:
        raise Problem(_NOT_DEPLOYED)
    return outputs


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m local.clients", description=__doc__)
    create = parser.add_subparsers(required=True).add_parser("create", help="register a client")
    create.add_argument("--name", default="", help="whom it is for")
    create.add_argument("--scope", default=SCOPE, help="what its tokens may carry (default: %(default)s)")
    create.add_argument("--local", action="store_true", help="at the local cloud")
    create.add_argument("--folder", type=Path, default=ROOT / ".samovar", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder.resolve() if options.local else None
    return run(partial(_create, name=options.name, scope=options.scope, folder=folder))


if __name__ == "__main__":
    sys.exit(main())
