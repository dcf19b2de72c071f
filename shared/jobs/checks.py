"""Scheduled checks: the times at which the janitor looks at a job or a delivery, and the changes that it makes.

Every open job and every pending delivery has a next check. Its time is stored in the attribute `next_check_at`, which
the index `checks` lists by time in 16 partitions.
"""

from __future__ import annotations

from contextlib import suppress

from shared.aws.client import ConditionFailed
from shared.aws.items import expression
from shared.aws.table import Table
from shared.errors import JobError
from shared.jobs.job import Job, Split, Status, job_key
from shared.jobs.shards import SPLIT_EXISTS, split_part
from shared.jobs.writes import ending, to_failure, update_unchanged
from shared.records import Record

CHECK_PARTITIONS = 16  # partitions of the index `checks`


class ScheduledCheck(Record):
    """An entry of the index `checks`: an item that the janitor looks at when `next_check_at` (ms) has passed."""

    id: str
    part: str
    next_check_at: int


class JobChecks:
    """The janitor's view of the table `jobs`.

    Every method raises `Transient` if DynamoDB is throttled or unreachable. A write may be done all the same.
    """

    def __init__(self, table: Table) -> None:
        """Use the table `jobs`."""
        self._table = table

    def list_due(self, partition: int, *, now: int, limit: int) -> list[ScheduledCheck]:
        """Return up to `limit` checks of a partition whose time has passed at `now` (ms), the earliest first."""
        query = expression(
            {"partition": partition, "now": now},
            KeyConditionExpression="#check_partition = :partition AND #next_check_at <= :now",
        )
        items, _ = self._table.query_page(IndexName="checks", Limit=limit, **query)
        return [ScheduledCheck.model_validate(item) for item in items]

    def reschedule(self, job: Job, *, next_check_at: int | None) -> bool:
        """Set the job's next check to `next_check_at` (ms), or remove it. Return False if the job has changed."""
        change = "SET #next_check_at = :next"
        if next_check_at is None:
            change = "REMOVE #next_check_at, #check_partition"
        return update_unchanged(self._table, job, change, {"next": next_check_at})

    def reschedule_split(self, job: Job, split: Split, *, next_check_at: int, counts_as_attempt: bool) -> bool:
        """Set the next check of a split job and record its progress. Return False if the job has changed."""
        change = "SET #next_check_at = :next" + (", #attempt = #attempt + :one" if counts_as_attempt else "")
        if not update_unchanged(self._table, job, change, {"next": next_check_at, "one": 1}):
            return False
        update = expression(
            {"done": len(split.done)},
            UpdateExpression="SET #done_at_last_check = :done",
            ConditionExpression=SPLIT_EXISTS,
        )
        with suppress(ConditionFailed):  # the client has deleted the job
            self._table.update(job_key(job.id, split_part(job)), update)
        return True

    def end(self, job: Job, status: Status, *, error: JobError | None = None, now: int) -> bool:
        """End an open job, even if a worker holds it. Return False if the job has changed since it was read."""
        changes = {"failure": to_failure(error)} if error else {}
        return update_unchanged(self._table, job, *ending(job, status, changes, now=now))
