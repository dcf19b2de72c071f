"""The messages of a batch, and the work that each of them brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from functions.worker.shards import Piece
from shared.jobs.job import Job
from shared.jobs.message import JobMessage

if TYPE_CHECKING:
    from functions.worker.pipeline import Analysis


class ChangeVisibility(Protocol):
    """A function that hides a message."""

    def __call__(self, *, seconds: int) -> None:
        """Hide the message for `seconds` from now, then let it be delivered again."""


@dataclass(frozen=True)
class BatchItem:
    """A message of a batch, with the function that changes its visibility."""

    message_id: str
    message: JobMessage
    change_visibility: ChangeVisibility


@dataclass
class Work:
    """The pieces of a job, or of one of its shards, and the analyses of the pieces.

    An analysis that is an exception is the error that the model raised on the piece.
    """

    item: BatchItem
    job: Job
    pieces: list[Piece]
    ids: Sequence[str | None]  # the client's ids of all documents of the job
    shard: int | None = None
    analyses: list[Analysis | Exception] = field(default_factory=list)
    run_ms: float = 0
    load_ms: int = 0

    @property
    def is_complete(self) -> bool:
        """Return whether every piece is analyzed."""
        return len(self.analyses) == len(self.pieces)

    @property
    def words(self) -> int:
        """Return the number of tokens in the analyzed pieces."""
        return sum(analysis.words for analysis in self.analyses if not isinstance(analysis, Exception))
