"""The schedule of attempts, for answers that hypothesis generates."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

from hypothesis import example, given
from hypothesis import strategies as st

from functions.webhook.schedule import Schedule, parse_retry_after

SCHEDULE = Schedule()
DATES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 (bounds are naive)
HEADERS = (
    st.text()
    | st.integers().map(str)
    | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{1,5} [0-9]{2}:[0-9]{2}:[0-9]{2} [+-]?[0-9A-Z]{0,6}")
    | DATES.map(lambda date: format_datetime(date, usegmt=True))
)
TIMES = st.integers(0, 4_102_444_800_000)


@given(HEADERS, TIMES)
@example("Fri, 06 Nov 2026 08:49:37 +9999", 0)
@example("9" * 5_000, 0)
def test_every_retry_after_is_parsed_or_ignored(value: str, now: int) -> None:
    requested_ms = parse_retry_after(value, now=now)
    assert requested_ms is None or requested_ms >= 0


@given(
    st.integers(1, 7), st.none() | st.integers(100, 599), st.none() | HEADERS, TIMES, st.floats(0, 1, exclude_max=True)
)
def test_delay_of_the_next_attempt_stays_within_its_bounds(
    attempt: int, status: int | None, retry_after: str | None, now: int, chance: float
) -> None:
    decision = SCHEDULE.decide(attempt, status=status, retry_after=retry_after, now=now, chance=chance)
    delay = SCHEDULE.compute_delay_ms(attempt, chance=chance)
    nominal = SCHEDULE.delays_seconds[attempt] * 1_000
    assert 0.8 * nominal <= delay <= 1.2 * nominal
    assert decision.delay_ms is None or delay <= decision.delay_ms <= 2 * delay
    assert (decision.delay_ms is None) == (decision.state != "pending")
