"""The messages of the queues `jobs` and `isolated`."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from shared.records import Record


class JobMessage(Record):
    """A hint to look at a run of a job, or at one of its shards.

    A message may be lost, doubled or late without harm, because every claim is a conditional write.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str  # the job's id
    run: int = Field(ge=1)
    shard: int | None = Field(default=None, ge=0)
