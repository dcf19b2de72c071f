"""Deliveries, in the table `jobs` beside their job. Every change of a delivery is one conditional write."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from shared import aws
from shared.models import DELIVERY_PREFIX, Delivery, DeliveryAttempt, DeliveryState, DueItem, Job, announced_part
from shared.store import DUE_SLOTS, FIRST_LOOK_MS
from shared.table import Table

ATTEMPT_MS = 60_000  # after that an attempt that said nothing is given up: longer than the function may take
LIFETIME_SECONDS = 3 * 24 * 3600  # of a delivery at least: longer than its attempts can take
LOG_LIMIT = 16  # attempts that are kept, each with its excerpt: two passages through the schedule

_FREE = "(attribute_not_exists(#lease) OR #lease < :now)"  # no attempt is being made


class DeliveryStore:
    """What was announced, and what became of it."""

    def __init__(self, table: str, *, dynamodb: Any = None) -> None:
        """Of the DynamoDB table `table`; `dynamodb` in place of an AWS client that is built at first use."""
        self._items = Table(table, dynamodb=dynamodb)

    # Reading

    def get(self, job_id: str, part: str) -> Delivery | None:
        """The delivery, read consistently.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        item = self._items.get(job_id, part)
        return Delivery.model_validate(item) if item else None

    def job(self, job_id: str) -> Job | None:
        """The job, a deleted one's tombstone too, read consistently.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        item = self._items.get(job_id, "job")
        return Job.model_validate(item) if item else None

    def of_job(self, job_id: str) -> list[Delivery]:
        """All deliveries of a job, the oldest first, read consistently.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        query = aws.expression(
            {"id": job_id, "prefix": DELIVERY_PREFIX},
            KeyConditionExpression="#id = :id AND begins_with(#part, :prefix)",
        )
        found = map(Delivery.model_validate, self._items.all(ConsistentRead=True, **query))
        return sorted(found, key=lambda delivery: delivery.created_at)

    def of_client(self, client_id: str) -> Iterator[Delivery]:
        """All deliveries of a client's jobs, job by job, the oldest first.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        query = aws.expression({"client_id": client_id}, KeyConditionExpression="#client_id = :client_id")
        keys = self._items.all(IndexName="by_client", **query)
        ids = [key["id"] for key in keys if key["part"] == "job"]
        for job_id in ids:
            yield from self.of_job(job_id)

    # Announcing

    def announce(self, job: Job, body: bytes, *, now: int, owner: str | None = None) -> Delivery:
        """Make the announcement of the run that `job` ended, if nobody has yet; then the job is not due any more.

        For an `owner` it is made with its first attempt claimed, in the same write: see `claim`.

        The delivery comes first: a death in between leaves a job that is due, and the next one finds the delivery.

        Raises:
            Transient: when it is not known to be made.
        """
        assert job.webhook is not None  # noqa: S101 (who announces has asked `job.announces`)
        delivery = Delivery(
            id=job.id,
            part=announced_part(job.run, job.status),
            client=job.client_id,
            url=job.webhook.url,
            body=body,
            created_at=now,
            next_at=now,
            due_at=now + FIRST_LOOK_MS,
            due_slot=secrets.randbelow(DUE_SLOTS),
            expires_at=max(job.expires_at, now // 1000 + LIFETIME_SECONDS),
        )
        if owner is not None:
            claim = {"made": 1, "owner": owner, "lease": now + ATTEMPT_MS, "due_at": now + ATTEMPT_MS}
            delivery = delivery.model_copy(update=claim)
        made = self._put_or_find(delivery)
        self._settle(job)
        return made

    def _put_or_find(self, delivery: Delivery) -> Delivery:
        absent = aws.expression({}, ConditionExpression="attribute_not_exists(#id)")
        try:
            self._items.put(delivery.model_dump(exclude_none=True), **absent)
        except aws.ConditionFailed as failed:
            return Delivery.model_validate(failed.item)
        return delivery

    def _settle(self, job: Job) -> None:
        update = aws.expression(
            {"run": job.run, "status": job.status},
            UpdateExpression="REMOVE #due_at, #due_slot",
            ConditionExpression="#run = :run AND #status = :status",
        )
        with suppress(aws.ConditionFailed):  # the next run has begun: another made the announcement before that
            self._items.update(job.id, "job", update)

    # Attempting

    def claim(self, delivery: Delivery, *, owner: str, now: int) -> Delivery | None:
        """Take the next attempt for `owner`; None when another copy of its message has, or nothing is to be done.

        An attempt counts from here on: what dies in it may have been delivered.

        Raises:
            Transient: when nobody knows; the delivery stays due.
        """
        update = aws.expression(
            {
                "pending": "pending", "made": delivery.made, "one": 1, "owner": owner, "now": now,
                "lease": now + ATTEMPT_MS, "due_at": now + ATTEMPT_MS,
            },
            UpdateExpression="SET #made = #made + :one, #owner = :owner, #lease = :lease, #due_at = :due_at",
            ConditionExpression=f"#state = :pending AND #made = :made AND {_FREE}",
        )  # fmt: skip
        try:
            return Delivery.model_validate(self._items.update(delivery.id, delivery.part, update))
        except aws.ConditionFailed as failed:
            # A claim that was executed and then timed out is found by its own repetition.
            mine = failed.item is not None and failed.item.get("owner") == owner
            return Delivery.model_validate(failed.item) if mine else None

    def record(
        self,
        claimed: Delivery,
        attempt: DeliveryAttempt | None,
        *,
        state: DeliveryState,
        next_at: int | None = None,
        due_at: int | None = None,
    ) -> bool:
        """Write what came of a claimed attempt; False when it is no longer this claim's.

        While the delivery is pending `next_at` (ms) is when the next attempt is wanted, and `due_at` when the janitor
        looks for it.

        Raises:
            Transient: when nobody knows; the delivery stays due.
        """
        log = [*claimed.attempts, *([attempt] if attempt else [])][-LOG_LIMIT:]
        values = {
            "state": state, "attempts": [entry.model_dump(exclude_none=True) for entry in log],
            "made": claimed.made, "mine": claimed.owner, "next_at": next_at, "due_at": due_at,
        }  # fmt: skip
        again = ", #next_at = :next_at, #due_at = :due_at" if state == "pending" else ""
        over = "" if state == "pending" else ", #next_at, #due_at, #due_slot"
        update = aws.expression(
            values,
            UpdateExpression=f"SET #state = :state, #attempts = :attempts{again} REMOVE #lease{over}",
            ConditionExpression="#made = :made AND #owner = :mine",
        )
        try:
            self._items.update(claimed.id, claimed.part, update)
        except aws.ConditionFailed:
            return False
        return True

    # Looking again

    def redeliver(self, delivery: Delivery, *, now: int) -> Delivery | None:
        """Begin another passage through the schedule, at once; None while an attempt is being made.

        The delivery lives long enough for that, and an attempt that was given up no longer has a say in it.

        Raises:
            Transient: when nobody knows; the same call may be repeated.
        """
        values = {
            "pending": "pending", "now": now, "due_at": now + FIRST_LOOK_MS, "due_slot": secrets.randbelow(DUE_SLOTS),
            "expires_at": max(delivery.expires_at, now // 1000 + LIFETIME_SECONDS),
        }  # fmt: skip
        update = aws.expression(
            values,
            UpdateExpression="SET #state = :pending, #since = #made, #next_at = :now, #due_at = :due_at, "
            "#due_slot = :due_slot, #expires_at = :expires_at REMOVE #lease, #owner",
            ConditionExpression=f"attribute_exists(#made) AND {_FREE}",
        )
        try:
            return Delivery.model_validate(self._items.update(delivery.id, delivery.part, update))
        except aws.ConditionFailed:
            return None

    def due(self, items: Sequence[DueItem]) -> list[Delivery]:
        """The deliveries among due items, read consistently, as far as they are due for what the index says.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        wanted = {(item.id, item.part): item.due_at for item in items if item.part.startswith(DELIVERY_PREFIX)}
        found = map(Delivery.model_validate, self._items.get_all(wanted))
        # The index may lag: what has moved on since is not due.
        return [one for one in found if one.due_at == wanted[one.id, one.part]]

    def look_again(self, delivery: Delivery, *, due_at: int) -> bool:
        """Be due again at `due_at` (ms); False when somebody else has changed the delivery meanwhile.

        Raises:
            Transient: when nobody knows.
        """
        update = aws.expression(
            {"next": due_at, "was": delivery.due_at, "made": delivery.made},
            UpdateExpression="SET #due_at = :next",
            ConditionExpression="#due_at = :was AND #made = :made",
        )
        try:
            self._items.update(delivery.id, delivery.part, update)
        except aws.ConditionFailed:
            return False
        return True


def replay(deliveries: DeliveryStore, client_id: str, *, since: int, now: int) -> Iterator[Delivery]:
    """Begin anew every delivery of the client that failed since `since` (ms), as after an outage of its receiver.

    Gives those that were begun anew; whoever calls sends their messages, or leaves that to the janitor. What was
    delivered, or is being attempted, is left alone; so the same call again goes on where it broke off.

    Raises:
        Transient: when DynamoDB is busy or away.
    """
    for delivery in deliveries.of_client(client_id):
        last = delivery.attempts[-1].at if delivery.attempts else delivery.created_at
        if delivery.state == "delivered" or delivery.made == delivery.since or last < since:
            continue
        if again := deliveries.redeliver(delivery, now=now):
            yield again
