"""The retry schedule against whatever a receiver answers."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

from hypothesis import example, given
from hypothesis import strategies as st

from functions.webhook.schedule import Schedule, retry_after_ms

SCHEDULE = Schedule()
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 (bounds are naive)
HEADERS = (
    st.text()
    | st.integers().map(str)
    | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{1,5} [0-9]{2}:[0-9]{2}:[0-9]{2} [+-]?[0-9A-Z]{0,6}")
    | MOMENTS.map(lambda moment: format_datetime(moment, usegmt=True))
)
TIMES = st.integers(0, 4_102_444_800_000)


@given(HEADERS, TIMES)
@example("Fri, 06 Nov 2026 08:49:37 +9999", 0)
@example("9" * 5_000, 0)
def test_no_retry_after_is_too_strange(value: str, now: int) -> None:
    asked = retry_after_ms(value, now=now)
    assert asked is None or asked >= 0


@given(
    st.integers(1, 7), st.none() | st.integers(100, 599), st.none() | HEADERS, TIMES, st.floats(0, 1, exclude_max=True)
)
def test_the_next_attempt_comes_within_the_bounds(
    attempts: int, status: int | None, retry_after: str | None, now: int, chance: float
) -> None:
    step = SCHEDULE.after(attempts, status=status, retry_after=retry_after, now=now, chance=chance)
    delay = SCHEDULE.delay_ms(attempts, chance=chance)
    nominal = SCHEDULE.delays_seconds[attempts] * 1_000
    assert 0.8 * nominal <= delay <= 1.2 * nominal
    assert step.delay_ms is None or delay <= step.delay_ms <= 2 * delay
    assert (step.delay_ms is None) == (step.state != "pending")
