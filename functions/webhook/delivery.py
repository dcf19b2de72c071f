"""Announce the end of a run: claim an attempt, sign, send, write down what came of it, decide what is next.

A message says "look at this announcement". The delivery's item is the truth: it is due until it is delivered, given up
or disabled, so a message may be acknowledged whatever happens here.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from functions.webhook.schedule import Schedule
from functions.webhook.signing import signed_headers
from functions.webhook.transport import Outcome
from shared.clients import Client
from shared.clock import now_ms
from shared.errors import Transient
from shared.log import logger
from shared.models import Delivery, DeliveryAttempt, DeliveryState, Job, WebhookMessage
from shared.views import announcement

TICK_MS = 60_000  # of the janitor: what is wanted sooner is a delayed message, and due later in case that is lost


class Deliveries(Protocol):
    """Where deliveries are kept; see `shared.deliveries.DeliveryStore`."""

    def get(self, job_id: str, part: str) -> Delivery | None: ...  # noqa: D102
    def job(self, job_id: str) -> Job | None: ...  # noqa: D102
    def announce(self, job: Job, body: bytes, *, now: int, owner: str) -> Delivery: ...  # noqa: D102
    def claim(self, delivery: Delivery, *, owner: str, now: int) -> Delivery | None: ...  # noqa: D102
    def record(  # noqa: D102
        self,
        claimed: Delivery,
        attempt: DeliveryAttempt | None,
        *,
        state: DeliveryState,
        next_at: int | None = None,
        due_at: int | None = None,
    ) -> bool: ...


class Clients(Protocol):
    """Where clients and their sealed secrets are."""

    def get(self, client_id: str) -> Client | None: ...  # noqa: D102


class Vault(Protocol):
    """What opens sealed secrets."""

    def open(self, client_id: str, sealed: str) -> str: ...  # noqa: D102


class Transport(Protocol):
    """What calls URLs."""

    def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Outcome: ...  # noqa: D102


class Lane(Protocol):
    """The queue `webhooks`."""

    def send(self, message: WebhookMessage, *, client_id: str, delay_seconds: int = 0) -> None: ...  # noqa: D102


@dataclass
class Deliverer:
    """Handles messages of the queue `webhooks`. `chance` gives numbers from 0 to below 1."""

    deliveries: Deliveries
    clients: Clients
    vault: Vault
    transport: Transport
    webhooks: Lane
    base_url: str
    schedule: Schedule
    now: Callable[[], int] = now_ms
    chance: Callable[[], float] = random.random
    _opened: dict[tuple[str, str], str] = field(default_factory=dict, repr=False)  # by client, and sealed

    def handle(self, message: WebhookMessage) -> str:
        """Make the attempt that `message` asks for, unless a copy of it did; what came of it, in a word.

        Raises:
            Transient: when a service is busy or away; the delivery, or its job, stays due.
        """
        found = self._claimed(message, owner=secrets.token_hex(8))
        if found is None:
            return "nothing to do"
        claimed, signing_secrets = found
        if claimed.made - claimed.since > len(self.schedule.delays_seconds):
            self.deliveries.record(claimed, None, state="failed")  # the last attempt was made, and died
            return "failed"
        return self._attempt(claimed, signing_secrets)

    def _claimed(self, message: WebhookMessage, *, owner: str) -> tuple[Delivery, list[str]] | None:
        """The delivery, its next attempt claimed, and what signs it; None when there is nothing to do.

        What signs it is asked for first: what fails there costs no attempt.
        """
        job = self._unannounced(message)
        if job is None:
            delivery = self.deliveries.get(message.job, message.part)
        else:
            signing_secrets = self._signing_secrets(job.client_id)
            body = announcement(job, base_url=self.base_url)
            delivery = self.deliveries.announce(job, body, now=self.now(), owner=owner)
            if delivery.owner == owner:
                return delivery, signing_secrets
        if delivery is None or delivery.state != "pending" or delivery.made != message.attempt:
            return None
        signing_secrets = self._signing_secrets(delivery.client)
        claimed = self.deliveries.claim(delivery, owner=owner, now=self.now())
        return (claimed, signing_secrets) if claimed else None

    def _unannounced(self, message: WebhookMessage) -> Job | None:
        """The job, when it is the first to hear of this end of its run."""
        job = self.deliveries.job(message.job) if message.attempt == 0 else None
        if job is None or (job.run, job.status) != (message.run, message.status) or not job.is_unannounced:
            return None
        return job

    def _signing_secrets(self, client_id: str) -> list[str]:
        client = self.clients.get(client_id)
        if client is None or client.status != "active":
            return []
        return [self._open(client_id, sealed) for sealed in client.sealed_webhook_secrets(now=self.now())]

    def _open(self, client_id: str, sealed: str) -> str:
        key = (client_id, sealed)
        if key not in self._opened:
            self._opened[key] = self.vault.open(client_id, sealed)
        return self._opened[key]

    def _attempt(self, claimed: Delivery, signing_secrets: Sequence[str]) -> str:
        began = self.now()
        outcome = self._send(claimed, signing_secrets, began)
        attempt = DeliveryAttempt(
            at=began,
            status=outcome.status,
            error=outcome.error if signing_secrets else "not_signed",
            latency_ms=outcome.latency_ms,
            excerpt=outcome.excerpt,
        )
        now = self.now()
        step = self.schedule.after(
            claimed.made - claimed.since,
            status=outcome.status,
            retry_after=outcome.retry_after,
            now=now,
            chance=self.chance(),
        )
        logger.info(
            "Delivery attempted",
            delivery=claimed.name,
            attempt=claimed.made,
            status=outcome.status,
            error=attempt.error,
            state=step.state,
        )
        if step.delay_ms is None:
            recorded = self.deliveries.record(claimed, attempt, state=step.state)
            return step.state if recorded else "overtaken"
        return self._wait(claimed, attempt, now=now, delay_ms=step.delay_ms)

    def _send(self, claimed: Delivery, signing_secrets: Sequence[str], now: int) -> Outcome:
        if not signing_secrets:  # of a client that is revoked, or never got one: nothing goes out unsigned
            return Outcome(0)
        headers = signed_headers(signing_secrets, webhook_id=claimed.name, timestamp=now // 1_000, body=claimed.body)
        return self.transport.post(claimed.url, headers=headers, body=claimed.body)

    def _wait(self, claimed: Delivery, attempt: DeliveryAttempt, *, now: int, delay_ms: int) -> str:
        """Leave the next attempt to the janitor, or to a delayed message when it is wanted before the next tick."""
        next_at = now + delay_ms
        is_soon = delay_ms < TICK_MS
        due_at = next_at + TICK_MS if is_soon else next_at
        if not self.deliveries.record(claimed, attempt, state="pending", next_at=next_at, due_at=due_at):
            return "overtaken"
        if is_soon:
            try:
                self.webhooks.send(claimed.message, client_id=claimed.client, delay_seconds=-(-delay_ms // 1_000))
            except Transient as error:
                logger.warning("The next attempt waits for the janitor", delivery=claimed.name, reason=str(error))
        return "pending"
