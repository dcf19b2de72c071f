"""Splitting and merging of any text, with features of every merge rule and values of every kind."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from functions.worker.merge import Merger
from functions.worker.shards import Piece, cut_pieces, cut_text, pack_shards
from functions.worker.values import encode_document
from shared.errors import ModelFailed
from shared.jobs.features import Member, MergeRule

LIMITS = st.integers(min_value=1, max_value=40)
# Any character but surrogates, which JSON cannot hold. Those that matter to cuts are frequent.
CHARACTERS = st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(" \n.!?。\u0301\u200d\x00👩🚀é\u05d0"))
TEXTS = st.text(CHARACTERS, min_size=1, max_size=200)
DOCUMENTS = st.lists(TEXTS, min_size=1, max_size=8)

# A fake feature for every merge rule.
MEMBERS = {
    member.name: member
    for member in (
        Member("text", str, "text"),
        Member("ents", list[dict[str, Any]], "spans"),
        Member("letters", list[dict[str, Any]], "spans"),
        Member("tokens", list[dict[str, Any]], "tokens"),
        Member("counts", dict[str, Any], "sum"),
        Member("length", int, "sum"),
        Member("language", dict[str, Any], "value"),
    )
}


# Splitting


@given(TEXTS, LIMITS)
def test_parts_join_to_the_text(text: str, limit: int) -> None:
    parts = list(cut_text(text, limit=limit))
    assert "".join(part for _, part in parts) == text
    assert all(text[offset : offset + len(part)] == part for offset, part in parts)


@given(TEXTS, LIMITS)
def test_no_part_is_empty_or_exceeds_its_limit(text: str, limit: int) -> None:
    assert all(1 <= len(part) <= limit for _, part in cut_text(text, limit=limit))


@given(DOCUMENTS, LIMITS)
def test_no_shard_exceeds_its_limit_and_no_text_is_lost(texts: list[str], limit: int) -> None:
    shards = pack_shards(texts, limit=limit)
    assert all(sum(len(piece.text) for piece in shard) <= limit for shard in shards)
    assert [piece for shard in shards for piece in shard] == list(cut_pieces(texts, limit=limit))
    for document, text in enumerate(texts):
        assert "".join(piece.text for shard in shards for piece in shard if piece.document == document) == text


@given(DOCUMENTS, LIMITS)
def test_there_are_no_more_shards_than_necessary(texts: list[str], limit: int) -> None:
    """A shard and the first piece of the next one exceed the limit together. Otherwise they would be one shard."""
    sizes = [sum(len(piece.text) for piece in shard) for shard in pack_shards(texts, limit=limit)]
    heads = [len(shard[0].text) for shard in pack_shards(texts, limit=limit)]
    assert all(size + head > limit for size, head in zip(sizes, heads[1:], strict=False))


@given(st.text(CHARACTERS, min_size=60, max_size=400), st.integers(min_value=20, max_value=40))
def test_cut_does_not_separate_a_combining_mark_from_its_letter(text: str, limit: int) -> None:
    """The exception is a place with nothing but marks."""
    for offset, part in list(cut_text(text, limit=limit))[1:]:
        if part[0] == "\u0301":
            window = text[max(0, offset - limit // 2) : offset]
            assert (
                not any(character.isalnum() for character in window[-1:]) or len(set(window)) == 1 or "\u0301" in window
            )


def test_cut_prefers_paragraphs_to_sentences_to_words() -> None:
    text = "aa bb. cc dd.\n\nee ff. gg hh ii"
    assert [part for _, part in cut_text(text, limit=20)] == ["aa bb. cc dd.\n\n", "ee ff. gg hh ii"]
    assert next(cut_text("aaaa bbbb. cccc dddd", limit=16))[1] == "aaaa bbbb. "
    assert next(cut_text("aaaaaaaaa bbbbbbbbbb", limit=16))[1] == "aaaaaaaaa "
    assert next(cut_text("a" * 20, limit=16))[1] == "a" * 16


def test_pieces_are_in_order() -> None:
    assert list(cut_pieces(["ab", "c"], limit=1)) == [Piece(0, 0, "a"), Piece(0, 1, "b"), Piece(1, 0, "c")]


# Merging


def analyze(text: str) -> dict[str, Any]:
    """Return the values of all fake features. Each character is a token and an entity. Some pieces have no letters."""
    return {
        "text": text,
        "ents": [{"start": at, "end": at + 1, "label": character} for at, character in enumerate(text)],
        "letters": [{"start": at, "end": at + 1} for at, character in enumerate(text) if character.isalpha()],
        "tokens": [{"id": at, "start": at, "end": at + 1, "head": at} for at in range(len(text))],
        "counts": {"words": {"all": len(text), "by": dict(Counter(text))}, "weight": 0.25 * len(text)},
        "length": len(text),
        "language": {"code": "en", "scripts": ["Latn"], "is_sure": True, "note": None},
    }


def chain(text: str) -> dict[str, Any]:
    """Return an analysis in which the head of each token is the token before it."""
    tokens = [{"id": at, "start": at, "end": at + 1, "head": max(at - 1, 0)} for at in range(len(text))]
    return {**analyze(text), "tokens": tokens}


def merge(
    pieces: Iterable[Piece],
    ids: Sequence[str | None],
    analyses: Iterable[dict[str, Any]],
    *,
    members: Mapping[str, Member] = MEMBERS,
    is_split: bool = True,
) -> list[dict[str, Any]]:
    """Merge the analyses of pieces. Those of a split job are stored as JSON in between, as the outcomes of shards."""
    out = io.BytesIO()
    with Merger(out, ids, members) as merger:
        for piece, analysis in zip(pieces, analyses, strict=True):
            merger.add(piece, from_json(encode_document(members, analysis)) if is_split else analysis)
        merger.finish()
    documents: list[dict[str, Any]] = parse(out.getvalue())["documents"]
    return documents


def parse(encoded: bytes) -> Any:
    """Parse JSON as RFC 8259 defines it: NaN and Infinity are errors, and no member occurs twice."""

    def refuse_constant(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    def make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({name for name, _ in pairs}) == len(pairs)
        return dict(pairs)

    return json.loads(encoded, parse_constant=refuse_constant, object_pairs_hook=make_object)


@given(DOCUMENTS, st.data())
def test_text_that_is_cut_anywhere_gives_the_result_of_the_whole_text(texts: list[str], data: st.DataObject) -> None:
    """It holds for features of every merge rule."""
    ids = data.draw(st.lists(st.none() | st.text(CHARACTERS), min_size=len(texts), max_size=len(texts)))
    pieces: list[Piece] = []
    for document, text in enumerate(texts):
        inner = data.draw(st.sets(st.integers(min_value=0, max_value=len(text))))
        cuts = sorted(inner | {0, len(text)})
        pieces += [Piece(document, start, text[start:end]) for start, end in pairwise(cuts)]
    whole = [Piece(document, 0, text) for document, text in enumerate(texts)]
    expected = [
        {**({} if document_id is None else {"id": document_id}), **analyze(text)}
        for document_id, text in zip(ids, texts, strict=True)
    ]
    assert merge(whole, ids, map(analyze, texts), is_split=False) == expected
    assert merge(pieces, ids, [analyze(piece.text) for piece in pieces]) == expected


@given(DOCUMENTS, LIMITS, st.data())
def test_merged_offsets_point_at_the_same_characters(texts: list[str], limit: int, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.none() | st.text(CHARACTERS), min_size=len(texts), max_size=len(texts)))
    pieces = list(cut_pieces(texts, limit=limit))
    documents = merge(pieces, ids, [chain(piece.text) for piece in pieces], is_split=False)
    assert [document.get("id") for document in documents] == ids
    for text, document in zip(texts, documents, strict=True):
        assert document["text"] == text
        assert [text[ent["start"] : ent["end"]] for ent in document["ents"]] == list(text)
        assert all(ent["label"] == text[ent["start"]] for ent in document["ents"])
        assert [token["id"] for token in document["tokens"]] == list(range(len(text)))
        assert [token["start"] for token in document["tokens"]] == list(range(len(text)))
        assert all(token["id"] - token["head"] in {0, 1} for token in document["tokens"])


@given(DOCUMENTS, LIMITS)
def test_error_of_a_piece_replaces_its_document_only(texts: list[str], limit: int) -> None:
    out = io.BytesIO()
    with Merger(out, [None] * len(texts), MEMBERS) as merger:
        for piece in cut_pieces(texts, limit=limit):
            is_bad = piece.document == 0 and piece.offset == 0
            merger.add(piece, {"error": {"code": "x"}} if is_bad else analyze(piece.text))
        merger.finish()
    documents = json.loads(out.getvalue())["documents"]
    assert documents[0] == {"error": {"code": "x"}}
    assert [document["text"] for document in documents[1:]] == texts[1:]
    assert merger.failed == 1


# Values that do not fit


class Unknown:
    """A type that JSON does not know."""


def nest(levels: int) -> Any:
    """Return a list within lists."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


