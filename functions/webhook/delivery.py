"""Deliveries: claim an attempt, sign and send the event, record the result, and schedule the next attempt.

A message is a hint to look at a delivery. The delivery's item is the truth: it stays scheduled for a check until it is
delivered, failed or disabled. So a message may be acknowledged even if handling it fails.
"""

from __future__ import annotations

import math
import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from functions.webhook.schedule import Decision, Schedule
from functions.webhook.signing import sign_delivery
from functions.webhook.transport import AttemptResult, Transport
from shared.auth.clients import ClientStore
from shared.aws.queue import Queue
from shared.clock import now_ms
from shared.errors import Transient
from shared.jobs.job import Job
from shared.log import logger
from shared.webhooks.delivery import Delivery, DeliveryAttempt, DeliveryState
from shared.webhooks.event import WebhookMessage
from shared.webhooks.payload import render_event
from shared.webhooks.secrets import SecretCipher
from shared.webhooks.store import DeliveryStore

JANITOR_INTERVAL_MS = 60_000  # an attempt that is wanted sooner gets a delayed message, too

# The delivery's state after the attempt. Or: no attempt was made, or another process took the claim over.
MessageOutcome = DeliveryState | Literal["nothing_to_do", "claim_lost"]


@dataclass
class Deliverer:
    """Makes the attempts that messages of the queue `webhooks` ask for.

    `now` returns the current time (ms). `chance` returns a random number from 0 to below 1, for the jitter.
    """

    deliveries: DeliveryStore
    clients: ClientStore
    cipher: SecretCipher
    transport: Transport
    webhooks: Queue
    base_url: str
    schedule: Schedule
    now: Callable[[], int] = now_ms
    chance: Callable[[], float] = random.random
    _decrypted: dict[tuple[str, str], str] = field(default_factory=dict, repr=False)  # by client id and ciphertext

    def handle(self, message: WebhookMessage) -> MessageOutcome:
        """Make the attempt that `message` asks for, unless a copy of the message did. Return the outcome.

        Raises:
            Transient: If a service is throttled or unreachable. The delivery, or its job, stays scheduled for a check.
        """
        claim = self._claim(message, claim_token=secrets.token_hex(8))
        if claim is None:
            return "nothing_to_do"
        claimed, signing_secrets = claim
        if _count_attempts(claimed) > self.schedule.attempts_limit:
            # The process that made the last attempt died before it could record the result.
            self.deliveries.record_attempt(claimed, None, state="failed")
            return "failed"
        return self._attempt(claimed, signing_secrets)

    # Claiming

    def _claim(self, message: WebhookMessage, *, claim_token: str) -> tuple[Delivery, list[str]] | None:
        """Claim the attempt. Return the delivery and its signing secrets, or None if there is nothing to do.

        Decrypt the secrets before the claim: a failure of KMS must not cost an attempt.
        """
        job = self._get_job_without_delivery(message)
        if job is None:
            delivery = self.deliveries.get(message.job, message.part)
            return self._claim_next(delivery, message, claim_token)
        signing_secrets = self._get_signing_secrets(job.client_id)
        body = render_event(job, base_url=self.base_url)
        delivery = self.deliveries.create(job, body, now=self.now(), claim_token=claim_token)
        if delivery.claim_token == claim_token:
            return delivery, signing_secrets
        return self._claim_next(delivery, message, claim_token)  # a copy of the message created the delivery first

    def _get_job_without_delivery(self, message: WebhookMessage) -> Job | None:
        """Return the job if `message` is the first about this end of its run, else None."""
        job = self.deliveries.get_job(message.job) if message.attempt == 0 else None
        if job is None or (job.run, job.status) != (message.run, message.status) or not job.awaits_delivery:
            return None
        return job

    def _claim_next(
        self, delivery: Delivery | None, message: WebhookMessage, claim_token: str
    ) -> tuple[Delivery, list[str]] | None:
        """Claim the attempt of an existing delivery, if it is the one that `message` asks for."""
        if delivery is None or delivery.state != "pending" or delivery.attempt_count != message.attempt:
            return None
        signing_secrets = self._get_signing_secrets(delivery.client)
        claimed = self.deliveries.claim(delivery, claim_token=claim_token, now=self.now())
        return (claimed, signing_secrets) if claimed else None

    def _get_signing_secrets(self, client_id: str) -> list[str]:
        client = self.clients.get(client_id)
        if client is None or client.status != "active":
            return []
        return [self._decrypt(client_id, ciphertext) for ciphertext in client.webhook_ciphertexts(now=self.now())]

    def _decrypt(self, client_id: str, ciphertext: str) -> str:
        key = (client_id, ciphertext)
        if key not in self._decrypted:
            self._decrypted[key] = self.cipher.decrypt(client_id, ciphertext)
        return self._decrypted[key]

    # Attempting

    def _attempt(self, claimed: Delivery, signing_secrets: Sequence[str]) -> MessageOutcome:
        start = self.now()
        result = self._send(claimed, signing_secrets, timestamp=start // 1_000)
        attempt = DeliveryAttempt(
            at=start,
            status=result.status,
            error=result.error if signing_secrets else "not_signed",
            latency_ms=result.latency_ms,
            excerpt=result.excerpt,
        )
        end = self.now()
        decision = self._decide(claimed, result, end)
        _log_attempt(claimed, attempt, decision)
        if decision.delay_ms is None:
            is_recorded = self.deliveries.record_attempt(claimed, attempt, state=decision.state)
            return decision.state if is_recorded else "claim_lost"
        return self._schedule_next(claimed, attempt, now=end, delay_ms=decision.delay_ms)

    def _send(self, claimed: Delivery, signing_secrets: Sequence[str], *, timestamp: int) -> AttemptResult:
        if not signing_secrets:  # the client is revoked or has no secret, and nothing may be sent unsigned
            return AttemptResult(latency_ms=0)
        headers = sign_delivery(signing_secrets, webhook_id=claimed.webhook_id, timestamp=timestamp, body=claimed.body)
        return self.transport.post(claimed.url, headers=headers, body=claimed.body)

    def _decide(self, claimed: Delivery, result: AttemptResult, now: int) -> Decision:
        attempt = _count_attempts(claimed)
        return self.schedule.decide(
            attempt, status=result.status, retry_after=result.retry_after, now=now, chance=self.chance()
        )

    def _schedule_next(self, claimed: Delivery, attempt: DeliveryAttempt, *, now: int, delay_ms: int) -> MessageOutcome:
        """Schedule the next attempt: a check by the janitor or, for a short delay, a delayed message.

        After a delayed message, the check comes one interval later, in case the message is lost.
        """
        next_attempt_at = now + delay_ms
        is_soon = delay_ms < JANITOR_INTERVAL_MS
        next_check_at = next_attempt_at + JANITOR_INTERVAL_MS if is_soon else next_attempt_at
        is_recorded = self.deliveries.record_attempt(
            claimed, attempt, state="pending", next_attempt_at=next_attempt_at, next_check_at=next_check_at
        )
        if not is_recorded:
            return "claim_lost"
        if is_soon:
            self._send_delayed_message(claimed, delay_seconds=math.ceil(delay_ms / 1_000))
        return "pending"

    def _send_delayed_message(self, claimed: Delivery, *, delay_seconds: int) -> None:
        try:
            self.webhooks.send(claimed.message, client_id=claimed.client, delay_seconds=delay_seconds)
        except Transient as error:
            logger.warning(
                "Cannot send the message for the next attempt; the janitor will",
                delivery=claimed.webhook_id,
                reason=str(error),
            )


def _count_attempts(delivery: Delivery) -> int:
    """Return the number of attempts since the schedule was last begun, including a claimed one."""
    return delivery.attempt_count - delivery.schedule_start


def _log_attempt(claimed: Delivery, attempt: DeliveryAttempt, decision: Decision) -> None:
    logger.info(
        "Delivery attempted",
        delivery=claimed.webhook_id,
        attempt=claimed.attempt_count,
        status=attempt.status,
        error=attempt.error,
        state=decision.state,
    )
