"""The commands and their options; what they do is in modules of their own."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samovar.cli import credentials
from samovar.cli.exits import EXIT_STATUSES, NOT_SUCCESSFUL, Stop, say

if TYPE_CHECKING:
    from samovar.client import Client
    from samovar.jobs import Job

Command = Callable[..., Any]
_STATUSES = ["queued", "running", "succeeded", "failed", "canceled", "expired"]
_FEATURES = ["ents", "sents", "tokens", "noun_chunks"]
_EXITS = "\b\nExit statuses:\n" + "\n".join(f"  {status:<4} {what}" for status, what in EXIT_STATUSES.items())

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
timeout = click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=3600, show_default=True,
                       help="Seconds to wait for the job's end.")  # fmt: skip


def with_client(command: Command) -> Command:
    """Give the command a client of the API."""

    @functools.wraps(command)
    def wrapped(**options: Any) -> Any:
        with credentials.load().client() as client:
            return command(client, **options)

    return wrapped


@click.group(epilog=_EXITS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="samovar")
def cli() -> None:
    """Analyze texts with Samovar."""


@cli.command()
@click.option("--url", help="The API.")
@click.option("--client-id", help="Who you are; the secret is asked for, or taken from SAMOVAR_CLIENT_SECRET.")
@click.option("--local", is_flag=True, help="As the first client of the local cloud.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(".samovar"), show_default=True,
              help="Where the local cloud lives.")  # fmt: skip
def login(url: str | None, client_id: str | None, *, local: bool, folder: Path) -> None:
    """Check credentials and keep them in a file that only you can read.

    A secret is never an argument, which others could see in the list of processes.
    """
    given = credentials.of_local_cloud(folder) if local else _asked(url, client_id)
    with given.client() as client:
        worker = client.authenticate()
    say(f"Logged in to {given.url} as {given.client_id}; kept in {credentials.save(given)}")
    say(f"The worker is {worker.get('state', 'in an unknown state')}.")


def _asked(url: str | None, client_id: str | None) -> credentials.Credentials:
    url = url or os.environ.get("SAMOVAR_URL") or click.prompt("URL", err=True)
    client_id = client_id or os.environ.get("SAMOVAR_CLIENT_ID") or click.prompt("Client id", err=True)
    secret = os.environ.get("SAMOVAR_CLIENT_SECRET") or click.prompt("Client secret", hide_input=True, err=True)
    return credentials.Credentials(url, client_id, secret, os.environ.get(credentials.WEBHOOK_VARIABLE))


@cli.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--text", help="A text, in place of files.")
@click.option("--feature", "-f", "features", multiple=True, type=click.Choice(_FEATURES),
              help="What to find; may be repeated.  [default: ents, sents]")  # fmt: skip
@click.option("--metadata", "-m", multiple=True, metavar="NAME=VALUE", help="To find it again; may be repeated.")
@click.option("--webhook", metavar="URL", help="Where to announce its end.")
@click.option("--ttl", type=click.IntRange(min=1), metavar="SECONDS", help="How long to keep the result.")
@click.option("--idempotency-key", metavar="KEY", help="The same key is the same job.  [default: a random one]")
@click.option("--no-wait", is_flag=True, help="Print the job's id and leave.")
@timeout
@as_json
@with_client
def analyze(client: Client, **options: Any) -> None:
    """Analyze FILES (- is standard input), a document each; NDJSON holds a document a line.

    Ctrl-C leaves the job alone: `samovar watch ID` goes on with it.
    """
    from samovar.cli import analysis

    analysis.run(client, **options)


@cli.command()
@click.argument("job_id", metavar="ID")
@timeout
@as_json
@with_client
def watch(client: Client, job_id: str, *, timeout: float, as_json: bool) -> None:
    """Wait for a job's end, and say how far it is."""
    from samovar.cli import analysis

    job = client.get(job_id)
    analysis.follow(job, timeout=timeout)
    _print_job(job, as_json=as_json)
    if job.status != "succeeded":
        raise Stop(NOT_SUCCESSFUL)


