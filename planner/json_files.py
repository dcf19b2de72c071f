"""Reading of JSON files into models, with errors that name the field."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from planner.errors import PlannerError

_T = TypeVar("_T")


def read_json(path: Path, kind: TypeAdapter[_T], *, field: str) -> _T:
    """Return the content of a JSON file, validated. Error messages start with `field`.

    Raises:
        PlannerError: If the file cannot be read, or its content is not valid.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PlannerError(field, f"{path} cannot be read: {error.strerror}") from None
    try:
        return kind.validate_json(content.removeprefix(codecs.BOM_UTF8))
    except ValidationError as error:
        raise PlannerError(*_describe_first(error, field)) from None


def _describe_first(error: ValidationError, field: str) -> tuple[str, str]:
    """Return the path of the first invalid field, and its problem."""
    first = error.errors()[0]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    return field + path, first["msg"].removeprefix("Value error, ")
