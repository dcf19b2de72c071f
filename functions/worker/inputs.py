"""Parsing of a job's input: documents in JSON, uploaded NDJSON, or uploaded plain text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from shared.errors import InvalidInput
from shared.jobs.document import UPLOAD_DOCUMENTS_LIMIT, Document
from shared.jobs.job import Job

NDJSON = "application/x-ndjson"


@dataclass(frozen=True)
class Input:
    """The documents of a job: their texts, and the client's ids for them."""

    texts: list[str]
    ids: list[str | None]


def parse_input(job: Job, payload: bytes) -> Input:
    """Return the documents in `payload`.

    Raises:
        InvalidInput: If an upload does not match its content type. The message names the line of an NDJSON upload.
    """
    if job.upload is None:
        return _to_input(from_json(payload)["documents"])
    try:
        text = payload.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The upload is not UTF-8: {error.reason} at byte {error.start}") from None
    if job.upload.content_type == NDJSON:
        return _to_input(_parse_lines(text))
    if not text.strip():
        raise InvalidInput("The upload holds no text")
    return Input([text], [None])


def _to_input(documents: list[dict[str, Any]]) -> Input:
    return Input([document["text"] for document in documents], [document.get("id") for document in documents])


def _parse_lines(text: str) -> list[dict[str, Any]]:
    documents: list[dict[str, Any]] = []
    ids: set[str] = set()
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        document = _parse_line(line, number)
        if document.id in ids:
            raise InvalidInput(f"Line {number} repeats the id of an earlier document")
        if document.id is not None:
            ids.add(document.id)
        documents.append(document.model_dump())
    if not 0 < len(documents) <= UPLOAD_DOCUMENTS_LIMIT:
        raise InvalidInput(f"The upload holds {len(documents)} documents, not 1 to {UPLOAD_DOCUMENTS_LIMIT:,}")
    return documents


def _parse_line(line: str, number: int) -> Document:
    try:
        return Document.model_validate(from_json(line))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step)[:100] for step in first["loc"]) or "the document"
        raise InvalidInput(f"Line {number}: {place}: {first['msg']}") from None
    except ValueError as error:
        raise InvalidInput(f"Line {number} is not JSON: {error}") from None
