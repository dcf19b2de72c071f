"""The work of `samovar analyze` and `samovar watch`: read files, submit a job, and show its progress."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from samovar.cli import render
from samovar.cli.exit_codes import INTERRUPTED, NOT_SUCCESSFUL, CommandExit, print_to_stderr
from samovar.client import Client
from samovar.inputs import NDJSON, NDJSON_SUFFIXES
from samovar.jobs import Job

# The API's limits for a request body, minus some room for the JSON around the documents.
BODY_BYTES_LIMIT = 2_400_000
BODY_DOCUMENTS_LIMIT = 1_000


def run(
    client: Client,
    *,
    files: Sequence[Path],
    text: str | None,
    features: Sequence[str],
    metadata: Sequence[str],
    webhook: str | None,
    ttl: int | None,
    idempotency_key: str | None,
    no_wait: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Submit a job, wait for it to end, and print its result.

    Raises:
        UsageError: If not exactly one of `files` and `text` is given.
        CommandExit: If the job did not succeed, or the user pressed Ctrl-C.
    """
    if (text is None) == (not files):
        raise click.UsageError("Give either FILES (- is standard input) or --text.")
    documents = _read_documents(files, text)
    options = {
        "features": list(features) or None,
        "metadata": _parse_metadata(metadata) or None,
        "webhook": webhook,
        "result_ttl_seconds": ttl,
        "idempotency_key": idempotency_key or str(uuid.uuid4()),
    }
    job = _submit(client, documents, options)
    if no_wait:
        click.echo(job.id)
        return
    follow(job, timeout=timeout)
    _print_result(job, documents, as_json=as_json)
    if job.status != "succeeded":
        raise CommandExit(NOT_SUCCESSFUL)


def _read_documents(files: Sequence[Path], text: str | None) -> list[dict[str, str]]:
    """Return the documents to analyze. If there are several files, a file's name is the id of its document.

    Raises:
        ClickException: If a file is not UTF-8, or if a line of an NDJSON file is not a document.
    """
    if text is not None:
        return [{"text": text}]
    documents = []
    for file in files:
        content = _read_file(file)
        if file.suffix.lower() in NDJSON_SUFFIXES:
            lines = enumerate(content.splitlines(), start=1)
            documents += [_parse_line(file, number, line) for number, line in lines if line]
        else:
            documents.append({"id": str(file), "text": content} if len(files) > 1 else {"text": content})
    return documents


def _read_file(file: Path) -> str:
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise click.ClickException(f"{file} is not UTF-8 text. Convert it to UTF-8 first.") from None


def _parse_line(file: Path, number: int, line: str) -> dict[str, str]:
    try:
        document = json.loads(line)
    except ValueError:
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("text"), str):
        raise click.ClickException(f'{file}, line {number} is not a document such as {{"id": "a", "text": "…"}}.')
    return document


def _parse_metadata(options: Sequence[str]) -> dict[str, str]:
    pairs = [option.partition("=") for option in options]
    if not all(separator for _, separator, _ in pairs):
        raise click.UsageError("--metadata must have the form NAME=VALUE.")
    return {name: value for name, _, value in pairs}


def _submit(client: Client, documents: list[dict[str, str]], options: dict[str, Any]) -> Job:
    """Submit the documents in the request body, or as an upload if they are too big for a body."""
    try:
        if len(documents) <= BODY_DOCUMENTS_LIMIT and len(json.dumps(documents)) <= BODY_BYTES_LIMIT:
            return client.analyze(documents=documents, **options)
        lines = "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
        upload_id = client.upload(lines.encode(), content_type=NDJSON)
        return client.analyze(upload_id=upload_id, **options)
    except KeyboardInterrupt:
        print_to_stderr(
            "\nInterrupted while the job was being submitted: it may or may not exist. Run the same command with\n"
            f"  --idempotency-key {options['idempotency_key']}\n"
            "to get the job if it exists, and to submit it if it does not."
        )
        raise CommandExit(INTERRUPTED) from None


def _print_result(job: Job, documents: list[dict[str, str]], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(render.job_to_json(job), ensure_ascii=False, indent=2))
    else:
        render.print_result(job.result, texts=[document["text"] for document in documents])


def follow(job: Job, *, timeout: float) -> None:
    """Wait for the job to end, and show a progress bar if standard error is a terminal.

    Raises:
        CommandExit: If the user pressed Ctrl-C. The job continues.
        WaitTimeout: If the job has not ended after `timeout` seconds.
    """
    try:
        _show_progress(job, timeout=timeout)
    except KeyboardInterrupt:
        print_to_stderr(f"\nThe job continues. To wait for it again: samovar watch {job.id}")
        raise CommandExit(INTERRUPTED) from None


def _show_progress(job: Job, *, timeout: float) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(_describe(job), total=None)
        job.wait(
            timeout,
            on_progress=lambda job: bar.update(
                task, description=_describe(job), completed=job.progress.done, total=job.progress.total
            ),
        )


def _describe(job: Job) -> str:
    """Return the job's status with the reason and the estimated seconds, if the API gives them."""
    reason, eta = job.data.status_reason, job.data.eta_seconds
    details = f" ({reason})" if reason and reason != job.status else ""
    estimate = f", about {eta:.0f} s" if eta and not job.is_terminal else ""
    return f"{job.id[:8]} {job.status}{details}{estimate}"
