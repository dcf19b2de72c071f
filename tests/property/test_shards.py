"""Splitting and merging, for any text there is."""

from __future__ import annotations

import io
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from functions.worker.shards import Merger, Piece, pieces, shards, slices

LIMITS = st.integers(min_value=1, max_value=40)
# Surrogates cannot be sent; all else can, and what cuts care about comes often.
CHARACTERS = st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(" \n.!?。\u0301\u200d\x00👩🚀é\u05d0"))
TEXTS = st.text(CHARACTERS, min_size=1, max_size=200)
DOCUMENTS = st.lists(TEXTS, min_size=1, max_size=8)


@given(TEXTS, LIMITS)
def test_slices_concatenate_to_the_text(text: str, limit: int) -> None:
    parts = list(slices(text, limit=limit))
    assert "".join(part for _, part in parts) == text
    assert all(text[offset : offset + len(part)] == part for offset, part in parts)


@given(TEXTS, LIMITS)
def test_no_slice_is_empty_or_exceeds_its_bound(text: str, limit: int) -> None:
    assert all(1 <= len(part) <= limit for _, part in slices(text, limit=limit))


@given(DOCUMENTS, LIMITS)
def test_no_shard_exceeds_its_bound_and_nothing_is_lost(texts: list[str], limit: int) -> None:
    packed = shards(texts, limit=limit)
    assert all(sum(len(piece.text) for piece in shard) <= limit for shard in packed)
    assert [piece for shard in packed for piece in shard] == list(pieces(texts, limit=limit))
    for document, text in enumerate(texts):
        assert "".join(piece.text for shard in packed for piece in shard if piece.document == document) == text


@given(DOCUMENTS, LIMITS)
def test_shards_are_not_needlessly_many(texts: list[str], limit: int) -> None:
    """Two neighbours together exceed the bound: else they would be one."""
    sizes = [sum(len(piece.text) for piece in shard) for shard in shards(texts, limit=limit)]
    heads = [len(shard[0].text) for shard in shards(texts, limit=limit)]
    assert all(size + head > limit for size, head in zip(sizes, heads[1:], strict=False))


@given(st.text(CHARACTERS, min_size=60, max_size=400), st.integers(min_value=20, max_value=40))
def test_cut_does_not_separate_a_mark_from_its_letter(text: str, limit: int) -> None:
    """Unless marks are all there is where the cut must fall."""
    for offset, part in list(slices(text, limit=limit))[1:]:
        if part[0] == "\u0301":
            window = text[max(0, offset - limit // 2) : offset]
            assert (
                not any(character.isalnum() for character in window[-1:]) or len(set(window)) == 1 or "\u0301" in window
            )


def letters(text: str) -> dict[str, Any]:
    """A stand-in for the model that every slice can be given to: each character is a token and an entity."""
    spans = [{"start": at, "end": at + 1, "label": character} for at, character in enumerate(text)]
    tokens = [{"id": at, "start": at, "end": at + 1, "head": max(at - 1, 0)} for at in range(len(text))]
    return {"text": text, "ents": spans, "tokens": tokens}


def merge(texts: list[str], ids: list[str | None], limit: int) -> list[dict[str, Any]]:
    out = io.BytesIO()
    merger = Merger(out, ids)
    for piece in pieces(texts, limit=limit):
        merger.add(piece, letters(piece.text))
    merger.finish()
    documents: list[dict[str, Any]] = json.loads(out.getvalue())["documents"]
    return documents


@given(DOCUMENTS, LIMITS, st.data())
def test_merged_offsets_point_at_the_same_characters(texts: list[str], limit: int, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.none() | st.text(CHARACTERS), min_size=len(texts), max_size=len(texts)))
    documents = merge(texts, ids, limit)
    assert [document.get("id") for document in documents] == ids
    for text, document in zip(texts, documents, strict=True):
        assert document["text"] == text
        assert [text[ent["start"] : ent["end"]] for ent in document["ents"]] == list(text)
        assert all(ent["label"] == text[ent["start"]] for ent in document["ents"])
        assert [token["id"] for token in document["tokens"]] == list(range(len(text)))
        assert [token["start"] for token in document["tokens"]] == list(range(len(text)))
        assert all(token["id"] - token["head"] in {0, 1} for token in document["tokens"])


@given(DOCUMENTS, LIMITS)
def test_error_of_a_slice_is_its_documents_own(texts: list[str], limit: int) -> None:
    out = io.BytesIO()
    merger = Merger(out, [None] * len(texts))
    for piece in pieces(texts, limit=limit):
        is_bad = piece.document == 0 and piece.offset == 0
        merger.add(piece, {"error": {"code": "x"}} if is_bad else letters(piece.text))
    merger.finish()
    documents = json.loads(out.getvalue())["documents"]
    assert documents[0] == {"error": {"code": "x"}}
    assert [document["text"] for document in documents[1:]] == texts[1:]
    assert merger.failed == 1


def test_paragraphs_come_before_sentences_before_words() -> None:
    text = "aa bb. cc dd.\n\nee ff. gg hh ii"
    assert [part for _, part in slices(text, limit=20)] == ["aa bb. cc dd.\n\n", "ee ff. gg hh ii"]
    assert next(slices("aaaa bbbb. cccc dddd", limit=16))[1] == "aaaa bbbb. "
    assert next(slices("aaaaaaaaa bbbbbbbbbb", limit=16))[1] == "aaaaaaaaa "
    assert next(slices("a" * 20, limit=16))[1] == "a" * 16


def test_empty_piece_keeps_order() -> None:
    assert list(pieces(["ab", "c"], limit=1)) == [Piece(0, 0, "a"), Piece(0, 1, "b"), Piece(1, 0, "c")]
