"""What clients do with webhooks: say where ends of jobs are announced to, see what became of that, have it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from shared import announcements
from shared.addresses import webhook_target
from shared.clients import Client
from shared.errors import Conflict, InvalidRequest, Transient, UrlRefused
from shared.log import logger
from shared.models import AnalyzeRequest, Delivery, Job, Status, Webhook, WebhookMessage, announced_part
from shared.views import announcement, delivery_view, webhook_view


class Deliveries(Protocol):
    """Where announcements and what became of them are kept; see `shared.deliveries.DeliveryStore`."""

    def of_job(self, job_id: str) -> list[Delivery]:
        """All of a job, the oldest first."""

    def get(self, job_id: str, part: str) -> Delivery | None:
        """One of them."""

    def announce(self, job: Job, body: bytes, *, now: int) -> Delivery:
        """Make the announcement of the run that has ended."""

    def redeliver(self, delivery: Delivery, *, now: int) -> Delivery | None:
        """Attempt it again, at once; None while an attempt is being made."""


class WebhookLane(Protocol):
    """Where messages about deliveries go."""

    def send(self, message: WebhookMessage, *, client_id: str) -> None:
        """Queue a message."""


@dataclass(frozen=True)
class Webhooks:
    """The webhooks of jobs; `client` gives a registered client."""

    client: Callable[[str], Client]
    deliveries: Deliveries
    lane: WebhookLane
    base_url: str
    allow_loopback: bool
    now: Callable[[], int]

    def of_request(self, client_id: str, request: AnalyzeRequest) -> Webhook | None:
        """Where to announce the job's end: what the request says, else what is the client's default.

        Raises:
            InvalidRequest: when the URL is not one that may be called, as far as that can be seen without DNS.
            Transient: when the client cannot be looked up.
        """
        if request.webhook is None:
            url = self.client(client_id).webhook_url
            return Webhook(url=url) if url else None
        try:
            webhook_target(request.webhook.url, allow_loopback=self.allow_loopback)
        except UrlRefused as error:
            detail = str(error)
            raise InvalidRequest(detail, errors=[{"pointer": "#/webhook/url", "detail": detail}]) from None
        return Webhook(url=request.webhook.url, events=frozenset(request.webhook.events))

    def view(self, job: Job) -> dict[str, Any] | None:
        """The job's webhook, and how far the announcement of its end is.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        is_announced = job.is_terminal and job.announces(job.status)
        part = announced_part(job.run, job.status)
        return webhook_view(job, self.deliveries.get(job.id, part) if is_announced else None)

    def announce(self, job: Job, status: Status) -> None:
        """Say that the run of `job` has ended as `status`; the janitor does it when that fails."""
        announcements.announce(self.lane, job, status)

    def settle(self, job: Job) -> None:
        """Make the announcement of an ended run now, when there is none yet: the next run overwrites what it tells.

        Raises:
            Transient: when it is not known to be made.
        """
        if job.is_unannounced:
            self._send(self.deliveries.announce(job, announcement(job, base_url=self.base_url), now=self.now()))

    def list(self, job: Job) -> dict[str, Any]:
        """What was announced of the job's runs, the oldest first, and what became of it.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        return {"deliveries": [delivery_view(delivery) for delivery in self.deliveries.of_job(job.id)]}

    def redeliver(self, job: Job) -> dict[str, Any]:
        """Deliver the job's last announcement again, under its own id and from the schedule's beginning.

        Raises:
            Conflict: when there is none, or an attempt is being made.
            Transient: when it is not known to be begun.
        """
        found = self.deliveries.of_job(job.id)
        if not found:
            raise Conflict("Nothing was announced yet" if job.webhook else "The job has no webhook")
        again = self.deliveries.redeliver(found[-1], now=self.now())
        if again is None:
            raise Conflict("An attempt is being made at this moment")
        self._send(again)
        return delivery_view(again)

    def _send(self, delivery: Delivery) -> None:
        try:
            self.lane.send(delivery.message, client_id=delivery.client)
        except Transient as error:
            logger.warning("A delivery waits for the janitor", delivery=delivery.name, reason=str(error))
