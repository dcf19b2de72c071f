"""Checks and encoding of the values that features extract. A value that its merge rule cannot merge is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn

from pydantic_core import to_json

from shared.errors import ModelFailed
from shared.jobs.features import Member, MergeRule

_INTEGER_LIMIT = 2**63  # Python refuses to read integers of many digits, and other parsers refuse longer ones
_DEPTH_LIMIT = 50  # levels of objects and lists in a sum or value; the JSON parser has a limit, too


def check_value(members: Mapping[str, Member], name: str, value: Any) -> Member:
    """Return the member `name` of a result document, if its merge rule can merge `value`.

    Raises:
        ModelFailed: If it cannot, or if no feature declares the member.
    """
    member = members.get(name)
    if member is None:
        raise ModelFailed(f'The member "{name}" belongs to no feature. Declare it in shared/jobs/features.py.')
    misfit = FIND_MISFIT[member.merge](value)
    if misfit is not None:
        refuse(member, misfit)
    return member


def encode_value(member: Member, value: Any) -> bytes:
    """Return the value of a member as JSON (RFC 8259).

    Raises:
        ModelFailed: If JSON cannot hold the value, such as NaN.
    """
    try:
        encoded = to_json(value)
        if b"NaN" in encoded or b"Infinity" in encoded:  # rare: a text may hold these words, too
            json.loads(encoded, parse_constant=_raise_not_finite)
    except ValueError as error:
        refuse(member, f"{type(value).__name__}, which JSON cannot hold ({error})")
    return encoded


def encode_document(members: Mapping[str, Member], document: Mapping[str, Any]) -> bytes:
    """Return a document, or the part of a document that a piece holds, as JSON.

    Raises:
        ModelFailed: If a value does not fit the merge rule of its member.
    """
    encoded = [
        to_json(name) + b":" + encode_value(check_value(members, name, value), value)
        for name, value in document.items()
    ]
    return b"{" + b",".join(encoded) + b"}"


def refuse(member: Member, misfit: str) -> NoReturn:
    """Raise the error that a member holds `misfit`, a description of the value."""
    expected = EXPECTED[member.merge]
    raise ModelFailed(f'The member "{member.name}" holds {misfit}. Its merge rule "{member.merge}" needs {expected}.')


EXPECTED: Mapping[MergeRule, str] = {
    "text": "a string",
    "spans": "a list of objects with the integers `start` and `end`",
    "tokens": "a list of objects with the integers `start`, `end`, `id` and `head`",
    "sum": "a finite number, or an object of finite numbers at any depth",
    "value": "a value that JSON can hold",
}


def _find_in_text(value: Any) -> str | None:
    return None if isinstance(value, str) else type(value).__name__


def _find_in_items(value: Any, *, integers: tuple[str, ...]) -> str | None:
    if not isinstance(value, list):
        return type(value).__name__
    for item in value:
        if not isinstance(item, dict):
            return f"a list with {type(item).__name__}"
        for name in integers:
            if type(item.get(name)) is not int:  # bool is a subclass of int
                return f"a list with an object whose `{name}` is {_describe(item, name)}"
        misfit = _find_in_fields(item)
        if misfit is not None:
            return f"a list with an object that holds {misfit}"
    return None


def _find_in_fields(item: Mapping[Any, Any]) -> str | None:
    """Check all fields of an item. Strings and small integers, which nearly all fields are, take a short way."""
    for name, part in item.items():
        kind = type(part)
        is_plain = kind is str or (kind is int and not _is_too_long(part))
        if is_plain and type(name) is str:
            continue
        misfit = _find_in_tree({name: part}, is_leaf=_is_scalar, lists=True)
        if misfit is not None:
            return misfit
    return None


def _describe(item: Mapping[str, Any], name: str) -> str:
    return type(item[name]).__name__ if name in item else "missing"


def _find_in_tree(value: Any, path: tuple[str, ...] = (), *, is_leaf: Callable[[Any], bool], lists: bool) -> str | None:
    if isinstance(value, dict):
        parts = list(value.items())
    elif lists and isinstance(value, list):
        parts = [(str(position), part) for position, part in enumerate(value)]
    else:
        return None if is_leaf(value) else _describe_leaf(value, path)
    if len(path) == _DEPTH_LIMIT:
        return f"a value of more than {_DEPTH_LIMIT} levels"
    for name, part in parts:
        if not isinstance(name, str):
            return f"an object with a key of type {type(name).__name__}"
        misfit = _find_in_tree(part, (*path, name), is_leaf=is_leaf, lists=lists)
        if misfit is not None:
            return misfit
    return None


def _describe_leaf(value: Any, path: tuple[str, ...]) -> str:
    place = f" at `{'.'.join(path)}`" if path else ""
    kind = "an integer of more than 63 bits" if type(value) is int and _is_too_long(value) else type(value).__name__
    return kind + (f" {value}" if isinstance(value, float) else "") + place


def _is_too_long(value: int) -> bool:
    return not -_INTEGER_LIMIT < value < _INTEGER_LIMIT


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and not _is_too_long(value)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | bool) or _is_number(value)


# Each function returns a description of the value, or of a part of it, that does not fit the rule; else None.
FIND_MISFIT: Mapping[MergeRule, Callable[[Any], str | None]] = {
    "text": _find_in_text,
    "spans": partial(_find_in_items, integers=("start", "end")),
    "tokens": partial(_find_in_items, integers=("start", "end", "id", "head")),
    "sum": partial(_find_in_tree, is_leaf=_is_number, lists=False),
    "value": partial(_find_in_tree, is_leaf=_is_scalar, lists=True),
}


def _raise_not_finite(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number in JSON")
