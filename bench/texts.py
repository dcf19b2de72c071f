"""Texts to measure with: made of phrases with names in them, the same every time, no two alike."""

from __future__ import annotations

import random

_SUBJECTS = (
    "Marie Curie", "the European Central Bank", "a spokesman for Lufthansa", "the mayor of Lisbon", "Ada Lovelace",
    "the board of Siemens", "her younger brother", "an engineer from Toulouse", "the Supreme Court", "Nelson Mandela",
    "one of the founders", "the Ministry of Finance", "a group of students", "Dr. Patel", "the tenants' association",
)  # fmt: skip
_VERBS = (
    "announced", "rejected", "did not expect", "has finally sold", "was asked to explain", "will present",
    "had quietly bought", "kept talking about", "criticised", "signed", "could hardly believe", "reviewed",
)  # fmt: skip
_OBJECTS = (
    "the contract with Airbus", "forty new aircraft", "six billion euros of bonds", "a small house near Cardiff",
    "the results of the third quarter", "her second Nobel Prize", "every one of their proposals",
    "a report on the harbour of Rotterdam", "the old library", "twelve thousand pages of evidence", "his resignation",
)  # fmt: skip
_ENDS = (
    "last Tuesday", "in the spring of 1903", "before anybody in London noticed", "at a meeting in Geneva",
    "for the first time since 2008", "although prices rose by 4.5 percent", "while the others waited outside",
    "on behalf of the United Nations", "three weeks later", "and nobody was surprised",
)  # fmt: skip
_PARTS = (_SUBJECTS, _VERBS, _OBJECTS, _ENDS)


def texts(count: int, *, words: int, seed: int = 7) -> list[str]:
    """`count` texts of exactly `words` words."""
    chance = random.Random(seed)  # noqa: S311 (it must repeat)
    return [_text(chance, words) for _ in range(count)]


def _text(chance: random.Random, words: int) -> str:
    found: list[str] = []
    while len(found) < words:
        found += sentence(chance).split()
    return " ".join(found[:words]).rstrip(".") + "."


def sentence(chance: random.Random) -> str:
    """A sentence of about a dozen words."""
    made = " ".join(chance.choice(part) for part in _PARTS)
    return made[0].upper() + made[1:] + "."


def paragraphs(characters: int, *, each: int, seed: int = 7) -> str:
    """A text of about as many characters, in paragraphs of at most `each` characters."""
    chance = random.Random(seed)  # noqa: S311 (it must repeat)
    made: list[str] = []
    length = 0
    while length < characters:
        made.append(_paragraph(chance, each))
        length += len(made[-1])
    return "".join(made)


def _paragraph(chance: random.Random, characters: int) -> str:
    text = ""
    while len(text + (following := sentence(chance))) + 3 <= characters:
        text += f"{' ' if text else ''}{following}"
    return text + "\n\n"
