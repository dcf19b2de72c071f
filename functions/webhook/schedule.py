"""When a delivery is attempted again, and when it is over. Pure: the time and the chance are given."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from shared.models import DeliveryState

# Seconds from one attempt to the next: at once, then over a little more than a day.
DELAYS_SECONDS = (0, 5, 5 * 60, 30 * 60, 2 * 3_600, 5 * 3_600, 10 * 3_600, 10 * 3_600)
_JITTER = 0.2  # so that what failed together does not come back together
_RETRY_AFTER_CEILING = 2  # times the delay: a receiver can slow its deliveries, not park them
_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_SECONDS = re.compile(r"[0-9]{1,64}")


@dataclass(frozen=True)
class Step:
    """What follows an attempt; `delay_ms` until the next one, only while the delivery is pending."""

    state: DeliveryState
    delay_ms: int | None = None


@dataclass(frozen=True)
class Schedule:
    """The attempts of a delivery: one for each delay."""

    delays_seconds: tuple[float, ...] = DELAYS_SECONDS

    def after(
        self, attempts: int, *, status: int | None, retry_after: str | None = None, now: int, chance: float
    ) -> Step:
        """What follows the attempt that was number `attempts`, from 1 on, at `now` (ms since the epoch).

        2xx delivers; 410 disables; anything else fails the attempt, a redirect and no answer (`status` None) too, and
        the last attempt's failure is the delivery's. `retry_after` is the header's value (RFC 9110, section
        10.2.3); a 429 or 503 may stretch the delay with it to the double. `chance`, from 0 to below 1, places
        the next attempt within the jitter.
        """
        if status is not None and 200 <= status < 300:
            return Step("delivered")
        if status == HTTPStatus.GONE:
            return Step("disabled")
        if attempts >= len(self.delays_seconds):
            return Step("failed")
        delay_ms = self.delay_ms(attempts, chance=chance)
        if status in _BUSY and retry_after is not None:
            asked_ms = retry_after_ms(retry_after, now=now) or 0
            delay_ms = max(delay_ms, min(asked_ms, _RETRY_AFTER_CEILING * delay_ms))
        return Step("pending", delay_ms)

    def delay_ms(self, attempts: int, *, chance: float) -> int:
        """Milliseconds from attempt number `attempts` to the next; 0 attempts: to the first."""
        return round(self.delays_seconds[attempts] * 1_000 * (1 + _JITTER * (2 * chance - 1)))


def retry_after_ms(value: str, *, now: int) -> int | None:
    """How long `Retry-After` asks to wait from `now` (both ms); None when it says nothing that can be read.

    The value is a number of seconds or an HTTP-date, in any of the three forms (RFC 9110, section 5.6.7).
    """
    value = value.strip(" \t")
    if _SECONDS.fullmatch(value):
        return int(value) * 1_000
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max(round(_utc(moment).timestamp() * 1_000) - now, 0)


def _utc(moment: datetime) -> datetime:
    # An HTTP-date is in UTC; the form of asctime does not say so.
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
