"""Deliveries: webhook events on their way to a URL, stored in the table `jobs` beside their job."""

from __future__ import annotations

from typing import Literal

from pydantic import TypeAdapter

from shared.jobs.job import DELIVERY_PREFIX, Status
from shared.records import Record
from shared.webhooks.event import WebhookMessage

DeliveryState = Literal["pending", "delivered", "failed", "disabled"]

_STATUS: TypeAdapter[Status] = TypeAdapter(Status)


class DeliveryAttempt(Record):
    """One attempt to deliver. `at` is its beginning (ms). It has the HTTP `status` of the answer, or an `error`."""

    at: int
    status: int | None = None
    error: str | None = None
    latency_ms: int
    excerpt: str = ""  # beginning of the answer's body


class Delivery(Record):
    """The item `delivery#<run>.<status>`: one webhook event, with everything that its delivery needs.

    It outlives the job's next run and the job's deletion, so it holds its own copy of the body. Its attribute for the
    client is not named `client_id`, because the index `by_client` would then list it as a job.
    """

    id: str  # the job's id
    part: str
    client: str
    url: str
    body: bytes
    state: DeliveryState = "pending"
    created_at: int
    attempt_count: int = 0  # number of attempts in all
    schedule_start: int = 0  # number of attempts that were made before the schedule was last begun
    attempts: tuple[DeliveryAttempt, ...] = ()  # the last ones
    next_attempt_at: int | None = None  # time of the next attempt, while the delivery is pending
    claim_token: str | None = None  # random token of the attempt in progress
    lease_expires_at: int | None = None
    next_check_at: int | None = None
    check_partition: int | None = None
    expires_at: int

    @property
    def webhook_id(self) -> str:
        """Return the value of the header `webhook-id`. It is the same in every attempt to deliver this event."""
        return f"{self.id}.{self.part.removeprefix(DELIVERY_PREFIX)}"

    @property
    def run(self) -> int:
        """Return the run that ended."""
        return int(self.part.removeprefix(DELIVERY_PREFIX).partition(".")[0])

    @property
    def status(self) -> Status:
        """Return the status with which the run ended."""
        return _STATUS.validate_python(self.part.rpartition(".")[2])

    @property
    def message(self) -> WebhookMessage:
        """Return the message that asks for the next attempt."""
        return WebhookMessage(job=self.id, run=self.run, status=self.status, attempt=self.attempt_count)
