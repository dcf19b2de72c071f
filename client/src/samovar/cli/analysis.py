"""`samovar analyze` and `watch`: submit files, follow the job with a progress bar, leave it alone on Ctrl-C."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from samovar.cli import shows
from samovar.cli.exits import INTERRUPTED, NOT_SUCCESSFUL, Stop, say
from samovar.client import NDJSON_SUFFIXES, Client
from samovar.jobs import Job

POSTED_BYTES = 2_400_000  # what a body may hold, less what is around the documents
DOCUMENTS_POSTED = 1_000
NDJSON = "application/x-ndjson"


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
    """Submit, follow and show a job."""
    if (text is None) == (not files):
        raise click.UsageError("Give FILES (- is standard input), or --text.")
    documents = _documents(files, text)
    options = {
        "features": list(features) or None,
        "metadata": _pairs(metadata) or None,
        "webhook": webhook,
        "result_ttl_seconds": ttl,
        "idempotency_key": idempotency_key or str(uuid.uuid4()),
    }
    job = _submit(client, documents, options)
    if no_wait:
        click.echo(job.id)
        return
    follow(job, timeout=timeout)
    if as_json:
        click.echo(json.dumps(shows.with_result(job), ensure_ascii=False, indent=2))
    else:
        shows.result(job.result, [document["text"] for document in documents])
    if job.status != "succeeded":
        raise Stop(NOT_SUCCESSFUL)


def _documents(files: Sequence[Path], text: str | None) -> list[dict[str, str]]:
    """What is to be analyzed; a file's document has the file's name for an id, if others are beside it.

    Raises:
        ClickException: when a file is not UTF-8, or a line of NDJSON is no document.
    """
    if text is not None:
        return [{"text": text}]
    documents = []
    for file in files:
        content = _read(file)
        if file.suffix.lower() in NDJSON_SUFFIXES:
            documents += [_line(file, number, line) for number, line in enumerate(content.splitlines(), 1) if line]
        else:
            documents.append({"id": str(file), "text": content} if len(files) > 1 else {"text": content})
    return documents


def _read(file: Path) -> str:
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise click.ClickException(f"{file} is not UTF-8 text.") from None


def _line(file: Path, number: int, line: str) -> dict[str, str]:
    try:
        document = json.loads(line)
    except ValueError:
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("text"), str):
        raise click.ClickException(f'{file}, line {number}: not a document such as {{"id": "a", "text": "…"}}.')
    return document


def _pairs(given: Sequence[str]) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in given]
    if not all(separator for _, separator, _ in pairs):
        raise click.UsageError("--metadata wants NAME=VALUE.")
    return {name: value for name, _, value in pairs}


def _submit(client: Client, documents: list[dict[str, str]], options: dict[str, Any]) -> Job:
    """Post what a body can hold, upload what it cannot."""
    try:
        if len(documents) <= DOCUMENTS_POSTED and len(json.dumps(documents)) <= POSTED_BYTES:
            return client.analyze(documents=documents, **options)
        lines = "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
        upload_id = client.upload(lines.encode(), content_type=NDJSON)
        return client.analyze(upload_id=upload_id, **options)
    except KeyboardInterrupt:
        say("\nInterrupted while submitting: whether there is a job is not known. The same command with")
        say(f"  --idempotency-key {options['idempotency_key']}\nfinds it, or makes it.")
        raise Stop(INTERRUPTED) from None


def follow(job: Job, *, timeout: float) -> None:
    """Wait for the job's end, with a progress bar if somebody looks; Ctrl-C leaves it alone, and says how to go on."""
    try:
        _show_progress(job, timeout=timeout)
    except KeyboardInterrupt:
        say(f"\nThe job goes on: samovar watch {job.id}")
        raise Stop(INTERRUPTED) from None


def _show_progress(job: Job, *, timeout: float) -> None:
    """Wait for the job's end, with a progress bar if standard error is a terminal."""
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
        task = bar.add_task(_described(job), total=None)
        job.wait(
            timeout,
            on_progress=lambda seen: bar.update(
                task, description=_described(seen), completed=seen.progress.done, total=seen.progress.total
            ),
        )


def _described(job: Job) -> str:
    """How it is, and why it waits."""
    reason, eta = job.data.status_reason, job.data.eta_seconds
    because = f" ({reason})" if reason and reason != job.status else ""
    soon = f", about {eta:.0f} s" if eta and not job.is_terminal else ""
    return f"{job.id[:8]} {job.status}{because}{soon}"
