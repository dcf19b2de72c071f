"""The commands of `samovar admin`, for the operators of the service."""

from __future__ import annotations

import functools
import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

from samovar.cli.exit_codes import print_to_stderr
from samovar.cli.options import Command, json_option

client_id_argument = click.argument("client_id")


@click.group()
def admin() -> None:
    """Operate the service. Run this in a checkout of the service, with AWS credentials."""


@admin.group("clients")
@click.option("--local", is_flag=True, help="Use the local cloud.")
@click.option("--folder", type=click.Path(path_type=Path), help="The folder of the local cloud.  [default: .samovar]")
@click.pass_context
def clients(context: click.Context, *, local: bool, folder: Path | None) -> None:
    """Manage the clients of the API."""
    context.obj = (local, folder)


def pass_client_admin(command: Command) -> Command:
    """Pass the service's administration of clients to the command as its first argument."""

    @functools.wraps(command)
    def call_with_client_admin(**options: Any) -> Any:
        from samovar.cli import checkout

        local, folder = click.get_current_context().obj
        with checkout.convert_errors():
            return command(checkout.open_client_admin(local=local, folder=folder), **options)

    return call_with_client_admin


@clients.command("create")
@click.argument("name")
@click.option("--scope", default="jobs:read jobs:write", show_default=True, help="The scopes that its tokens may have.")
@pass_client_admin
def create_client(client_admin: Any, *, name: str, scope: str) -> None:
    """Create a client, and print its secrets this once."""
    _print_secrets(client_admin.create(name=name, scope=scope))


@clients.command("list")
@json_option
@pass_client_admin
def list_clients(client_admin: Any, *, as_json: bool) -> None:
    """List the clients, without secrets."""
    from samovar.cli import render

    clients = client_admin.list()
    if as_json:
        click.echo(json.dumps(clients, indent=2))
    else:
        render.print_clients(clients)


@clients.command("rotate-secret")
@client_id_argument
@pass_client_admin
def rotate_secret(client_admin: Any, *, client_id: str) -> None:
    """Create a new client secret. The previous one stays valid until the next rotation."""
    _print_secrets(client_admin.rotate_secret(client_id))


@clients.command("rotate-webhook-secret")
@client_id_argument
@pass_client_admin
def rotate_webhook_secret(client_admin: Any, *, client_id: str) -> None:
    """Create a new webhook secret. For 24 hours, webhooks are signed with both secrets."""
    _print_secrets(client_admin.rotate_webhook_secret(client_id))


@clients.command("set")
@client_id_argument
@click.option("--webhook-url", help="The URL to notify for jobs that name none. An empty value removes it.")
@click.option("--expected-parallelism", type=int, help="The number of environments that its tokens warm.")
@click.option("--requests-per-minute", type=int, help="Requests per minute. 0 restores the deployment's limit.")
@click.option("--open-jobs", type=int, help="Queued and running jobs. 0 restores the deployment's limit.")
@click.option("--bytes-per-day", type=int, help="Bytes of text per day. 0 restores the deployment's limit.")
@pass_client_admin
def set_client(
    client_admin: Any,
    *,
    client_id: str,
    webhook_url: str | None,
    expected_parallelism: int | None,
    **limits: int | None,
) -> None:
    """Change the settings and limits of a client. Options that are not given keep their values."""
    changes: dict[str, Any] = {"limits": {name: limit or None for name, limit in limits.items() if limit is not None}}
    if webhook_url is not None:
        changes["webhook_url"] = webhook_url or None
    if expected_parallelism is not None:
        changes["expected_parallelism"] = expected_parallelism
    client_admin.configure(client_id, changes)
    click.echo(f"{client_id}  changed")


@clients.command("replay-deliveries")
@client_id_argument
@click.option("--since", type=click.DateTime(), required=True, help="The start of the receiver's outage, in UTC.")
@pass_client_admin
def replay_deliveries(client_admin: Any, *, client_id: str, since: datetime) -> None:
    """Restart failed webhook deliveries, after an outage of the receiver."""
    webhook_ids = client_admin.replay(client_id, since=int(since.replace(tzinfo=timezone.utc).timestamp() * 1000))
    for webhook_id in webhook_ids:
        click.echo(webhook_id)
    print_to_stderr(f"{len(webhook_ids)} deliveries will start again within about a minute.")


@clients.command("revoke")
@client_id_argument
@click.confirmation_option(prompt="The client cannot get a token any more. Continue?")
@pass_client_admin
def revoke_client(client_admin: Any, *, client_id: str) -> None:
    """Revoke a client. Its tokens are refused within 30 seconds."""
    client_admin.revoke(client_id)
    click.echo(f"{client_id}  revoked")


def _print_secrets(secrets: dict[str, str]) -> None:
    width = max(map(len, secrets))
    for name, value in secrets.items():
        click.echo(f"{name:<{width}}  {value}")
    sys.stdout.flush()
    print_to_stderr("Keep these secrets now: they cannot be shown again.")