SPAN = {"start": 0, "end": 1}
TOKEN = {**SPAN, "id": 0, "head": 0}
GOOD: dict[MergeRule, Any] = {"text": "a", "spans": [SPAN], "tokens": [TOKEN], "sum": {"a": {"b": 1}}, "value": "en"}
BAD: list[tuple[MergeRule, Any, str]] = [
    ("text", 1, "int"),
    ("text", None, "NoneType"),
    ("text", b"a", "bytes"),
    ("text", ["a"], "list"),
    ("text", "\ud800", "str, which JSON cannot hold"),
    ("spans", {"a": 1}, "dict"),
    ("spans", 12, "int"),
    ("spans", True, "bool"),
    ("spans", 1.5, "float"),
    ("spans", "en", "str"),
    ("spans", None, "NoneType"),
    ("spans", (SPAN,), "tuple"),
    ("spans", [1.5, 2.5], "a list with float"),
    ("spans", [[0, 1]], "a list with list"),
    ("spans", [SPAN, "b"], "a list with str"),
    ("spans", [{"start": 0}], "a list with an object whose `end` is missing"),
    ("spans", [{"start": 0, "end": True}], "a list with an object whose `end` is bool"),
    ("spans", [{"start": 0.5, "end": 1}], "a list with an object whose `start` is float"),
    ("spans", [{**SPAN, "score": math.nan}], "float nan at `score`"),
    ("spans", [{**SPAN, "count": 2**70}], "an integer of more than 63 bits at `count`"),
    ("spans", [{**SPAN, 1: "one"}], "an object with a key of type int"),
    ("spans", [{**SPAN, "deep": nest(60)}], "a value of more than 50 levels"),
    ("spans", [{**SPAN, "labels": {"a"}}], "set at `labels`"),
    ("spans", [{**SPAN, "score": Unknown()}], "Unknown"),
    ("tokens", [SPAN], "a list with an object whose `id` is missing"),
    ("tokens", [{**TOKEN, "head": None}], "a list with an object whose `head` is NoneType"),
    ("sum", "1", "str"),
    ("sum", True, "bool"),
    ("sum", None, "NoneType"),
    ("sum", [1], "list"),
    ("sum", math.inf, "float inf"),
    ("sum", 1j, "complex"),
    ("sum", 2**70, "an integer of more than 63 bits"),
    ("sum", {"a": {"b": "1"}}, "str at `a.b`"),
    ("sum", {"a": {"b": False}}, "bool at `a.b`"),
    ("sum", {"a": math.nan}, "float nan at `a`"),
    ("sum", {1: 2}, "an object with a key of type int"),
    ("value", Unknown(), "Unknown"),
    ("value", {"a": [1, {2}]}, "set at `a.1`"),
    ("value", {1: 2}, "an object with a key of type int"),
    ("value", math.nan, "float nan"),
    ("value", [2**70], "an integer of more than 63 bits at `0`"),
]


