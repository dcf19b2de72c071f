"""Webhook events: a run has ended as a status that its client wants to hear of."""

from __future__ import annotations

from typing import Protocol

from pydantic import ConfigDict, Field

from shared.errors import Transient
from shared.jobs.job import DELIVERY_PREFIX, Job, Status
from shared.log import logger
from shared.records import Record


class WebhookMessage(Record):
    """A message of the queue `webhooks`: a hint to make the next attempt to deliver an event.

    `attempt` is the number of attempts that were made before. Of two copies of a message, only one matches the
    delivery's count.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str  # the job's id
    run: int = Field(ge=1)
    status: Status
    attempt: int = Field(default=0, ge=0)

    @property
    def part(self) -> str:
        """Return the sort key of the delivery."""
        return delivery_part(self.run, self.status)


class WebhookQueue(Protocol):
    """The queue `webhooks`, for a sender."""

    def send(self, message: WebhookMessage, *, client_id: str) -> None:
        """Send a message."""


def delivery_part(run: int, status: Status) -> str:
    """Return the sort key of the delivery for the end of a run."""
    return f"{DELIVERY_PREFIX}{run}.{status}"


def notify(webhooks: WebhookQueue, job: Job, status: Status) -> None:
    """Send the message that the run of `job` has ended as `status`, if its client wants to hear of it.

    A message that cannot be sent is only logged: the job stays scheduled for a check until its delivery exists, and
    the janitor sends the message again.
    """
    if not job.has_webhook_for(status):
        return
    try:
        webhooks.send(WebhookMessage(job=job.id, run=job.run, status=status), client_id=job.client_id)
    except Transient as error:
        logger.warning("Cannot send a webhook message; the janitor will", job=job.id, run=job.run, reason=str(error))
