"""JSON files, read into models; what is wrong with one is said by its field."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from planner.errors import PlannerError

_T = TypeVar("_T")


def read(path: Path, kind: TypeAdapter[_T], *, field: str) -> _T:
    """What a JSON file holds; `field` is what it is for.

    Raises:
        PlannerError: when it cannot be read or used.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PlannerError(field, f"{path} cannot be read: {error.strerror}") from None
    try:
        return kind.validate_json(content.removeprefix(codecs.BOM_UTF8))
    except ValidationError as error:
        raise PlannerError(*_first(error, field)) from None


def _first(error: ValidationError, within: str) -> tuple[str, str]:
    """The field and the problem of the first thing that is wrong."""
    first = error.errors()[0]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    return within + path, first["msg"].removeprefix("Value error, ")