def make_member(rule: MergeRule) -> dict[str, Member]:
    return {"fake": Member("fake", Any, rule)}


@pytest.mark.parametrize("is_split", [False, True])
@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize(("rule", "value", "found"), BAD)
def test_value_that_does_not_fit_its_rule_is_refused(
    rule: MergeRule, value: Any, found: str, position: int, is_split: bool
) -> None:
    """The message names the member, the type that was found, and the rule."""
    pieces = [Piece(0, 0, "a"), Piece(0, 1, "b")][: position + 1]
    analyses = [{"fake": GOOD[rule]}, {"fake": GOOD[rule]}][: position + 1]
    analyses[position] = {"fake": value}
    with pytest.raises(ModelFailed) as refused:
        merge(pieces, [None], analyses, members=make_member(rule), is_split=is_split)
    message = str(refused.value)
    assert 'The member "fake" holds' in message
    assert found in message
    assert f'Its merge rule "{rule}" needs' in message


@pytest.mark.parametrize("is_split", [False, True])
def test_member_that_no_feature_declares_is_refused(is_split: bool) -> None:
    with pytest.raises(ModelFailed, match=r'"mood" belongs to no feature\. Declare it in shared/jobs/features\.py'):
        merge([Piece(0, 0, "a")], [None], [{"mood": 1}], is_split=is_split)


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        (1, {"a": 1}, "int in one piece and dict in another"),
        ({"a": {"b": 1}}, {"a": 1.5}, "dict in one piece and float in another"),
        (1e308, 1e308, "which JSON cannot hold"),
    ],
)
def test_values_of_two_pieces_that_have_no_sum_are_refused(first: Any, second: Any, found: str) -> None:
    pieces = [Piece(0, 0, "a"), Piece(0, 1, "b")]
    with pytest.raises(ModelFailed, match=found):
        merge(pieces, [None], [{"fake": first}, {"fake": second}], members=make_member("sum"), is_split=False)


