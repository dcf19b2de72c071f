"""Webhooks, for the API: the URL of a request, the state of a delivery, and redelivery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from functions.submit.requests import AnalyzeRequest
from shared.auth.clients import Client
from shared.aws.queue import Queue
from shared.errors import Conflict, InvalidRequest, Transient, UrlRefused
from shared.jobs.job import Job, Status, WebhookEndpoint
from shared.log import logger
from shared.webhooks.delivery import Delivery
from shared.webhooks.event import delivery_part, notify
from shared.webhooks.payload import render_delivery, render_event, render_webhook
from shared.webhooks.store import DeliveryStore
from shared.webhooks.urls import parse_webhook_url


@dataclass(frozen=True)
class Webhooks:
    """The webhooks of all jobs. `get_client` returns a registered client."""

    get_client: Callable[[str], Client]
    deliveries: DeliveryStore
    queue: Queue
    base_url: str
    allow_loopback: bool
    now: Callable[[], int]

    def choose_endpoint(self, client_id: str, request: AnalyzeRequest) -> WebhookEndpoint | None:
        """Return the webhook of the request, or else the client's default, or None if there is neither.

        Raises:
            InvalidRequest: If a webhook may not call the URL. Its name is not resolved.
            Transient: If the client cannot be read.
        """
        if request.webhook is None:
            url = self.get_client(client_id).webhook_url
            return WebhookEndpoint(url=url) if url else None
        try:
            parse_webhook_url(request.webhook.url, allow_loopback=self.allow_loopback)
        except UrlRefused as error:
            detail = str(error)
            raise InvalidRequest(detail, errors=[{"pointer": "#/webhook/url", "detail": detail}]) from None
        return WebhookEndpoint(url=request.webhook.url, events=frozenset(request.webhook.events))

    def render(self, job: Job) -> dict[str, Any] | None:
        """Return the webhook of a job and the state of its delivery, or None if it has no webhook.

        Raises:
            Transient: If DynamoDB is throttled or unreachable.
        """
        has_event = job.is_terminal and job.has_webhook_for(job.status)
        part = delivery_part(job.run, job.status)
        return render_webhook(job, self.deliveries.get(job.id, part) if has_event else None)

    def notify(self, job: Job, status: Status) -> None:
        """Send the message that the run of `job` has ended as `status`. If that fails, the janitor sends it."""
        notify(self.queue, job, status)

    def ensure_delivery(self, job: Job) -> None:
        """Create the delivery of an ended run if there is none: the next run overwrites the facts that it reports.

        Raises:
            Transient: If the outcome is unknown.
        """
        if job.awaits_delivery:
            event = render_event(job, base_url=self.base_url)
            self._send(self.deliveries.create(job, event, now=self.now()))

    def list_deliveries(self, job: Job) -> dict[str, Any]:
        """Return the deliveries of all runs of a job, the oldest first.

        Raises:
            Transient: If DynamoDB is throttled or unreachable.
        """
        return {"deliveries": [render_delivery(delivery) for delivery in self.deliveries.list_for_job(job.id)]}

    def redeliver(self, job: Job) -> dict[str, Any]:
        """Begin the last delivery of a job again, with the same webhook-id, and return it.

        Raises:
            Conflict: If there is no delivery, or an attempt is in progress.
            Transient: If the outcome is unknown.
        """
        deliveries = self.deliveries.list_for_job(job.id)
        if not deliveries:
            raise Conflict("The job has no delivery yet" if job.webhook else "The job has no webhook")
        redelivered = self.deliveries.redeliver(deliveries[-1], now=self.now())
        if redelivered is None:
            raise Conflict("An attempt to deliver is in progress. Try again when it has ended.")
        self._send(redelivered)
        return render_delivery(redelivered)

    def _send(self, delivery: Delivery) -> None:
        try:
            self.queue.send(delivery.message, client_id=delivery.client)
        except Transient as error:
            logger.warning("Cannot send a delivery; the janitor will", delivery=delivery.webhook_id, reason=str(error))
