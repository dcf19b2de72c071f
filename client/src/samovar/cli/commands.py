"""The commands and their options. The modules beside this one do the work."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samovar.cli import credentials
from samovar.cli.admin_commands import admin
from samovar.cli.exit_codes import EXIT_CODES, NOT_SUCCESSFUL, CommandExit, print_to_stderr
from samovar.cli.options import job_id_argument, job_ids_argument, json_option, pass_client, timeout_option
from samovar.features import FEATURES

if TYPE_CHECKING:
    from samovar.client import Client
    from samovar.jobs import Job

_STATUSES = ["queued", "running", "succeeded", "failed", "canceled", "expired"]
_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:<4} {meaning}" for code, meaning in EXIT_CODES.items())


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="samovar")
def cli() -> None:
    """Analyze texts with Samovar."""


cli.add_command(admin)


@cli.command()
@click.option("--url", help="The URL of the API.")
@click.option("--client-id", help="The client's id. The secret is asked for, or read from SAMOVAR_CLIENT_SECRET.")
@click.option("--local", is_flag=True, help="Log in to the local cloud as its first client.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(".samovar"), show_default=True,
              help="The folder of the local cloud.")  # fmt: skip
def login(url: str | None, client_id: str | None, *, local: bool, folder: Path) -> None:
    """Check credentials and save them.

    Only you can read the file with the credentials. A secret is never an option, because other users of the machine
    can see the options of a process.
    """
    chosen = credentials.read_local_cloud(folder) if local else _ask_for_credentials(url, client_id)
    with chosen.create_client() as client:
        worker = client.authenticate()
    path = credentials.save(chosen)
    print_to_stderr(f"Logged in to {chosen.url} as {chosen.client_id}. The credentials are saved in {path}.")
    print_to_stderr(f"The worker is {worker.get('state', 'in an unknown state')}.")


def _ask_for_credentials(url: str | None, client_id: str | None) -> credentials.Credentials:
    url = url or os.environ.get("SAMOVAR_URL") or click.prompt("URL", err=True)
    client_id = client_id or os.environ.get("SAMOVAR_CLIENT_ID") or click.prompt("Client id", err=True)
    secret = os.environ.get("SAMOVAR_CLIENT_SECRET") or click.prompt("Client secret", hide_input=True, err=True)
    return credentials.Credentials(url, client_id, secret, os.environ.get(credentials.WEBHOOK_VARIABLE))


@cli.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--text", help="A text to analyze instead of files.")
@click.option("--feature", "-f", "features", multiple=True, type=click.Choice(FEATURES),
              help="A feature to compute. Can be repeated.  [default: ents, sents]")  # fmt: skip
@click.option("--metadata", "-m", multiple=True, metavar="NAME=VALUE", help="Metadata of the job. Can be repeated.")
@click.option("--webhook", metavar="URL", help="The URL to notify when the job ends.")
@click.option("--ttl", type=click.IntRange(min=1), metavar="SECONDS", help="The time for which to keep the result.")
@click.option("--idempotency-key", metavar="KEY", help="Submit one job per key.  [default: a random key]")
@click.option("--no-wait", is_flag=True, help="Print the job's id, and do not wait for the job to end.")
@timeout_option
@json_option
@pass_client
def analyze(client: Client, **options: Any) -> None:
    """Analyze FILES (- is standard input).

    Each file is one document. A file whose name ends in .ndjson or .jsonl has one document per line. Ctrl-C stops the
    command, but not the job: `samovar watch ID` waits for it again.
    """
    from samovar.cli import analysis

    analysis.run(client, **options)


@cli.command()
@job_id_argument
@timeout_option
@json_option
@pass_client
def watch(client: Client, job_id: str, *, timeout: float, as_json: bool) -> None:
    """Wait for a job to end, and show its progress."""
    from samovar.cli import analysis

    job = client.get(job_id)
    analysis.follow(job, timeout=timeout)
    _print_job(job, as_json=as_json)
    if job.status != "succeeded":
        raise CommandExit(NOT_SUCCESSFUL)


@cli.command("jobs")
@click.option("--status", type=click.Choice(_STATUSES), help="List only jobs with this status.")
@click.option("--after", "created_after", metavar="TIME", help="List only jobs created after TIME (RFC 3339).")
@click.option("--before", "created_before", metavar="TIME", help="List only jobs created before TIME (RFC 3339).")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="The largest number of jobs.")
@json_option
@pass_client
def list_jobs(client: Client, *, limit: int, as_json: bool, **filters: Any) -> None:
    """List your jobs, newest first. With --json, print one job per line."""
    from itertools import islice

    from samovar.cli import render

    jobs = islice(client.jobs(**filters, page_size=min(limit, 100)), limit)
    if not as_json:
        return render.print_jobs(list(jobs))
    for job in jobs:
        click.echo(json.dumps(render.to_json(job.data)))
    return None


@cli.command()
@job_id_argument
@json_option
@pass_client
def get(client: Client, job_id: str, *, as_json: bool) -> None:
    """Show a job. With --json, include its result."""
    _print_job(client.get(job_id), as_json=as_json)


def _print_job(job: Job, *, as_json: bool) -> None:
    from samovar.cli import render

    if as_json:
        click.echo(json.dumps(render.job_to_json(job), ensure_ascii=False, indent=2))
    else:
        render.print_job(job)


@cli.command()
@job_ids_argument
@pass_client
def cancel(client: Client, job_ids: tuple[str, ...]) -> None:
    """Cancel queued or running jobs."""
    for job_id in job_ids:
        click.echo(f"{job_id}  {client.cancel(job_id).status}")


@cli.command()
@job_ids_argument
@pass_client
def retry(client: Client, job_ids: tuple[str, ...]) -> None:
    """Start the next run of jobs that did not succeed."""
    for job_id in job_ids:
        click.echo(f"{job_id}  {client.retry(job_id).status}")


@cli.command("rm")
@job_ids_argument
@pass_client
def delete_jobs(client: Client, job_ids: tuple[str, ...]) -> None:
    """Delete jobs with their inputs and results."""
    for job_id in job_ids:
        client.delete(job_id)
        click.echo(f"{job_id}  deleted")


@cli.command()
@job_id_argument
@click.option("--html", type=click.Path(dir_okay=False, writable=True, path_type=Path),
              help="Write an HTML page to this file with displaCy (needs the package spaCy).")  # fmt: skip
@pass_client
def view(client: Client, job_id: str, *, html: Path | None) -> None:
    """Show the result of a job, with entities in color."""
    from samovar.cli import render

    job = client.get(job_id)
    texts = _get_texts(job)
    if html is None:
        return render.print_result(job.result, texts=texts)
    render.write_html(job.result, html, texts=texts)
    print_to_stderr(f"Page written to {html}")
    return None


def _get_texts(job: Job) -> list[str]:
    """Return the text of each document. Fetch the input of the job unless the result contains the texts."""
    texts = [document.text for document in job.result.documents if document.text is not None]
    if len(texts) == len(job.result.documents):
        return texts
    return [document.text for document in job.input()]


@cli.command("input")
@job_id_argument
@json_option
@pass_client
def print_input(client: Client, job_id: str, *, as_json: bool) -> None:
    """Print the texts that were submitted with a job."""
    from samovar.cli import render

    documents = client.input(job_id)
    if as_json:
        view = {"documents": [render.to_json(document) for document in documents]}
        click.echo(json.dumps(view, ensure_ascii=False, indent=2))
    else:
        render.print_input(documents)


@cli.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True,
              help="The port to listen on. 0 chooses a free port.")  # fmt: skip
@click.option("--count", type=click.IntRange(min=1), help="Stop after this number of events.")
@json_option
def listen(*, port: int, count: int | None, as_json: bool) -> None:
    """Receive and verify webhooks on this machine.

    The signing secret comes from SAMOVAR_WEBHOOK_SECRET or from the saved credentials. Otherwise it is asked for.
    """
    from samovar.cli import receiver

    receiver.listen(_find_webhook_secret(), port=port, count=count, as_json=as_json)


def _find_webhook_secret() -> str:
    if secret := os.environ.get(credentials.WEBHOOK_VARIABLE):
        return secret
    try:
        saved = credentials.load().webhook_secret
    except click.ClickException:
        saved = None
    chosen: str = saved or click.prompt("Webhook secret", hide_input=True, err=True)
    return chosen


@cli.command()
@job_id_argument
@json_option
@pass_client
def deliveries(client: Client, job_id: str, *, as_json: bool) -> None:
    """Show the webhook deliveries of a job, with their attempts."""
    from samovar.cli import render

    deliveries = client.deliveries(job_id)
    if as_json:
        click.echo(json.dumps([render.to_json(delivery) for delivery in deliveries], indent=2))
    else:
        render.print_deliveries(deliveries)


@cli.command()
@job_id_argument
@pass_client
def redeliver(client: Client, job_id: str) -> None:
    """Deliver a job's latest webhook event again. The event keeps its id."""
    delivery = client.redeliver(job_id)
    click.echo(f"{delivery.webhook_id}  {delivery.state}")


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    Use it with `eval "$(samovar completion bash)"`.
    """
    from click.shell_completion import get_completion_class

    completion_class = get_completion_class(shell)
    if completion_class is None:
        raise click.UsageError(f"click has no completion for {shell}. Use bash, zsh or fish.")
    click.echo(completion_class(cli, {}, "samovar", "_SAMOVAR_COMPLETE").source())


@cli.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def plan(arguments: tuple[str, ...]) -> None:
    """Compare warming strategies for your traffic. Run this in a checkout of the service."""
    from samovar.cli import checkout

    if exit_code := checkout.run_planner(list(arguments)):
        raise CommandExit(exit_code)