@pytest.mark.parametrize(("rule", "is_list"), [("sum", False), ("value", True)])
def test_value_of_many_levels_is_refused(rule: MergeRule, is_list: bool) -> None:
    """The JSON parser would not read it back from the outcome of a shard."""
    value: Any = 1
    for _ in range(300):
        value = [value] if is_list else {"a": value}
    with pytest.raises(ModelFailed, match="a value of more than 50 levels"):
        merge([Piece(0, 0, "a")], [None], [{"fake": value}], members=make_member(rule))


def test_value_of_the_first_piece_is_kept() -> None:
    pieces = [Piece(0, start, "a") for start in range(3)]
    analyses: list[dict[str, Any]] = [{"language": None}, {"language": "en"}, {"language": "de"}]
    assert merge(pieces, [None], analyses) == [{"language": None}]


@pytest.mark.parametrize(("rule", "value"), [("spans", []), ("tokens", []), ("sum", {}), ("text", ""), ("value", None)])
def test_empty_values_are_merged(rule: MergeRule, value: Any) -> None:
    pieces = [Piece(0, start, "a") for start in range(3)]
    assert merge(pieces, [None], [{"fake": value}] * 3, members=make_member(rule)) == [{"fake": value}]


NUMBERS = st.integers() | st.floats()
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=3) | st.binary(max_size=3) | st.complex_numbers()
KEYS = st.sampled_from(["start", "end", "id", "head", "label"]) | st.integers() | st.none() | st.text(max_size=2)
SPANS = st.lists(st.fixed_dictionaries({"start": NUMBERS, "end": st.integers()}, optional={"label": SCALARS}))
VALUES = SPANS | st.recursive(
    SCALARS | st.builds(Unknown) | st.sets(st.integers(), max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["text", "spans", "tokens", "sum", "value"]), st.lists(VALUES, min_size=1, max_size=3))
def test_values_of_any_kind_give_valid_json_or_are_refused(rule: MergeRule, values: list[Any]) -> None:
    """A split job and a job that is not split refuse the same values."""

    def try_merge(values: list[Any], is_split: bool) -> list[dict[str, Any]] | str:
        pieces = [Piece(0, start, "a") for start in range(len(values))]
        analyses = [{"fake": value} for value in values]
        try:
            return merge(pieces, [None], analyses, members=make_member(rule), is_split=is_split)
        except ModelFailed as error:
            return str(error)

    assert try_merge(values[:1], False) == try_merge(values[:1], True)
    try_merge(values, True)
