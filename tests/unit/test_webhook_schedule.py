"""When a delivery is attempted again, and when it is over."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from functions.webhook.schedule import DELAYS_SECONDS, Schedule, Step, retry_after_ms

SCHEDULE = Schedule()
MOMENT = datetime(2026, 11, 6, 8, 49, 37, tzinfo=UTC)
NOW = int(MOMENT.timestamp()) * 1_000
MINUTE, HOUR = 60_000, 3_600_000


def after(attempts: int, status: int | None, *, retry_after: str | None = None, chance: float = 0.5) -> Step:
    return SCHEDULE.after(attempts, status=status, retry_after=retry_after, now=NOW, chance=chance)


def test_the_attempts_are_spread_over_a_day() -> None:
    delays = [SCHEDULE.delay_ms(attempts, chance=0.5) for attempts in range(8)]
    assert delays == [0, 5_000, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR]


def test_a_failed_attempt_is_followed_by_the_next_and_the_eighth_is_the_last() -> None:
    steps = [after(attempts, 500) for attempts in range(1, 9)]
    assert [step.delay_ms for step in steps[:7]] == [seconds * 1_000 for seconds in DELAYS_SECONDS[1:]]
    assert {step.state for step in steps[:7]} == {"pending"}
    assert steps[7] == Step("failed")


@pytest.mark.parametrize(
    ("chance", "expected"), [(0.0, 240_000), (0.5, 300_000), (0.75, 330_000), (0.999_999, 360_000)]
)
def test_a_delay_is_a_fifth_shorter_or_longer_by_chance(chance: float, expected: int) -> None:
    assert after(2, 500, chance=chance).delay_ms == pytest.approx(expected, abs=1)


def test_the_first_attempt_is_at_once_whatever_the_chance() -> None:
    assert {SCHEDULE.delay_ms(0, chance=chance) for chance in (0.0, 0.5, 0.999)} == {0}


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
@pytest.mark.parametrize("attempts", [1, 8])
def test_2xx_delivers(status: int, attempts: int) -> None:
    assert after(attempts, status) == Step("delivered")


@pytest.mark.parametrize("attempts", [1, 8])
def test_410_disables(attempts: int) -> None:
    assert after(attempts, 410) == Step("disabled")


@pytest.mark.parametrize(
    "status", [None, 100, 199, 300, 301, 302, 303, 304, 307, 308, 400, 401, 404, 409, 411, 429, 500, 502, 503, 504, 599]
)
def test_everything_else_fails_the_attempt(status: int | None) -> None:
    """Redirects too: following one would be calling a URL that nobody gave us."""
    assert after(1, status) == Step("pending", 5_000)
    assert after(8, status) == Step("failed")


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [
        ("0", 300_000),
        ("299", 300_000),
        ("301", 301_000),
        ("450", 450_000),
        ("600", 600_000),
        ("601", 600_000),
        ("999999", 600_000),
        ("9" * 64, 600_000),
        (format_datetime(MOMENT + timedelta(seconds=400), usegmt=True), 400_000),
        (format_datetime(MOMENT + timedelta(days=400), usegmt=True), 600_000),
        (format_datetime(MOMENT - timedelta(days=1), usegmt=True), 300_000),
        ("soon", 300_000),
        ("", 300_000),
        ("-1", 300_000),
    ],
)
def test_a_busy_receiver_may_ask_for_up_to_twice_the_delay(status: int, retry_after: str, expected: int) -> None:
    assert after(2, status, retry_after=retry_after) == Step("pending", expected)


@pytest.mark.parametrize("chance", [0.0, 0.9])
def test_twice_the_delay_is_twice_the_one_that_chance_made(chance: float) -> None:
    """So that receivers which all ask for too much are not called all at once."""
    delay = SCHEDULE.delay_ms(2, chance=chance)
    assert after(2, 429, retry_after="999999", chance=chance).delay_ms == 2 * delay
    assert after(2, 429, retry_after="0", chance=chance).delay_ms == delay


@pytest.mark.parametrize("status", [None, 301, 400, 500, 502, 504])
def test_nobody_else_may(status: int | None) -> None:
    assert after(2, status, retry_after="450") == Step("pending", 300_000)


def test_retry_after_gives_no_attempt_more_and_takes_none_away() -> None:
    assert after(8, 429, retry_after="1") == Step("failed")
    assert after(1, 200, retry_after="1") == Step("delivered")
    assert after(1, 410, retry_after="1") == Step("disabled")


@pytest.mark.parametrize(
    "value",
    ["Fri, 06 Nov 2026 08:51:37 GMT", "Friday, 06-Nov-26 08:51:37 GMT", "Fri Nov  6 08:51:37 2026", "120", " 120\t"],
)
def test_retry_after_is_read_in_each_of_its_forms(value: str) -> None:
    assert retry_after_ms(value, now=NOW) == 120_000


def test_a_date_is_in_utc_wherever_this_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The form of asctime does not name its zone."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "ABC+5")
        time.tzset()
        asked = retry_after_ms("Fri Nov  6 08:51:37 2026", now=NOW)
    time.tzset()
    assert asked == 120_000


@pytest.mark.parametrize(
    "value", ["1.5", "+5", "-5", "0x10", "1e3", "1_000", "١٢", "\uff15", "5 s", "Fri, 99 Nov", "now", ""]
)
def test_anything_else_says_nothing(value: str) -> None:
    assert retry_after_ms(value, now=NOW) is None


def test_a_shorter_schedule_has_fewer_attempts() -> None:
    """As the tests of the local cloud use it."""
    schedule = Schedule(delays_seconds=(0, 0.1, 0.2))
    steps = [schedule.after(attempts, status=None, now=NOW, chance=0.5) for attempts in (1, 2, 3)]
    assert steps == [Step("pending", 100), Step("pending", 200), Step("failed")]
