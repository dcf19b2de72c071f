"""The shards of a big job: which exist, which are done, and their outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from shared.aws.blobs import Blobs
from shared.aws.client import ConditionFailed, Missing
from shared.aws.items import expression
from shared.aws.table import Table
from shared.errors import InputMissing
from shared.jobs.job import Job, Split, job_key
from shared.jobs.writes import FIRST_CHECK_MS, update_claimed

# An update of an item that does not exist would create one without an end of life.
SPLIT_EXISTS = "attribute_exists(#total)"


class ShardStore:
    """The items `split#<run>` in the table `jobs`, and the outcomes of shards in the bucket."""

    def __init__(self, table: Table, blobs: Blobs) -> None:
        """Store the items in `table` and the outcomes in `blobs`."""
        self._table = table
        self._blobs = blobs

    def get_split(self, job: Job) -> Split | None:
        """Return which shards of `job` are done, or None if the job is not split.

        Raises:
            Transient: If DynamoDB is throttled or unreachable.
        """
        item = self._table.get(job_key(job.id, split_part(job))) if job.shards else None
        return Split.model_validate(item) if item else None

    def split(self, job: Job, total: int, *, now: int) -> bool:
        """Split a claimed job into `total` shards and give up the claim. Return False if the claim was lost.

        Raises:
            Transient: If the outcome is unknown. The lease then expires by itself.
        """
        item = {**job_key(job.id, split_part(job)), **Split(total=total).model_dump(exclude={"done"})}
        is_new = expression({}, ConditionExpression="attribute_not_exists(#id)")
        with suppress(ConditionFailed):  # an earlier attempt of this run stored it, with the same shards
            self._table.put({**item, "expires_at": job.expires_at}, **is_new)
        change = "SET #shards = :shards, #next_check_at = :next_check_at REMOVE #lease_expires_at, #claim_token"
        values = {"shards": total, "next_check_at": now + FIRST_CHECK_MS}
        return update_claimed(self._table, job, change, values)

    def record_done(self, job: Job, shard: int, outcome: bytes) -> Split | None:
        """Store the outcome of a shard, then record that it is done. Return the state of the split after that.

        Return None if the split no longer exists because the job was deleted.

        Raises:
            Transient: If the outcome is unknown.
        """
        self._blobs.put(_outcome_key(job, shard), outcome, content_type="application/json")
        update = expression({"shard": {shard}}, UpdateExpression="ADD #done :shard", ConditionExpression=SPLIT_EXISTS)
        try:
            return Split.model_validate(self._table.update(job_key(job.id, split_part(job)), update))
        except ConditionFailed:
            return None

    def read_outcomes(self, job: Job) -> Iterator[bytes]:
        """Yield the outcomes of all shards in order, one at a time.

        Raises:
            InputMissing: If one of them is gone.
            Transient: If S3 is throttled or unreachable.
        """
        try:
            for shard in range(job.shards or 0):
                yield self._blobs.get(_outcome_key(job, shard))
        except Missing:
            raise InputMissing("The outcome of a shard is gone") from None


def split_part(job: Job) -> str:
    """Return the sort key of the item that records the shards of the job's run."""
    return f"split#{job.run}"


def _outcome_key(job: Job, shard: int) -> str:
    return f"results/{job.id}/shards/{job.run}/{shard}"
