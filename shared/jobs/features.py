"""The features that a job can ask for. To add one, write a `Feature` and add its name to `FeatureName`.

Everything else is derived from this table: which components of the spaCy pipeline run, what a result document holds,
how the pieces of a split text are merged, and what the OpenAPI document says. This module does not import spaCy, so
that the API can use it: an extractor receives a `spacy.tokens.Doc`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

FeatureName = Literal["ents", "sents", "tokens", "noun_chunks", "stats"]
DEFAULT_FEATURES: tuple[FeatureName, ...] = ("ents", "sents")

MergeRule = Literal["text", "spans", "tokens", "sum", "value"]


class ResultPart(BaseModel):
    """A part of a result document. A field that is not declared is a defect."""

    model_config = ConfigDict(extra="forbid")


class Span(ResultPart):
    """A part of a document's text. `start` and `end` count Unicode characters."""

    start: int
    end: int


class Entity(Span):
    """A named entity."""

    label: str
    kb_id: str = ""
    id: str = ""


class NounChunk(Span):
    """A base noun phrase. `label` is always NP."""

    label: str


class Token(Span):
    """A token with the attributes of spaCy's `Token`. `id` and `head` are positions in the document."""

    id: int
    tag: str
    pos: str
    morph: str
    lemma: str
    dep: str
    head: int


class Stats(ResultPart):
    """The counts of a document: Unicode characters, words (spaCy's tokens), sentences, and entities by their labels."""

    characters: int
    words: int
    sentences: int
    ents: dict[str, int]


@dataclass(frozen=True)
class Member:
    """A member that a feature adds to a result document.

    `type` describes its value for the OpenAPI document. `merge` says how the values of a text's pieces are merged:

    - `text`: strings, which are joined;
    - `spans`: lists of objects with `start` and `end`, which are moved by the offset of the piece and joined;
    - `tokens`: the same, and `id` and `head` are moved by the number of tokens before the piece;
    - `sum`: numbers, or objects of numbers at any depth, which are added;
    - `value`: any value that is the same for every piece, such as a language; the first one is kept.
    """

    name: str
    type: Any
    merge: MergeRule


@dataclass(frozen=True)
class Feature:
    """Something that a job can ask to be found in its texts.

    `needs` decides whether a component of the pipeline must run, from the attributes that the component assigns.
    `extract` returns the feature's members from a `spacy.tokens.Doc`. A feature whose result is many times as long as
    the text sets `characters_limit`: the most characters of a job that may ask for it.
    """

    name: FeatureName
    members: tuple[Member, ...]
    needs: Callable[[frozenset[str]], bool]
    extract: Callable[[Any], Mapping[str, Any]]
    characters_limit: int | None = None


_ENTS = frozenset({"doc.ents", "token.ent_iob", "token.ent_type", "token.ent_kb_id"})
_SENTS = frozenset({"doc.sents", "token.is_sent_start"})
_LONG_RESULT_CHARACTERS = 5_000_000


def _assigns_ents(assigned: frozenset[str]) -> bool:
    return not assigned.isdisjoint(_ENTS)


def _assigns_sents(assigned: frozenset[str]) -> bool:
    return not _assigns_ents(assigned) and not assigned.isdisjoint(_SENTS)


def _assigns_ents_or_sents(assigned: frozenset[str]) -> bool:
    return _assigns_ents(assigned) or _assigns_sents(assigned)


def _assigns_no_ents(assigned: frozenset[str]) -> bool:
    return not _assigns_ents(assigned)


def _extract_ents(doc: Any) -> dict[str, Any]:
    return {"ents": [{"start": ent.start_char, "end": ent.end_char, "label": ent.label_} for ent in doc.ents]}


def _extract_sents(doc: Any) -> dict[str, Any]:
    return {"sents": [{"start": sent.start_char, "end": sent.end_char} for sent in doc.sents]}


def _extract_noun_chunks(doc: Any) -> dict[str, Any]:
    chunks = doc.noun_chunks
    return {"noun_chunks": [{"start": chunk.start_char, "end": chunk.end_char, "label": "NP"} for chunk in chunks]}


def _extract_tokens(doc: Any) -> dict[str, Any]:
    tokens = [
        {
            "id": token.i,
            "start": token.idx,
            "end": token.idx + len(token),
            "tag": token.tag_,
            "pos": token.pos_,
            "morph": str(token.morph),
            "lemma": token.lemma_,
            "dep": token.dep_,
            "head": token.head.i,
        }
        for token in doc
    ]
    return {"text": doc.text, "tokens": tokens}


def _extract_stats(doc: Any) -> dict[str, Any]:
    stats = {
        "characters": len(doc.text),
        "words": len(doc),
        "sentences": sum(1 for _ in doc.sents),
        "ents": dict(Counter(ent.label_ for ent in doc.ents)),
    }
    return {"stats": stats}


_FEATURES = (
    Feature(
        name="ents",
        members=(Member("ents", list[Entity], "spans"),),
        needs=_assigns_ents,
        extract=_extract_ents,
    ),
    Feature(
        name="sents",
        members=(Member("sents", list[Span], "spans"),),
        needs=_assigns_sents,
        extract=_extract_sents,
    ),
    Feature(
        name="tokens",
        members=(Member("text", str, "text"), Member("tokens", list[Token], "tokens")),
        needs=_assigns_no_ents,
        extract=_extract_tokens,
        characters_limit=_LONG_RESULT_CHARACTERS,
    ),
    Feature(
        name="noun_chunks",
        members=(Member("noun_chunks", list[NounChunk], "spans"),),
        needs=_assigns_no_ents,
        extract=_extract_noun_chunks,
        characters_limit=_LONG_RESULT_CHARACTERS,
    ),
    Feature(
        name="stats",
        members=(Member("stats", Stats, "sum"),),
        needs=_assigns_ents_or_sents,
        extract=_extract_stats,
    ),
)

FEATURES: Mapping[FeatureName, Feature] = {feature.name: feature for feature in _FEATURES}
MEMBERS: Mapping[str, Member] = {member.name: member for feature in _FEATURES for member in feature.members}
FEATURE_NAMES: tuple[FeatureName, ...] = get_args(FeatureName)


def in_order(names: Sequence[FeatureName]) -> tuple[FeatureName, ...]:
    """Return the features in the order of `FeatureName`, each once."""
    return tuple(name for name in FEATURE_NAMES if name in names)
