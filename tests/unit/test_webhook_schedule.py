"""The schedule of a delivery's attempts: the decision after each attempt, and the delays between them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from functions.webhook.schedule import DELAYS_SECONDS, Decision, Schedule, parse_retry_after

SCHEDULE = Schedule()
TIME = datetime(2026, 11, 6, 8, 49, 37, tzinfo=UTC)
NOW = int(TIME.timestamp()) * 1_000
MINUTE, HOUR = 60_000, 3_600_000


def decide(attempt: int, status: int | None, *, retry_after: str | None = None, chance: float = 0.5) -> Decision:
    return SCHEDULE.decide(attempt, status=status, retry_after=retry_after, now=NOW, chance=chance)


def test_attempts_are_spread_over_a_day() -> None:
    delays = [SCHEDULE.compute_delay_ms(attempt, chance=0.5) for attempt in range(8)]
    assert delays == [0, 5_000, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR]


def test_delivery_fails_after_the_eighth_attempt() -> None:
    decisions = [decide(attempt, 500) for attempt in range(1, 9)]
    assert [decision.delay_ms for decision in decisions[:7]] == [seconds * 1_000 for seconds in DELAYS_SECONDS[1:]]
    assert {decision.state for decision in decisions[:7]} == {"pending"}
    assert decisions[7] == Decision("failed")


@pytest.mark.parametrize(
    ("chance", "expected"), [(0.0, 240_000), (0.5, 300_000), (0.75, 330_000), (0.999_999, 360_000)]
)
def test_jitter_changes_a_delay_by_up_to_a_fifth(chance: float, expected: int) -> None:
    assert decide(2, 500, chance=chance).delay_ms == pytest.approx(expected, abs=1)


def test_first_attempt_has_no_delay_and_no_jitter() -> None:
    assert {SCHEDULE.compute_delay_ms(0, chance=chance) for chance in (0.0, 0.5, 0.999)} == {0}


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
@pytest.mark.parametrize("attempt", [1, 8])
def test_status_2xx_means_delivered(status: int, attempt: int) -> None:
    assert decide(attempt, status) == Decision("delivered")


@pytest.mark.parametrize("attempt", [1, 8])
def test_status_410_disables_the_delivery(attempt: int) -> None:
    assert decide(attempt, 410) == Decision("disabled")


@pytest.mark.parametrize(
    "status", [None, 100, 199, 300, 301, 302, 303, 304, 307, 308, 400, 401, 404, 409, 411, 429, 500, 502, 503, 504, 599]
)
def test_every_other_status_fails_the_attempt(status: int | None) -> None:
    """A redirect, too: its location is not a URL that the client gave us."""
    assert decide(1, status) == Decision("pending", 5_000)
    assert decide(8, status) == Decision("failed")


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
        (format_datetime(TIME + timedelta(seconds=400), usegmt=True), 400_000),
        (format_datetime(TIME + timedelta(days=400), usegmt=True), 600_000),
        (format_datetime(TIME - timedelta(days=1), usegmt=True), 300_000),
        ("soon", 300_000),
        ("", 300_000),
        ("-1", 300_000),
    ],
)
def test_busy_receiver_may_extend_the_delay_up_to_twice(status: int, retry_after: str, expected: int) -> None:
    assert decide(2, status, retry_after=retry_after) == Decision("pending", expected)


@pytest.mark.parametrize("chance", [0.0, 0.9])
def test_extended_delay_keeps_its_jitter(chance: float) -> None:
    """So receivers that all request too much are not called at the same time."""
    delay = SCHEDULE.compute_delay_ms(2, chance=chance)
    assert decide(2, 429, retry_after="999999", chance=chance).delay_ms == 2 * delay
    assert decide(2, 429, retry_after="0", chance=chance).delay_ms == delay


@pytest.mark.parametrize("status", [None, 301, 400, 500, 502, 504])
def test_retry_after_is_ignored_unless_the_receiver_is_busy(status: int | None) -> None:
    assert decide(2, status, retry_after="450") == Decision("pending", 300_000)


def test_retry_after_does_not_change_the_number_of_attempts() -> None:
    assert decide(8, 429, retry_after="1") == Decision("failed")
    assert decide(1, 200, retry_after="1") == Decision("delivered")
    assert decide(1, 410, retry_after="1") == Decision("disabled")


@pytest.mark.parametrize(
    "value",
    ["Fri, 06 Nov 2026 08:51:37 GMT", "Friday, 06-Nov-26 08:51:37 GMT", "Fri Nov  6 08:51:37 2026", "120", " 120\t"],
)
def test_retry_after_is_parsed_in_each_of_its_forms(value: str) -> None:
    assert parse_retry_after(value, now=NOW) == 120_000


def test_date_without_a_zone_is_in_utc_in_every_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The form of asctime does not name its zone."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "ABC+5")
        time.tzset()
        requested_ms = parse_retry_after("Fri Nov  6 08:51:37 2026", now=NOW)
    time.tzset()
    assert requested_ms == 120_000


@pytest.mark.parametrize(
    "value", ["1.5", "+5", "-5", "0x10", "1e3", "1_000", "١٢", "\uff15", "5 s", "Fri, 99 Nov", "now", ""]
)
def test_malformed_retry_after_is_none(value: str) -> None:
    assert parse_retry_after(value, now=NOW) is None


def test_shorter_schedule_has_fewer_attempts() -> None:
    """The e2e tests use a short schedule."""
    schedule = Schedule(delays_seconds=(0, 0.1, 0.2))
    decisions = [schedule.decide(attempt, status=None, now=NOW, chance=0.5) for attempt in (1, 2, 3)]
    assert decisions == [Decision("pending", 100), Decision("pending", 200), Decision("failed")]
