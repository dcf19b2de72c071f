"""The parser for a job's input that was downloaded from its URL."""

from __future__ import annotations

from pydantic import ValidationError

from samovar.errors import SamovarError
from samovar.models import InputDocument

NDJSON = "application/x-ndjson"
NDJSON_SUFFIXES = {".ndjson", ".jsonl"}


def parse_input(content: bytes, content_type: str) -> list[InputDocument]:
    """Return the documents of an input: one document of text/plain, or one document per line of NDJSON.

    The service parses an upload in the same way, so that the offsets of a result fit to these texts.

    Raises:
        SamovarError: If `content` is not UTF-8, or if a line of NDJSON is not a document.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SamovarError(f"The input is not UTF-8 text: {error.reason} at byte {error.start}") from None
    if content_type != NDJSON:
        return [InputDocument(text=text)]
    # `str.splitlines` would also split at U+2028 and U+2029, which JSON allows within strings.
    lines = enumerate(text.split("\n"), start=1)
    return [_parse_line(number, line) for number, line in lines if line.strip()]


def _parse_line(number: int, line: str) -> InputDocument:
    try:
        return InputDocument.model_validate_json(line)
    except ValidationError:
        raise SamovarError(f'Line {number} of the input is not a document such as {{"id": "a", "text": "…"}}') from None
