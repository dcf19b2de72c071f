"""Split long texts into slices and put the slices' results together again."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

SLICE_CHARACTERS = 50_000  # the sm pipeline needs 340 MB for as many
_COMBINING_LIMIT = 64  # marks in a row that a cut steps back over

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE = re.compile(r"[.!?…。！？]['\")\]”’»]*\s+")
_SPACE = re.compile(r"\s+")


def slices(text: str, *, limit: int = SLICE_CHARACTERS) -> Iterator[tuple[int, str]]:
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
        if not _joins(text[cut]) and not _joins(text[cut - 1], only_joiner=True):
            return cut
    return end


def _joins(character: str, *, only_joiner: bool = False) -> bool:
    """Whether `character` belongs to the one before it (or, `only_joiner`, also to the one after)."""
    joiner = character == "\u200d"
    return joiner if only_joiner else joiner or unicodedata.category(character) in {"Mn", "Mc", "Me"}


def merged(parts: Sequence[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """One document from its slices' results: offsets and token indices count in the whole text.

    Args:
        parts: each slice's offset in the text and its result, in order; the results may be changed.
    """
    whole = parts[0][1]
    for offset, part in parts[1:]:
        shift_tokens = len(whole.get("tokens", ()))
        for name, spans in part.items():
            if name == "text":
                whole["text"] += spans
                continue
            for span in spans:
                _shift(span, offset, shift_tokens)
            whole[name].extend(spans)
    return whole


def _shift(span: dict[str, Any], characters: int, tokens: int) -> None:
    span["start"] += characters
    span["end"] += characters
    if "head" in span:
        span["id"] += tokens
        span["head"] += tokens