@cli.command("jobs")
@click.option("--status", type=click.Choice(_STATUSES), help="Those alone.")
@click.option("--after", "created_after", metavar="TIME", help="Created after it (RFC 3339).")
@click.option("--before", "created_before", metavar="TIME", help="Created before it (RFC 3339).")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@as_json
@with_client
def list_jobs(client: Client, *, limit: int, as_json: bool, **filters: Any) -> None:
    """List your jobs, newest first; with --json one a line."""
    from itertools import islice

    from samovar.cli import shows

    jobs = islice(client.jobs(**filters, page_size=min(limit, 100)), limit)
    if not as_json:
        return shows.jobs(list(jobs))
    for job in jobs:
        click.echo(json.dumps(shows.plain(job.data)))
    return None


@cli.command()
@click.argument("job_id", metavar="ID")
@as_json
@with_client
def get(client: Client, job_id: str, *, as_json: bool) -> None:
    """Show a job; with --json all of it, with its result."""
    _print_job(client.get(job_id), as_json=as_json)


def _print_job(job: Job, *, as_json: bool) -> None:
    from samovar.cli import shows

    if as_json:
        click.echo(json.dumps(shows.with_result(job), ensure_ascii=False, indent=2))
    else:
        shows.job(job)


def _for_each(name: str, text: str, action: Callable[[Client, str], str]) -> None:
    """A command that does something to jobs, one after the other, and says what became of them."""

    @cli.command(name, help=text)
    @click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
    @with_client
    def command(client: Client, job_ids: tuple[str, ...]) -> None:
        for job_id in job_ids:
            click.echo(f"{job_id}  {action(client, job_id)}")


def _rm(client: Client, job_id: str) -> str:
    client.delete(job_id)
    return "deleted"


_for_each("cancel", "End open jobs at once.", lambda client, job_id: client.cancel(job_id).status)
_for_each("retry", "Begin the next run of jobs that failed, were canceled or have expired.",
          lambda client, job_id: client.retry(job_id).status)  # fmt: skip
_for_each("rm", "Delete jobs with their inputs and results.", _rm)


@cli.command()
@click.argument("job_id", metavar="ID")
@click.option("--text", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="The file it was made of, unless it has `tokens`, which bring the text along.")  # fmt: skip
@click.option("--html", type=click.Path(dir_okay=False, writable=True, path_type=Path),
              help="Write a page there, by displaCy (needs the package spaCy).")  # fmt: skip
@with_client
def view(client: Client, job_id: str, *, file: Path | None, html: Path | None) -> None:
    """Show what a job has found, entities in colour."""
    from samovar.cli import shows

    texts = [file.read_text(encoding="utf-8")] if file else None
    result = client.get(job_id).result
    if html is None:
        return shows.result(result, texts)
    shows.write_html(result, texts, html)
    say(f"Written to {html}")
    return None


@cli.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0: any that is free.")
@click.option("--count", type=click.IntRange(min=1), help="Leave after so many events.")
@as_json
def listen(*, port: int, count: int | None, as_json: bool) -> None:
    """Receive webhooks on this machine, verify and print them.

    The secret that signs them comes from SAMOVAR_WEBHOOK_SECRET, from the login, or is asked for.
    """
    from samovar.cli import receiver

    receiver.listen(_webhook_secret(), port=port, count=count, as_json=as_json)


def _webhook_secret() -> str:
    if given := os.environ.get(credentials.WEBHOOK_VARIABLE):
        return given
    try:
        kept = credentials.load().webhook_secret
    except click.ClickException:
        kept = None
    asked: str = kept or click.prompt("Webhook secret", hide_input=True, err=True)
    return asked


@cli.command()
@click.argument("job_id", metavar="ID")
@as_json
@with_client
def deliveries(client: Client, job_id: str, *, as_json: bool) -> None:
    """Show what was announced of a job, and each attempt to deliver it."""
    from samovar.cli import shows

    found = client.deliveries(job_id)
    if as_json:
        click.echo(json.dumps([shows.plain(one) for one in found], indent=2))
    else:
        shows.deliveries(found)


@cli.command()
@click.argument("job_id", metavar="ID")
@with_client
def redeliver(client: Client, job_id: str) -> None:
    """Deliver a job's last announcement again, under its own id."""
    again = client.redeliver(job_id)
    click.echo(f"{again.webhook_id}  {again.state}")


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion of a shell: `eval "$(samovar completion bash)"`."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    click.echo(kind(cli, {}, "samovar", "_SAMOVAR_COMPLETE").source())


