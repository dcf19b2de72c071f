"""Merging of the analyses of a document's pieces, by the merge rules of `shared.jobs.features`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Protocol, Self

from pydantic_core import to_json

from functions.worker.shards import Piece
from functions.worker.values import check_value, encode_value, refuse
from shared.errors import ModelFailed
from shared.jobs.features import MEMBERS, Member, MergeRule

_SPOOL_BYTES = 1_000_000

Span = dict[str, Any]


class Merger:
    """A writer of a result, `{"documents": […]}`. It holds one piece at a time; temporary files hold the rest.

    Offsets and positions of tokens count in the whole document afterwards.
    """

    def __init__(
        self, out: IO[bytes], document_ids: Sequence[str | None], members: Mapping[str, Member] = MEMBERS
    ) -> None:
        """Write to `out`. The documents have the ids `document_ids`, in order. Merge by the rules of `members`."""
        self._out = out
        self._ids = document_ids
        self._members = members
        self._document = -1
        self._error: dict[str, Any] | None = None
        self._values: dict[str, MergedValue] = {}
        self._last_error: dict[str, Any] | None = None
        self.failed = 0  # number of documents with an error
        out.write(b'{"documents":[')

    def __enter__(self) -> Self:
        """Return the merger."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Delete the temporary files, also those of a result that is not finished."""
        self._close_values()

    def add(self, piece: Piece, analysis: Mapping[str, Any]) -> None:
        """Add the analysis of the next piece: the members that its features extract, or `{"error": …}`.

        Raises:
            ModelFailed: If a value does not fit the merge rule of its member.
        """
        if piece.document != self._document:
            self._end_document()
            self._document = piece.document
        self._error = self._error or analysis.get("error")
        if self._error:
            return
        for name, value in analysis.items():
            member = check_value(self._members, name, value)
            if name not in self._values:
                self._values[name] = MERGED_VALUES[member.merge](member)
            self._values[name].add(value, piece.offset)

    def finish(self) -> None:
        """Write the end of the result.

        Raises:
            ModelFailed: If a sum has become too big for JSON.
        """
        self._end_document()
        self._out.write(b"]}")

    def raise_if_failed(self) -> None:
        """Raise the error of the job's only document, if it has one.

        Raises:
            ModelFailed: If the model raised an error on the only document.
        """
        if self._last_error and len(self._ids) == 1:
            raise ModelFailed(self._last_error["detail"])

    def _end_document(self) -> None:
        if self._document < 0:
            return
        self._out.write(b",{" if self._document else b"{")
        document_id = self._ids[self._document]
        separator = b""
        if document_id is not None:
            self._out.write(b'"id":' + to_json(document_id))
            separator = b","
        if self._error:
            self._last_error = self._error
            self.failed += 1
            self._out.write(separator + b'"error":' + to_json(self._error))
        else:
            self._write_members(separator)
        self._out.write(b"}")
        self._error = None
        self._close_values()

    def _close_values(self) -> None:
        for value in self._values.values():
            value.close()
        self._values = {}

    def _write_members(self, separator: bytes) -> None:
        for name, value in self._values.items():
            self._out.write(separator + to_json(name) + b":")
            value.write_to(self._out)
            separator = b","


class MergedValue(Protocol):
    """The value of a member, merged from the values of the pieces of a document."""

    def add(self, value: Any, offset: int, /) -> None:
        """Add the value of the next piece, which begins at the character `offset` of the document."""

    def write_to(self, out: IO[bytes]) -> None:
        """Write the merged value as JSON."""

    def close(self) -> None:
        """Delete the temporary file."""


class MergedText:
    """Strings that are joined in a temporary file."""

    def __init__(self, member: Member) -> None:
        """Begin with an empty string."""
        self._member = member
        self._file = _open_spool()

    def add(self, value: str, _offset: int) -> None:
        """Join a string."""
        self._file.write(encode_value(self._member, value)[1:-1])  # without its quotes

    def write_to(self, out: IO[bytes]) -> None:
        """Write the string as JSON."""
        out.write(b'"')
        _copy(self._file, out)
        out.write(b'"')

    def close(self) -> None:
        """Delete the temporary file."""
        self._file.close()


class MergedItems:
    """Lists of spans or tokens that are moved and joined in a temporary file."""

    def __init__(self, member: Member, move: Callable[[Span, int, int], None]) -> None:
        """Begin with an empty list. `move` moves an item by characters and by a number of items."""
        self._member = member
        self._move = move
        self._count = 0
        self._file = _open_spool()

    def add(self, value: list[Span], offset: int) -> None:
        """Move the items of a piece, and append them."""
        if offset:
            for item in value:
                self._move(item, offset, self._count)
        if value and self._count:
            self._file.write(b",")
        self._file.write(encode_value(self._member, value)[1:-1])  # without its brackets
        self._count += len(value)

    def write_to(self, out: IO[bytes]) -> None:
        """Write the list as JSON."""
        out.write(b"[")
        _copy(self._file, out)
        out.write(b"]")

    def close(self) -> None:
        """Delete the temporary file."""
        self._file.close()


class MergedSum:
    """Numbers, or objects of numbers, that are added in memory."""

    def __init__(self, member: Member) -> None:
        """Begin without a value."""
        self._member = member
        self._total: Any = None

    def add(self, value: Any, _offset: int) -> None:
        """Add a number, or the numbers of an object."""
        self._total = value if self._total is None else self._sum(self._total, value)

    def _sum(self, total: Any, value: Any) -> Any:
        if isinstance(total, dict) and isinstance(value, dict):
            added = {name: self._sum(total[name], part) if name in total else part for name, part in value.items()}
            return {**total, **added}
        if isinstance(total, dict) or isinstance(value, dict):
            refuse(self._member, f"{type(total).__name__} in one piece and {type(value).__name__} in another")
        return total + value

    def write_to(self, out: IO[bytes]) -> None:
        """Write the sum as JSON."""
        out.write(encode_value(self._member, self._total))

    def close(self) -> None:
        """Do nothing: there is no file."""


class FirstValue:
    """The value of the first piece."""

    def __init__(self, member: Member) -> None:
        """Begin without a value."""
        self._member = member
        self._encoded = b""

    def add(self, value: Any, _offset: int) -> None:
        """Keep the value if it is the first."""
        self._encoded = self._encoded or encode_value(self._member, value)

    def write_to(self, out: IO[bytes]) -> None:
        """Write the value as JSON."""
        out.write(self._encoded)

    def close(self) -> None:
        """Do nothing: there is no file."""


def _move_span(span: Span, characters: int, _items: int) -> None:
    span["start"] += characters
    span["end"] += characters


def _move_token(token: Span, characters: int, tokens: int) -> None:
    _move_span(token, characters, tokens)
    token["id"] += tokens
    token["head"] += tokens


MERGED_VALUES: Mapping[MergeRule, Callable[[Member], MergedValue]] = {
    "text": MergedText,
    "spans": lambda member: MergedItems(member, _move_span),
    "tokens": lambda member: MergedItems(member, _move_token),
    "sum": MergedSum,
    "value": FirstValue,
}


def _open_spool() -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)


def _copy(file: IO[bytes], out: IO[bytes]) -> None:
    file.seek(0)
    while chunk := file.read(_SPOOL_BYTES):
        out.write(chunk)
