"""The store of deliveries. Every change of a delivery is one conditional write."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress

from shared.aws.client import ConditionFailed
from shared.aws.items import expression
from shared.aws.table import Table
from shared.jobs.checks import CHECK_PARTITIONS, ScheduledCheck
from shared.jobs.job import DELIVERY_PREFIX, Job, job_key
from shared.jobs.writes import FIRST_CHECK_MS
from shared.webhooks.delivery import Delivery, DeliveryAttempt, DeliveryState
from shared.webhooks.event import delivery_part

ATTEMPT_MS = 60_000  # lease of an attempt: longer than the function `webhook` may run
LIFETIME_SECONDS = 3 * 24 * 3600  # shortest life of a delivery: longer than its attempts can take
ATTEMPTS_KEPT = 16  # attempts that are kept with their excerpts: enough for two runs through the schedule

_NO_ATTEMPT_RUNS = "(attribute_not_exists(#lease_expires_at) OR #lease_expires_at < :now)"


class DeliveryStore:
    """The deliveries in the table `jobs`.

    Every method raises `Transient` if DynamoDB is throttled or unreachable. A write may be done all the same.
    """

    def __init__(self, table: Table) -> None:
        """Use the table `jobs`."""
        self._table = table

    # Reading

    def get(self, job_id: str, part: str) -> Delivery | None:
        """Return the delivery, read consistently, or None if there is none."""
        item = self._table.get(job_key(job_id, part))
        return Delivery.model_validate(item) if item else None

    def get_job(self, job_id: str) -> Job | None:
        """Return the job or its tombstone, read consistently, or None if there is neither."""
        item = self._table.get(job_key(job_id))
        return Job.model_validate(item) if item else None

    def list_for_job(self, job_id: str) -> list[Delivery]:
        """Return all deliveries of a job, the oldest first, read consistently."""
        query = expression(
            {"id": job_id, "prefix": DELIVERY_PREFIX},
            KeyConditionExpression="#id = :id AND begins_with(#part, :prefix)",
        )
        deliveries = map(Delivery.model_validate, self._table.query(ConsistentRead=True, **query))
        return sorted(deliveries, key=lambda delivery: delivery.created_at)

    def list_for_client(self, client_id: str) -> Iterator[Delivery]:
        """Yield all deliveries of a client, job by job, the oldest job first."""
        query = expression({"client_id": client_id}, KeyConditionExpression="#client_id = :client_id")
        keys = self._table.query(IndexName="by_client", **query)
        for job_id in [key["id"] for key in keys if key["part"] == "job"]:
            yield from self.list_for_job(job_id)

    def get_scheduled(self, checks: Sequence[ScheduledCheck]) -> list[Delivery]:
        """Return the deliveries among `checks`, read consistently. Skip stale index entries."""
        times = {(one.id, one.part): one.next_check_at for one in checks if one.part.startswith(DELIVERY_PREFIX)}
        deliveries = map(Delivery.model_validate, self._table.get_many(job_key(*key) for key in times))
        return [one for one in deliveries if one.next_check_at == times[one.id, one.part]]

    # Creating

    def create(self, job: Job, body: bytes, *, now: int, claim_token: str | None = None) -> Delivery:
        """Create the delivery for the end of the job's run if there is none, then remove the job's scheduled check.

        With `claim_token`, claim the first attempt in the same write. The delivery is written first: if the process
        dies in between, the job is still scheduled, and the next call finds the delivery.

        Args:
            job: A job with a webhook, whose run has ended.
            body: The event, as `shared.webhooks.payload.render_event` returns it.
            now: The current time (ms).
            claim_token: The random token of the first attempt.
        """
        assert job.webhook is not None  # noqa: S101 (the caller has checked `job.has_webhook_for`)
        delivery = Delivery(
            id=job.id,
            part=delivery_part(job.run, job.status),
            client=job.client_id,
            url=job.webhook.url,
            body=body,
            created_at=now,
            next_attempt_at=now,
            next_check_at=now + FIRST_CHECK_MS,
            check_partition=secrets.randbelow(CHECK_PARTITIONS),
            expires_at=max(job.expires_at, now // 1000 + LIFETIME_SECONDS),
        )
        if claim_token is not None:
            end = now + ATTEMPT_MS
            claim = {"attempt_count": 1, "claim_token": claim_token, "lease_expires_at": end, "next_check_at": end}
            delivery = delivery.model_copy(update=claim)
        stored = self._put_or_get(delivery)
        self._remove_check(job)
        return stored

    def _put_or_get(self, delivery: Delivery) -> Delivery:
        is_new = expression({}, ConditionExpression="attribute_not_exists(#id)")
        try:
            self._table.put(delivery.model_dump(exclude_none=True), **is_new)
        except ConditionFailed as failed:
            return Delivery.model_validate(failed.item)
        return delivery

    def _remove_check(self, job: Job) -> None:
        update = expression(
            {"run": job.run, "status": job.status},
            UpdateExpression="REMOVE #next_check_at, #check_partition",
            ConditionExpression="#run = :run AND #status = :status",
        )
        with suppress(ConditionFailed):  # the next run has begun, so another caller removed the check before
            self._table.update(job_key(job.id), update)

    # Attempting

    def claim(self, delivery: Delivery, *, claim_token: str, now: int) -> Delivery | None:
        """Claim the next attempt. Return None if another copy of its message did, or the delivery is not pending.

        The attempt counts from this moment. If the process dies, the event may have been delivered.

        Raises:
            Transient: If the outcome is unknown. The delivery stays scheduled for a check.
        """
        end = now + ATTEMPT_MS
        update = expression(
            {
                "pending": "pending", "attempt_count": delivery.attempt_count, "one": 1, "claim_token": claim_token,
                "now": now, "lease_expires_at": end, "next_check_at": end,
            },
            UpdateExpression="SET #attempt_count = #attempt_count + :one, #claim_token = :claim_token, "
            "#lease_expires_at = :lease_expires_at, #next_check_at = :next_check_at",
            ConditionExpression=f"#state = :pending AND #attempt_count = :attempt_count AND {_NO_ATTEMPT_RUNS}",
        )  # fmt: skip
        try:
            return Delivery.model_validate(self._table.update(job_key(delivery.id, delivery.part), update))
        except ConditionFailed as failed:
            # The SDK repeats a claim whose answer was lost. Its own token shows that the first try succeeded.
            is_mine = failed.item is not None and failed.item.get("claim_token") == claim_token
            return Delivery.model_validate(failed.item) if is_mine else None

    def record_attempt(
        self,
        claimed: Delivery,
        attempt: DeliveryAttempt | None,
        *,
        state: DeliveryState,
        next_attempt_at: int | None = None,
        next_check_at: int | None = None,
    ) -> bool:
        """Record the outcome of a claimed attempt. Return False if the claim was lost.

        Args:
            claimed: The delivery as `claim` returned it.
            attempt: The attempt, or None if nothing is known about it.
            state: The state of the delivery after the attempt.
            next_attempt_at: The time of the next attempt (ms), while the delivery is pending.
            next_check_at: The time of the janitor's next check (ms), while the delivery is pending.

        Raises:
            Transient: If the outcome is unknown. The delivery stays scheduled for a check.
        """
        attempts = [*claimed.attempts, *([attempt] if attempt else [])][-ATTEMPTS_KEPT:]
        is_pending = state == "pending"
        values = {
            "state": state, "attempts": [entry.model_dump(exclude_none=True) for entry in attempts],
            "attempt_count": claimed.attempt_count, "mine": claimed.claim_token,
            "next_attempt_at": next_attempt_at, "next_check_at": next_check_at,
        }  # fmt: skip
        times = ", #next_attempt_at = :next_attempt_at, #next_check_at = :next_check_at" if is_pending else ""
        removed = "" if is_pending else ", #next_attempt_at, #next_check_at, #check_partition"
        update = expression(
            values,
            UpdateExpression=f"SET #state = :state, #attempts = :attempts{times} REMOVE #lease_expires_at{removed}",
            ConditionExpression="#attempt_count = :attempt_count AND #claim_token = :mine",
        )
        return self._try_update(claimed, update) is not None

    # Scheduling

    def redeliver(self, delivery: Delivery, *, now: int) -> Delivery | None:
        """Begin the schedule of attempts again, at once. Return None while an attempt is in progress.

        The life of the delivery is extended to cover the schedule. The outcome of an abandoned attempt is ignored.

        Raises:
            Transient: If the outcome is unknown. The call may be repeated.
        """
        values = {
            "pending": "pending", "now": now, "next_check_at": now + FIRST_CHECK_MS,
            "check_partition": secrets.randbelow(CHECK_PARTITIONS),
            "expires_at": max(delivery.expires_at, now // 1000 + LIFETIME_SECONDS),
        }  # fmt: skip
        update = expression(
            values,
            UpdateExpression="SET #state = :pending, #schedule_start = #attempt_count, #next_attempt_at = :now, "
            "#next_check_at = :next_check_at, #check_partition = :check_partition, #expires_at = :expires_at "
            "REMOVE #lease_expires_at, #claim_token",
            ConditionExpression=f"attribute_exists(#attempt_count) AND {_NO_ATTEMPT_RUNS}",
        )
        item = self._try_update(delivery, update)
        return Delivery.model_validate(item) if item is not None else None

    def reschedule(self, delivery: Delivery, *, next_check_at: int) -> bool:
        """Set the next check to `next_check_at` (ms). Return False if the delivery has changed since it was read."""
        update = expression(
            {"next": next_check_at, "was": delivery.next_check_at, "attempt_count": delivery.attempt_count},
            UpdateExpression="SET #next_check_at = :next",
            ConditionExpression="#next_check_at = :was AND #attempt_count = :attempt_count",
        )
        return self._try_update(delivery, update) is not None

    def _try_update(self, delivery: Delivery, update: dict[str, object]) -> dict[str, object] | None:
        """Return the updated item, or None if the condition of `update` does not hold."""
        try:
            return self._table.update(job_key(delivery.id, delivery.part), update)
        except ConditionFailed:
            return None


def redeliver_failed(deliveries: DeliveryStore, client_id: str, *, since: int, now: int) -> Iterator[Delivery]:
    """Redeliver every event of the client that was attempted since `since` (ms) and not delivered.

    Deliveries that succeeded, or that have an attempt in progress, are left alone. The same call may be repeated
    after an interruption.

    Yields:
        Each delivery that was begun again. The caller sends its message, or leaves that to the janitor.

    Raises:
        Transient: If DynamoDB is throttled or unreachable.
    """
    for delivery in deliveries.list_for_client(client_id):
        last = delivery.attempts[-1].at if delivery.attempts else delivery.created_at
        is_fresh = delivery.attempt_count == delivery.schedule_start
        if delivery.state == "delivered" or is_fresh or last < since:
            continue
        if begun := deliveries.redeliver(delivery, now=now):
            yield begun
