"""Split big jobs into shards, and put the results together again, streaming."""

from __future__ import annotations

import re
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from pydantic_core import to_json

SHARD_CHARACTERS = 50_000  # the sm pipeline needs 340 MB for as many
_COMBINING_LIMIT = 64  # marks in a row that a cut steps back over
_SPOOL_BYTES = 1_000_000

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE = re.compile(r"[.!?…。！？]['\")\]”’»]*\s+")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Piece:
    """A slice of a document: the document's position in the job, the slice's offset in it, and the slice."""

    document: int
    offset: int
    text: str


def pieces(texts: Iterable[str], *, limit: int = SHARD_CHARACTERS) -> Iterator[Piece]:
    """The slices of `texts`, in order, each at most `limit` characters long."""
    for document, text in enumerate(texts):
        for offset, part in slices(text, limit=limit):
            yield Piece(document, offset, part)


def shards(texts: Iterable[str], *, limit: int = SHARD_CHARACTERS) -> list[list[Piece]]:
    """The shards of a job: its slices in order, as many to a shard as make at most `limit` characters.

    The same texts give the same shards, whoever asks.
    """
    packed: list[list[Piece]] = [[]]
    characters = 0
    for piece in pieces(texts, limit=limit):
        if packed[-1] and characters + len(piece.text) > limit:
            packed.append([])
            characters = 0
        packed[-1].append(piece)
        characters += len(piece.text)
    return packed


def slices(text: str, *, limit: int) -> Iterator[tuple[int, str]]:
    """Cut `text` into slices of at most `limit` characters, which concatenate to it exactly.

    A cut falls between paragraphs, else between sentences, else between words, else between characters; the
    better place is taken when it leaves the slice at least half full.

    Yields:
        Each slice's offset in `text` and the slice.
    """
    start = 0
    while len(text) - start > limit:
        cut = _cut(text, start, start + limit)
        yield start, text[start:cut]
        start = cut
    yield start, text[start:]


def _cut(text: str, start: int, end: int) -> int:
    """The best place to end the slice that begins at `start`, at most `end`."""
    half = start + (end - start) // 2
    for boundary in (_PARAGRAPH, _SENTENCE, _SPACE):
        ends = [match.end() for match in boundary.finditer(text, half, end) if match.end() > start]
        if ends:
            return ends[-1]
    # Not in front of a combining mark, nor inside a joined sequence, unless there is nothing else.
    for cut in range(end, max(start + 1, end - _COMBINING_LIMIT), -1):
        if not _joins(text[cut]) and text[cut - 1] != _JOINER:
            return cut
    return end


_JOINER = "\u200d"


def _joins(character: str) -> bool:
    """Whether `character` belongs to the one before it."""
    return character == _JOINER or unicodedata.category(character) in {"Mn", "Mc", "Me"}


class Merger:
    """Writes a result, `{"documents": […]}`, from the analyses of its pieces; holds one piece at a time.

    Offsets and token indices are made to count in the whole document.
    """

    def __init__(self, out: IO[bytes], document_ids: Sequence[str | None]) -> None:
        """Write to `out`; the documents have `document_ids`, in order."""
        self._out = out
        self._ids = document_ids
        self._at = -1
        self._error: dict[str, Any] | None = None
        self._tokens = 0
        self._files: dict[str, IO[bytes]] = {}
        self.failed = 0
        out.write(b'{"documents":[')

    def add(self, piece: Piece, outcome: dict[str, Any]) -> None:
        """The next piece, in order, with its document in the vocabulary of `Doc.to_json`, or `{"error": …}`."""
        if piece.document != self._at:
            self._end_document()
            self._at = piece.document
        if self._error or "error" in outcome:
            self._error = self._error or outcome["error"]
            return
        tokens = self._tokens
        self._tokens += len(outcome.get("tokens", ()))
        for name, value in outcome.items():
            if isinstance(value, list) and piece.offset:
                for span in value:
                    _shift(span, piece.offset, tokens)
            self._append(name, to_json(value)[1:-1])  # without its quotes or brackets

    def finish(self) -> None:
        """Write the end."""
        self._end_document()
        self._out.write(b"]}")

    def _append(self, name: str, inner: bytes) -> None:
        if name not in self._files:
            self._files[name] = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115 (closed at the end)
        elif inner and name != "text" and self._files[name].tell():
            self._files[name].write(b",")
        self._files[name].write(inner)

    def _end_document(self) -> None:
        if self._at < 0:
            return
        document_id = self._ids[self._at]
        members = [] if document_id is None else [b'"id":' + to_json(document_id)]
        self._out.write(b"," if self._at else b"")
        self._out.write(b"{" + b"".join(members))
        if self._error:
            self.failed += 1
            self._out.write((b"," if members else b"") + b'"error":' + to_json(self._error))
        else:
            self._copy_members(first=not members)
        self._out.write(b"}")
        for file in self._files.values():
            file.close()
        self._files, self._error, self._tokens = {}, None, 0

    def _copy_members(self, *, first: bool) -> None:
        for name, file in self._files.items():
            quotes = b'""' if name == "text" else b"[]"
            self._out.write((b"" if first else b",") + b'"' + name.encode() + b'":' + quotes[:1])
            file.seek(0)
            while chunk := file.read(_SPOOL_BYTES):
                self._out.write(chunk)
            self._out.write(quotes[1:])
            first = False


def _shift(span: dict[str, Any], characters: int, tokens: int) -> None:
    span["start"] += characters
    span["end"] += characters
    if "head" in span:
        span["id"] += tokens
        span["head"] += tokens
