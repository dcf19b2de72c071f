"""The schedule of a delivery's attempts. It does no I/O: the caller passes the time and the random number."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from shared.webhooks.delivery import DeliveryState

# Seconds before each attempt. The first attempt is made at once, the last one about 28 hours later.
DELAYS_SECONDS = (0, 5, 5 * 60, 30 * 60, 2 * 3_600, 5 * 3_600, 10 * 3_600, 10 * 3_600)
_JITTER = 0.2  # deliveries that failed together must not be attempted together again
_RETRY_AFTER_CEILING = 2  # times the delay: a receiver may slow its deliveries down, but not stop them
_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_SECONDS = re.compile(r"[0-9]{1,64}")


@dataclass(frozen=True)
class Decision:
    """The state of a delivery after an attempt. While it is pending, `delay_ms` is the time until the next attempt."""

    state: DeliveryState
    delay_ms: int | None = None


@dataclass(frozen=True)
class Schedule:
    """The schedule of attempts: one attempt for each delay."""

    delays_seconds: tuple[float, ...] = DELAYS_SECONDS

    @property
    def attempts_limit(self) -> int:
        """Return the number of attempts after which a delivery has failed."""
        return len(self.delays_seconds)

    def decide(
        self, attempt: int, *, status: int | None, retry_after: str | None = None, now: int, chance: float
    ) -> Decision:
        """Return the decision after an attempt.

        A status 2xx means delivered, and 410 disables the delivery. Anything else fails the attempt, also a redirect.
        A receiver that answers 429 or 503 may extend the delay with `retry_after`, up to twice the delay.

        Args:
            attempt: The number of the attempt, from 1.
            status: The HTTP status of the answer, or None if there was no answer.
            retry_after: The value of the header `Retry-After` (RFC 9110, section 10.2.3).
            now: The current time (ms).
            chance: A random number from 0 to below 1, for the jitter.
        """
        if status is not None and 200 <= status < 300:
            return Decision("delivered")
        if status == HTTPStatus.GONE:
            return Decision("disabled")
        if attempt >= self.attempts_limit:
            return Decision("failed")
        delay_ms = self.compute_delay_ms(attempt, chance=chance)
        if status in _BUSY and retry_after is not None:
            delay_ms = _extend(delay_ms, parse_retry_after(retry_after, now=now) or 0)
        return Decision("pending", delay_ms)

    def compute_delay_ms(self, attempt: int, *, chance: float) -> int:
        """Return the milliseconds between attempt number `attempt` and the next one. Number 0 is the creation."""
        return round(self.delays_seconds[attempt] * 1_000 * (1 + _JITTER * (2 * chance - 1)))


def _extend(delay_ms: int, requested_ms: int) -> int:
    return max(delay_ms, min(requested_ms, _RETRY_AFTER_CEILING * delay_ms))


def parse_retry_after(value: str, *, now: int) -> int | None:
    """Return the milliseconds to wait from `now` (ms) according to a `Retry-After`, or None if it is malformed.

    The value is a number of seconds or an HTTP-date in one of its three forms (RFC 9110, section 5.6.7).
    """
    value = value.strip(" \t")
    if _SECONDS.fullmatch(value):
        return int(value) * 1_000
    try:
        time = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max(round(_to_utc(time).timestamp() * 1_000) - now, 0)


def _to_utc(time: datetime) -> datetime:
    # Every HTTP-date is in UTC, but the form of asctime does not name its zone.
    return time if time.tzinfo else time.replace(tzinfo=UTC)
