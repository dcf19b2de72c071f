"""A batch as work: what each message brought, its pieces, and the model run over them, so many at a time."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from functions.worker.shards import SHARD_CHARACTERS, Piece
from shared.errors import ModelFailed
from shared.log import logger
from shared.models import Job, Message

if TYPE_CHECKING:
    from functions.worker.pipeline import Analysis, Pipeline, Task


class Postpone(Protocol):
    """Hides a message."""

    def __call__(self, *, seconds: int) -> None:
        """For `seconds` from now."""


@dataclass(frozen=True)
class Received:
    """A message of the batch; `postpone` hides it for so many seconds before it is delivered again."""

    item_id: str
    message: Message
    postpone: Postpone


@dataclass
class Work:
    """Pieces that the model is to be run over, for a job or for one of its shards, and what came of them."""

    received: Received
    job: Job
    pieces: list[Piece]
    ids: Sequence[str | None]  # of the job's documents
    shard: int | None = None
    outcomes: list[Analysis | Exception] = field(default_factory=list)
    run_ms: float = 0
    load_ms: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether the model has been over every piece."""
        return len(self.outcomes) == len(self.pieces)

    @property
    def words(self) -> int:
        """Tokens in the pieces that the model was over."""
        return sum(outcome.words for outcome in self.outcomes if not isinstance(outcome, Exception))


Group = Sequence[tuple[Work, Piece]]  # what the model is run over in one go


def groups(works: Iterable[Work]) -> Iterator[Group]:
    """The pieces of all works in order, as many at a time as one may be long: that bounds the memory."""
    group: list[tuple[Work, Piece]] = []
    characters = 0
    for work in works:
        for piece in work.pieces:
            if group and characters + len(piece.text) > SHARD_CHARACTERS:
                yield group
                group, characters = [], 0
            group.append((work, piece))
            characters += len(piece.text)
    yield group


def works_of(group: Group) -> Iterable[Work]:
    """Each of the works that a group's pieces are of, once."""
    return {id(work): work for work, _ in group}.values()


def run(pipeline: Pipeline, group: Group) -> None:
    """Run the model over a group; each work gets its outcomes, and the time that the whole group took."""
    began = time.perf_counter()
    tasks: list[Task] = [(piece.text, work.job.features) for work, piece in group]
    for (work, _), outcome in zip(group, pipeline.run(tasks), strict=True):
        work.outcomes.append(outcome)
    took_ms = (time.perf_counter() - began) * 1000
    for work in works_of(group):
        work.run_ms += took_ms


def shown(outcome: Analysis | Exception) -> dict[str, Any]:
    """What a result shows of a piece."""
    if not isinstance(outcome, Exception):
        return outcome.document
    logger.error("The model failed on a document", exc_info=outcome)
    detail = f"The model raised {type(outcome).__name__}"
    return {"error": {"code": ModelFailed.code, "title": ModelFailed.title, "detail": detail}}
