"""The output of the commands: tables and colored text for people, JSON for scripts."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from samovar.jobs import Job
from samovar.models import Delivery, Document, InputDocument, Result, Stats

_COLORS = ("cyan", "green", "magenta", "yellow", "blue", "red")
_UNBROKEN_COLUMNS = {"id", "client_id", "webhook_id"}  # users copy these values
_PIPE_WIDTH = 1_000
_STATUS_STYLES = {"succeeded": "green", "failed": "red", "expired": "red", "canceled": "yellow", "running": "cyan"}


def to_json(model: BaseModel) -> dict[str, Any]:
    """Return a part of an answer as JSON, with exactly the fields that the API sent."""
    return model.model_dump(mode="json", exclude_unset=True)


def job_to_json(job: Job) -> dict[str, Any]:
    """Return a job as JSON, with its result if it succeeded. A result behind a URL is fetched."""
    return {**to_json(job.data), **({"result": to_json(job.result)} if job.status == "succeeded" else {})}


def print_jobs(jobs: Sequence[Job]) -> None:
    """Print a table with one row per job."""
    table = _create_table("id", "status", "created", "progress")
    for job in jobs:
        progress = f"{job.progress.done}/{job.progress.total}"
        table.add_row(job.id, _style_status(job.status), _format_time(job.created_at), progress)
    _print(table)


def print_job(job: Job) -> None:
    """Print the fields of a job, without its result."""
    table = Table.grid(padding=(0, 2))
    for name, value in _list_fields(job):
        table.add_row(Text(name, "bold"), value if isinstance(value, Text) else Text(str(value)))
    _print(table)


def _list_fields(job: Job) -> Iterator[tuple[str, Any]]:
    data = job.data
    yield "id", job.id
    yield "status", _style_status(job.status)
    if data.status_reason:
        yield "reason", data.status_reason
    yield "created", _format_time(data.created_at)
    if data.completed_at:
        yield "completed", _format_time(data.completed_at)
    yield "run, attempt", f"{data.run}, {data.attempt}"
    yield "progress", f"{job.progress.done}/{job.progress.total}"
    yield "features", ", ".join(data.features)
    if data.metadata:
        yield "metadata", ", ".join(f"{name}={value}" for name, value in data.metadata.items())
    if data.error:
        yield "error", f"{data.error.title}: {data.error.detail} ({data.error.code})"
    if data.webhook:
        yield "webhook", f"{data.webhook.url}: {data.webhook.state}"
    if data.expires_at:
        yield "kept until", _format_time(data.expires_at)


def print_result(result: Result, *, texts: Sequence[str]) -> None:
    """Print each document with its entities in color, and its counts if the job has the feature `stats`.

    `texts` are the texts of the documents, in the same order.
    """
    for document, text in zip(result.documents, texts, strict=True):
        if document.id:
            _print_title(document.id)
        if document.error:
            _print(Text(f"{document.error.get('title')}: {document.error.get('detail')}", "red"))
        else:
            _print(_highlight_entities(document, text))
        if document.stats:
            _print(Text(_format_stats(document.stats), "dim"))


def print_input(documents: Sequence[InputDocument]) -> None:
    """Print the text of each document as it is, below its id."""
    for document in documents:
        if document.id:
            _print_title(document.id)
        click.echo(document.text, nl=not document.text.endswith("\n"))


def _print_title(document_id: str) -> None:
    _print(Text(f"── {document_id}", "bold"))


def _highlight_entities(document: Document, text: str) -> Text:
    """Return the text with its entities colored and labeled. The entities of spaCy are in order and do not overlap."""
    highlighted, end = Text(), 0
    for ent in document.ents:
        highlighted.append(text[end : ent.start])
        highlighted.append(text[ent.start : ent.end], f"bold {_choose_color(ent.label)}")
        highlighted.append(f" {ent.label}", f"dim {_choose_color(ent.label)}")
        end = ent.end
    highlighted.append(text[end:])
    return highlighted


def _format_stats(stats: Stats) -> str:
    labels = ", ".join(f"{label} {count}" for label, count in sorted(stats.ents.items()))
    entities = f"{sum(stats.ents.values())} ({labels})" if labels else "0"
    return f"characters: {stats.characters}, words: {stats.words}, sentences: {stats.sentences}, entities: {entities}"


def _choose_color(label: str | None) -> str:
    # Unlike `hash`, CRC-32 gives a label the same color in every process.
    return _COLORS[zlib.crc32((label or "").encode()) % len(_COLORS)]


def write_html(result: Result, path: Path, *, texts: Sequence[str]) -> None:
    """Write an HTML page with all documents to `path`, rendered by displaCy.

    `texts` are the texts of the documents, in the same order.

    Raises:
        ClickException: If spaCy is not installed.
    """
    try:
        from spacy import displacy
    except ImportError:
        message = "--html needs displaCy, a part of spaCy. Run: pip install 'samovar[spacy]'"
        raise click.ClickException(message) from None
    pages = []
    for document, text in zip(result.documents, texts, strict=True):
        ents = [ent.model_dump(include={"start", "end", "label"}) for ent in document.ents]
        pages.append({"text": text, "ents": ents, "title": document.id})
    html = displacy.render(pages, style="ent", manual=True, page=True, jupyter=False)
    path.write_text(html, encoding="utf-8")


def print_deliveries(deliveries: Sequence[Delivery]) -> None:
    """Print a table with one row per delivery and one row per attempt."""
    table = _create_table("webhook_id", "type", "state", "attempt", "time", "outcome")
    for delivery in deliveries:
        table.add_row(delivery.webhook_id, delivery.type, delivery.state, "", "", "")
        first_number = delivery.attempts - len(delivery.log) + 1
        for number, attempt in enumerate(delivery.log, start=first_number):
            outcome = str(attempt.status or attempt.error or "")
            table.add_row("", "", "", str(number), _format_time(attempt.at), outcome)
    _print(table)


def print_clients(clients: Sequence[dict[str, Any]]) -> None:
    """Print a table with one row per client of the API."""
    table = _create_table("client_id", "name", "scope", "status", "created")
    for client in clients:
        created = _format_time(datetime.fromtimestamp(client["created_at"], timezone.utc))
        table.add_row(client["client_id"], client["name"], client["scope"], client["status"], created)
    _print(table)


def _create_table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in _UNBROKEN_COLUMNS)
    return table


def _style_status(status: str) -> Text:
    return Text(status, _STATUS_STYLES.get(status, ""))


def _format_time(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}" if time else ""


def _print(renderable: Text | Table) -> None:
    """Print without markup, because a text may contain brackets. Do not wrap lines unless this is a terminal."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    console.print(renderable, soft_wrap=isinstance(renderable, Text) or not console.is_terminal)
