"""What the janitor does with jobs: each change only while the job is as it was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from shared import aws
from shared.errors import JobError
from shared.models import DueItem, Job, Split, Status
from shared.store import SPLIT_EXISTS, JobStore, ending, failure


class DueJobs(JobStore):
    """Jobs, as whoever looks at what is due needs them."""

    def due(self, slot: int, *, now: int, limit: int) -> list[DueItem]:
        """At most `limit` of the items in `slot` that are due at `now` (ms), the longest due first.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        query = aws.expression(
            {"due_slot": slot, "now": now}, KeyConditionExpression="#due_slot = :due_slot AND #due_at <= :now"
        )
        found, _ = self._items.page(IndexName="due", Limit=limit, **query)
        return [DueItem.model_validate(item) for item in found]

    def jobs_of(self, items: Sequence[DueItem]) -> dict[str, Job]:
        """The jobs of due items, by id, read consistently; those that are gone are missing.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        return self._jobs([item.id for item in items])

    def look_again(self, job: Job, *, due_at: int | None) -> bool:
        """Be due again at `due_at` (ms), or never; False when somebody else has changed the job meanwhile.

        Raises:
            Transient: when nobody knows.
        """
        change = "SET #due_at = :next" if due_at is not None else "REMOVE #due_at, #due_slot"
        return self._as_read(job, change, {"next": due_at})

    def look_again_at_split(self, job: Job, split: Split, *, due_at: int, again: bool) -> bool:
        """As `look_again`, and note how far the shards are; `again` counts as an attempt.

        Raises:
            Transient: when nobody knows.
        """
        change = "SET #due_at = :next" + (", #attempt = #attempt + :one" if again else "")
        if not self._as_read(job, change, {"next": due_at, "one": 1}):
            return False
        seen = aws.expression(
            {"seen": len(split.done)}, UpdateExpression="SET #seen = :seen", ConditionExpression=SPLIT_EXISTS
        )
        with suppress(aws.ConditionFailed):  # deleted meanwhile
            self._items.update(job.id, f"split#{job.run}", seen)
        return True

    def end(self, job: Job, status: Status, *, error: JobError | None = None, now: int) -> bool:
        """End an open job from outside, whoever holds it; False when it has changed since it was read.

        Raises:
            Transient: when nobody knows.
        """
        change, values = ending(job, status, {"failure": failure(error)} if error else {}, now=now)
        return self._as_read(job, change, values)

    def _as_read(self, job: Job, change: str, values: Mapping[str, Any]) -> bool:
        """Apply `change` only while the job is as it was read, as far as others change it."""
        condition = "#run = :was_run AND #attempt = :was_attempt AND #status = :was_status AND #due_at = :was_due_at"
        was = {"was_run": job.run, "was_attempt": job.attempt, "was_status": job.status, "was_due_at": job.due_at}
        return self._try(job, aws.expression({**values, **was}, UpdateExpression=change, ConditionExpression=condition))
