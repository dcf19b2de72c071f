"""What commands print for people; and, for scripts, as JSON."""

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
from samovar.models import Delivery, Document, Result

_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "red")
_WHOLE = {"id", "client_id", "webhook_id"}  # columns to copy from
_PIPED_WIDTH = 1_000
_STATUS_STYLES = {"succeeded": "green", "failed": "red", "expired": "red", "canceled": "yellow", "running": "cyan"}


def plain(shown: BaseModel) -> dict[str, Any]:
    """As JSON, as it came from the API."""
    return shown.model_dump(mode="json", exclude_unset=True)


def with_result(job: Job) -> dict[str, Any]:
    """The job as JSON; a result that is behind a URL is fetched."""
    return {**plain(job.data), **({"result": plain(job.result)} if job.status == "succeeded" else {})}


def jobs(found: Sequence[Job]) -> None:
    """A line each."""
    table = _table("id", "status", "created", "progress")
    for one in found:
        table.add_row(one.id, _status(one.status), _time(one.created_at), f"{one.progress.done}/{one.progress.total}")
    _print(table)


def job(one: Job) -> None:
    """What is known of it, without its result."""
    table = Table.grid(padding=(0, 2))
    for name, value in _facts(one):
        table.add_row(Text(name, "bold"), value if isinstance(value, Text) else Text(str(value)))
    _print(table)


def _facts(one: Job) -> Iterator[tuple[str, Any]]:
    data = one.data
    yield "id", one.id
    yield "status", _status(one.status)
    if data.status_reason:
        yield "because", data.status_reason
    yield "created", _time(data.created_at)
    if data.completed_at:
        yield "completed", _time(data.completed_at)
    yield "run, attempt", f"{data.run}, {data.attempt}"
    yield "progress", f"{one.progress.done}/{one.progress.total}"
    yield "features", ", ".join(data.features)
    if data.metadata:
        yield "metadata", ", ".join(f"{name}={value}" for name, value in data.metadata.items())
    if data.error:
        yield "error", f"{data.error.title}: {data.error.detail} ({data.error.code})"
    if data.webhook:
        yield "webhook", f"{data.webhook.url}: {data.webhook.state}"
    if data.expires_at:
        yield "kept until", _time(data.expires_at)


def result(found: Result, texts: Sequence[str] | None) -> None:
    """Each document with its entities in colour; as a table where its text is not at hand."""
    for position, document in enumerate(found.documents):
        if document.id:
            _print(Text(f"── {document.id}", "bold"))
        text = _text(document, position, texts)
        if document.error:
            _print(Text(f"{document.error.get('title')}: {document.error.get('detail')}", "red"))
        elif text is None:
            _print(_entities(document))
        else:
            _print(_highlighted(document, text))


def _text(document: Document, position: int, texts: Sequence[str] | None) -> str | None:
    if document.text is not None:
        return document.text
    return texts[position] if texts and position < len(texts) else None


def _highlighted(document: Document, text: str) -> Text:
    """The text with its entities marked and labelled, in order; spaCy's do not overlap."""
    shown, end = Text(), 0
    for ent in document.ents:
        shown.append(text[end : ent.start])
        shown.append(text[ent.start : ent.end], f"bold {_colour(ent.label)}")
        shown.append(f" {ent.label}", f"dim {_colour(ent.label)}")
        end = ent.end
    shown.append(text[end:])
    return shown


def _entities(document: Document) -> Table:
    table = _table("start", "end", "label")
    for ent in document.ents:
        table.add_row(str(ent.start), str(ent.end), Text(ent.label or "", _colour(ent.label)))
    return table


def _colour(label: str | None) -> str:
    """The same for a label, each time."""
    return _COLOURS[zlib.crc32((label or "").encode()) % len(_COLOURS)]


def write_html(found: Result, texts: Sequence[str] | None, target: Path) -> None:
    """A page of all documents, by displaCy.

    Raises:
        ClickException: when spaCy is not installed, or a text is not at hand.
    """
    try:
        from spacy import displacy
    except ImportError:
        raise click.ClickException("displaCy is a part of spaCy: pip install 'samovar[spacy]'.") from None
    pages = []
    for position, document in enumerate(found.documents):
        text = _text(document, position, texts)
        if text is None:
            raise click.ClickException("The texts are not in the result: give --text FILE, or ask for `tokens`.")
        ents = [ent.model_dump(include={"start", "end", "label"}) for ent in document.ents]
        pages.append({"text": text, "ents": ents, "title": document.id})
    html = displacy.render(pages, style="ent", manual=True, page=True, jupyter=False)
    target.write_text(html, encoding="utf-8")


def deliveries(found: Sequence[Delivery]) -> None:
    """A line for each attempt."""
    table = _table("webhook_id", "type", "state", "attempt", "time", "outcome")
    for one in found:
        table.add_row(one.webhook_id, one.type, one.state, "", "", "")
        for number, attempt in enumerate(one.log, one.attempts - len(one.log) + 1):
            outcome = attempt.status or attempt.error or ""
            table.add_row("", "", "", str(number), f"{attempt.at:%Y-%m-%d %H:%M:%S}", str(outcome))
    _print(table)


def clients(found: Sequence[dict[str, Any]]) -> None:
    """A line each."""
    table = _table("client_id", "name", "scope", "status", "created")
    for one in found:
        created = _time(datetime.fromtimestamp(one["created_at"], timezone.utc))
        table.add_row(one["client_id"], one["name"], one["scope"], one["status"], created)
    _print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in _WHOLE)
    return table


def _status(status: str) -> Text:
    return Text(status, _STATUS_STYLES.get(status, ""))


def _time(instant: Any) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S}" if instant else ""


def _print(shown: Any) -> None:
    """Without markup, since a text may hold brackets; as wide as it is where nobody looks."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    console.print(shown, soft_wrap=isinstance(shown, Text) or not console.is_terminal)
