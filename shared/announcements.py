"""Tell that a run has ended, as soon as it is written: a hint, like every message."""

from __future__ import annotations

from typing import Protocol

from shared.errors import Transient
from shared.log import logger
from shared.models import Job, Status, WebhookMessage


class Lane(Protocol):
    """The queue `webhooks`."""

    def send(self, message: WebhookMessage, *, client_id: str) -> None:
        """Queue a message."""


def announce(webhooks: Lane, job: Job, status: Status) -> None:
    """Send the message that the run of `job` has ended as `status`, if its client wants to know.

    Best effort: the job stays due until its announcement is made, and the janitor sends what was not sent here.
    """
    if not job.announces(status):
        return
    try:
        webhooks.send(WebhookMessage(job=job.id, run=job.run, status=status), client_id=job.client_id)
    except Transient as error:
        logger.warning("The end of a job is not announced yet", job=job.id, run=job.run, reason=str(error))