@cli.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def plan(arguments: tuple[str, ...]) -> None:
    """Compute which way of warming a traffic should buy (in a checkout of the service); `plan --help` says more."""
    from samovar.cli import admin as service

    if status := service.plan(list(arguments)):
        raise Stop(status)


@cli.group()
def admin() -> None:
    """Run the service (in a checkout of it, with AWS credentials)."""


@admin.group("clients")
@click.option("--local", is_flag=True, help="Those of the local cloud.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where the local cloud lives.  [default: .samovar]")
@click.pass_context
def clients(context: click.Context, *, local: bool, folder: Path | None) -> None:
    """Admit clients, and show them the door."""
    context.obj = (local, folder)


def with_registry(command: Command) -> Command:
    """Give the command the clients of the deployment, or of the local cloud."""

    @functools.wraps(command)
    def wrapped(**options: Any) -> Any:
        from samovar.cli import admin as service

        local, folder = click.get_current_context().obj
        with service.explained():
            return command(service.registry(local=local, folder=folder), **options)

    return wrapped


@clients.command("create")
@click.argument("name")
@click.option("--scope", default="jobs:read jobs:write", show_default=True, help="What its tokens may carry.")
@with_registry
def create_client(registry: Any, *, name: str, scope: str) -> None:
    """Admit a client; its secrets are shown this once."""
    _shown_once(registry.create(name=name, scope=scope))


@clients.command("list")
@as_json
@with_registry
def list_clients(registry: Any, *, as_json: bool) -> None:
    """List the clients, without anything secret."""
    from samovar.cli import shows

    found = registry.list()
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        shows.clients(found)


@clients.command("rotate-secret")
@click.argument("client_id")
@with_registry
def rotate_secret(registry: Any, *, client_id: str) -> None:
    """Make a new secret; the newest of the former ones goes on beside it, until the next rotation."""
    _shown_once(registry.rotate_secret(client_id))


@clients.command("rotate-webhook-secret")
@click.argument("client_id")
@with_registry
def rotate_webhook_secret(registry: Any, *, client_id: str) -> None:
    """Make a new secret for signing webhooks; both sign for 24 hours."""
    _shown_once(registry.rotate_webhook_secret(client_id))


@clients.command("set")
@click.argument("client_id")
@click.option("--webhook-url", help="Where ends of jobs are announced to unless a request says; empty takes it away.")
@click.option("--expected-parallelism", type=int, help="Environments that its tokens warm.")
@click.option("--requests-per-minute", type=int, help="0 is the deployment's own limit, here and below.")
@click.option("--open-jobs", type=int, help="Jobs that have not ended.")
@click.option("--bytes-per-day", type=int, help="Bytes of text.")
@with_registry
def set_client(
    registry: Any, *, client_id: str, webhook_url: str | None, expected_parallelism: int | None, **limits: int | None
) -> None:
    """Change what a client has; what is not given stays."""
    changes: dict[str, Any] = {"limits": {name: most or None for name, most in limits.items() if most is not None}}
    if webhook_url is not None:
        changes["webhook_url"] = webhook_url or None
    if expected_parallelism is not None:
        changes["expected_parallelism"] = expected_parallelism
    registry.configure(client_id, changes)
    click.echo(f"{client_id}  changed")


@clients.command("replay-deliveries")
@click.argument("client_id")
@click.option("--since", type=click.DateTime(), required=True, help="When the outage began, in UTC.")
@with_registry
def replay_deliveries(registry: Any, *, client_id: str, since: datetime) -> None:
    """Deliver again what failed to arrive since then, as after an outage of the receiver."""
    names = registry.replay(client_id, since=int(since.replace(tzinfo=timezone.utc).timestamp() * 1000))
    for name in names:
        click.echo(name)
    say(f"{len(names)} deliveries begin anew, within about a minute.")


@clients.command("revoke")
@click.argument("client_id")
@click.confirmation_option(prompt="It gets no token any more. Go on?")
@with_registry
def revoke_client(registry: Any, *, client_id: str) -> None:
    """Refuse a client from now on; a token that it has already is refused within half a minute."""
    registry.revoke(client_id)
    click.echo(f"{client_id}  revoked")


def _shown_once(secrets: dict[str, str]) -> None:
    width = max(map(len, secrets))
    for name, value in secrets.items():
        click.echo(f"{name:<{width}}  {value}")
    sys.stdout.flush()
    say("Secrets are shown this once; only what verifies or seals them is kept.")
