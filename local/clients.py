"""`python -m local.clients create`: register a client of a deployment or of the local cloud."""

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
from rich.console import Console

from functions.webhook.signing import new_secret
from local.command import run
from local.errors import CommandError
from local.paths import GENERATED, ROOT
from local.progress import ProgressDisplay
from local.stack import Stack
from local.terraform import build_environment, require_terraform
from shared.auth.clients import ClientStore, new_client
from shared.aws.table import Table
from shared.clock import now_ms
from shared.errors import Transient
from shared.webhooks.secrets import SecretCipher

SCOPE = "jobs:read jobs:write"
SCOPES = frozenset(SCOPE.split())
_NOT_DEPLOYED = (
    "Nothing is deployed from this checkout. Run `make deploy`, or use the local cloud"
    " (`make client LOCAL=1`, `samovar admin … --local`)."
)


def register(dynamodb: Any, table: str, *, name: str, scope: str) -> tuple[str, str]:
    """Write a new client to the table. Return its id and its secret, of which the table holds only a hash."""
    client, secret = new_client(name=name, scope=scope)
    open_store(dynamodb, table).put(client)
    return client.client_id, secret


def give_webhook_secret(dynamodb: Any, kms: Any, *, table: str, key: str, client_id: str) -> str:
    """Give the client a new secret that signs its webhooks, and return it. The former one also signs for 24 hours.

    Raises:
        CommandError: If the table holds no such client.
    """
    secret = new_secret()
    ciphertext = SecretCipher(key, kms=kms).encrypt(client_id, secret)
    if not open_store(dynamodb, table).rotate_webhook_secret(client_id, ciphertext, now=now_ms()):
        raise CommandError(f"There is no client {client_id}. `samovar admin clients list` shows all clients.")
    return secret


def is_registered(dynamodb: Any, table: str, client_id: str) -> bool:
    """Return whether the table holds the client."""
    return open_store(dynamodb, table).get(client_id) is not None


def open_store(dynamodb: Any, table: str) -> ClientStore:
    """Return the store of the clients in `table`."""
    return ClientStore(Table(table, dynamodb=dynamodb))


def create(dynamodb: Any, kms: Any, outputs: Mapping[str, Any], *, name: str, scope: str) -> dict[str, str]:
    """Register a client in the table that Terraform's outputs name.

    Returns:
        `client_id`, `client_secret` and `webhook_secret`. No later call can return the secrets again.

    Raises:
        CommandError: If the name or the scope is not allowed, or AWS refuses the client.
    """
    check_client(name, scope)
    table, key = outputs["clients_table"], outputs["webhook_secrets_key_arn"]
    try:
        client_id, secret = register(dynamodb, table, name=name, scope=" ".join(scope.split()))
        webhook_secret = give_webhook_secret(dynamodb, kms, table=table, key=key, client_id=client_id)
    except (BotoCoreError, ClientError, Transient) as error:
        raise CommandError(f"AWS refuses to register the client: {error}") from error
    return {"client_id": client_id, "client_secret": secret, "webhook_secret": webhook_secret}


def check_client(name: str, scope: str) -> None:
    """Raise a CommandError if a client cannot have this name or scope."""
    if not name.strip():
        raise CommandError("A client needs a name. Give one: make client NAME=…")
    if not scope.split() or not SCOPES.issuperset(scope.split()):
        raise CommandError(f"The scope {scope!r} is not allowed. It may hold {' and '.join(sorted(SCOPES))}.")


def _create(*, name: str, scope: str, folder: Path | None) -> None:
    check_client(name, scope)  # first, because asking Terraform and AWS takes seconds
    # Stdout is for the credentials alone, so that a script can read them.
    with ProgressDisplay(Console(stderr=True, highlight=False)) as progress, progress.step("Registering the client"):
        created = create(*open_services(folder), name=name, scope=scope)
    for field, value in created.items():
        print(f"{field:<16}{value}")
    print("Store both secrets now: they cannot be shown again.", file=sys.stderr)


def open_services(folder: Path | None) -> tuple[Any, Any, dict[str, Any]]:
    """Return boto3 clients of DynamoDB and KMS, and Terraform's outputs.

    They belong to the local cloud in `folder`, or to the deployment if `folder` is None.

    Raises:
        CommandError: If that local cloud does not run, or nothing is deployed from this checkout.
    """
    if folder:
        stack = Stack.load(folder)
        return stack.client("dynamodb"), stack.client("kms"), stack.outputs
    outputs = read_deployment_outputs()
    region = outputs["region"]
    return boto3.client("dynamodb", region_name=region), boto3.client("kms", region_name=region), outputs


def read_deployment_outputs() -> dict[str, Any]:
    """Return the outputs of the deployment whose state `terraform/` is initialised for, by name.

    Raises:
        CommandError: If nothing is deployed from this checkout, or Terraform cannot read the state.
    """
    if not (ROOT / "terraform" / ".terraform").is_dir():
        raise CommandError(_NOT_DEPLOYED)
    answer = subprocess.run(
        [require_terraform(), "-chdir=terraform", "output", "-json", "-no-color"],
        cwd=ROOT,
        env=build_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise CommandError(
            "Terraform cannot read the outputs of the deployment. Check your AWS credentials and the backend."
            f"\n{answer.stderr.strip()}"
        )
    outputs = {name: output["value"] for name, output in json.loads(answer.stdout).items()}
    if not outputs:
        raise CommandError(_NOT_DEPLOYED)
    return outputs


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m local.clients", description=__doc__)
    create = parser.add_subparsers(required=True).add_parser("create", help="register a client")
    create.add_argument("--name", default="", help="name of the client, for your own lists")
    create.add_argument("--scope", default=SCOPE, help="scopes of the client's tokens (default: %(default)s)")
    create.add_argument("--local", action="store_true", help="register at the local cloud, not at the deployment")
    create.add_argument("--folder", type=Path, default=GENERATED, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder.resolve() if options.local else None
    return run(partial(_create, name=options.name, scope=options.scope, folder=folder))


if __name__ == "__main__":
    sys.exit(main())
