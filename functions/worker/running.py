"""Running the model over the work of a batch, in groups that bound the memory."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from functions.worker.shards import Piece
from functions.worker.work import Work
from shared.jobs.job import SHARD_CHARACTERS

if TYPE_CHECKING:
    from functions.worker.pipeline import Pipeline, Task

Group = Sequence[tuple[Work, Piece]]  # the pieces that the model analyzes together


def group_pieces(works: Iterable[Work]) -> Iterator[Group]:
    """Yield the pieces of all works in order, in groups of at most `SHARD_CHARACTERS` characters."""
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


def run_group(pipeline: Pipeline, group: Group) -> list[Work]:
    """Analyze the pieces of a group. Return the works to which they belong, each once.

    Every work records its analyses, and the time that the whole group took.
    """
    started = time.perf_counter()
    tasks: list[Task] = [(piece.text, work.job.features) for work, piece in group]
    for (work, _), analysis in zip(group, pipeline.run(tasks), strict=True):
        work.analyses.append(analysis)
    run_ms = (time.perf_counter() - started) * 1000
    works = list({id(work): work for work, _ in group}.values())
    for work in works:
        work.run_ms += run_ms
    return works
