"""Traffic files that the planner accepts, and windows over changes of the clocks."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from planner.traffic import read_traffic
from planner.windows import Window


def test_a_trace_may_mix_epoch_seconds_and_rfc_3339(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(
        "timestamp,event\n2026-11-02T09:00:00Z,token\n2026-11-02T10:00:02+01:00,submit\n1793610005,submit\n"
    )
    traffic = read_traffic(trace)
    assert (traffic.tokens.tolist(), traffic.submits.tolist()) == ([0], [2, 5])
    assert traffic.began == datetime(2026, 11, 2, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbftimestamp,event\r\n1,submit\r\n4,submit\r\n",  # as spreadsheets write it
        b"timestamp , event\n 1 , submit \n  \n\n4,submit",
    ],
)
def test_a_trace_may_come_from_a_spreadsheet_and_have_no_tokens(content: bytes, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_bytes(content)
    traffic = read_traffic(trace)
    assert (traffic.submits.tolist(), traffic.tokens.tolist()) == ([0, 3], [])


def test_a_client_fetches_a_new_token_when_the_last_one_has_expired(tmp_path: Path) -> None:
    """The third job comes 3,600 s after the first token, so it needs another one."""
    trace = tmp_path / "trace.csv"
    trace.write_text("app,func,end_timestamp,duration\na,f,100,0\na,f,3697.9,0\na,f,3698,0\n")
    assert read_traffic(trace, token_lead_seconds=2).tokens.tolist() == [0, 3598]


def test_an_azure_trace_gives_starts_run_times_and_tokens_per_app(tmp_path: Path) -> None:
    """The second job of app `a` uses the first token of `a`. App `b` fetches a token of its own."""
    trace = tmp_path / "trace.csv"
    trace.write_text("app,func,end_timestamp,duration\na,f,100,1\na,f,130,30\nb,f,131,1\na,f,5000,0.5\n")
    traffic = read_traffic(trace, token_lead_seconds=2)
    assert traffic.submits.tolist() == [2, 3, 33, 4902.5]
    assert traffic.runs is not None
    assert traffic.runs.tolist() == [1, 30, 1, 0.5]
    assert traffic.tokens.tolist() == [0, 31, 4900.5]


def test_a_window_follows_the_clocks_of_its_time_zone() -> None:
    """British summer time ended on 25 October 2026."""
    began = datetime(2026, 10, 23, tzinfo=UTC)
    spans = Window(days=("FRI", "MON"), timezone="Europe/London").find_spans(began, 4 * 86_400)
    assert [(start / 3600, end / 3600) for start, end in spans] == [(8, 16), (72 + 9, 72 + 17)]


@pytest.mark.parametrize(("sunday", "hours"), [("2026-10-25", 3), ("2026-03-29", 1), ("2026-11-01", 2)])
def test_a_window_over_a_change_of_the_clocks_is_an_hour_longer_or_shorter(sunday: str, hours: int) -> None:
    began = datetime.fromisoformat(f"{sunday}T00:00Z")
    window = Window(days=("SUN",), start=time(0, 30), end=time(2, 30), timezone="Europe/London")
    spans = window.find_spans(began - timedelta(days=1), 2 * 86_400)
    assert [(end - start) / 3600 for start, end in spans] == [hours]
