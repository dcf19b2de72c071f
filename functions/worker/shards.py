"""Cutting of texts into pieces, and packing of the pieces into shards."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from shared.jobs.job import SHARD_CHARACTERS

_COMBINING_LIMIT = 64  # combining marks in a row that a cut steps back over
_JOINER = "\u200d"

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE = re.compile(r"[.!?…。！？]['\")\]”’»]*\s+")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Piece:
    """A part of a document: the document's position in the job, the part's offset in it, and the part's text."""

    document: int
    offset: int
    text: str


def pack_shards(texts: Iterable[str], *, limit: int = SHARD_CHARACTERS) -> list[list[Piece]]:
    """Return the pieces of `texts` in shards of at most `limit` characters.

    The same texts always give the same shards, so no boundaries need to be stored.
    """
    shards: list[list[Piece]] = [[]]
    characters = 0
    for piece in cut_pieces(texts, limit=limit):
        if shards[-1] and characters + len(piece.text) > limit:
            shards.append([])
            characters = 0
        shards[-1].append(piece)
        characters += len(piece.text)
    return shards


def cut_pieces(texts: Iterable[str], *, limit: int = SHARD_CHARACTERS) -> Iterator[Piece]:
    """Yield the pieces of `texts` in order. Each is at most `limit` characters long."""
    for document, text in enumerate(texts):
        for offset, part in cut_text(text, limit=limit):
            yield Piece(document, offset, part)


def cut_text(text: str, *, limit: int) -> Iterator[tuple[int, str]]:
    """Cut `text` into parts of at most `limit` characters. Joined together, they give `text` again.

    A cut falls between paragraphs, else between sentences, else between words, else between characters. The better
    place is taken if it leaves the part at least half full.

    Yields:
        The offset of each part in `text`, and the part.
    """
    start = 0
    while len(text) - start > limit:
        cut = _find_cut(text, start, start + limit)
        yield start, text[start:cut]
        start = cut
    yield start, text[start:]


def _find_cut(text: str, start: int, end: int) -> int:
    """Return the best end, `end` at most, for the part that begins at `start`."""
    half = start + (end - start) // 2
    for boundary in (_PARAGRAPH, _SENTENCE, _SPACE):
        ends = [match.end() for match in boundary.finditer(text, half, end) if match.end() > start]
        if ends:
            return ends[-1]
    # Do not separate a combining mark from its letter, nor cut a joined sequence, unless there is no other place.
    for cut in range(end, max(start + 1, end - _COMBINING_LIMIT), -1):
        if not _continues(text[cut]) and text[cut - 1] != _JOINER:
            return cut
    return end


def _continues(character: str) -> bool:
    """Return whether `character` belongs to the character before it."""
    return character == _JOINER or unicodedata.category(character) in {"Mn", "Mc", "Me"}
