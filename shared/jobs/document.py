"""Documents: the texts of a job."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from shared.records import RequestBody

DOCUMENT_ID_LIMIT = 128  # characters
UPLOAD_DOCUMENTS_LIMIT = 20_000  # documents of one NDJSON upload


def _check_not_blank(text: str) -> str:
    if text.isspace():
        raise ValueError("Text must hold something besides whitespace")
    return text


Text = Annotated[str, StringConstraints(min_length=1), AfterValidator(_check_not_blank)]


class Document(RequestBody):
    """One text of a job. `id` is the client's own name for it, unique within the job."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=DOCUMENT_ID_LIMIT)] | None = None
    text: Text
