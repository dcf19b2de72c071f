"""The planner: small cases whose outcome can be told by hand, and the article's figures."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import planner
from planner.costs import Prices, costs
from planner.measurements import Measurements
from planner.outcome import Limits, Outcome
from planner.plans import Line
from planner.report import best
from planner.simulate import simulate
from planner.strategies import Fleet, OnToken, Provisioned, Schedule, Strategy
from planner.traffic import Traffic, read
from planner.windows import Window

ROOT = Path(__file__).parents[2]
ARTICLE = Path(planner.__file__).parent / "article.json"
OFFICE = ["office", "--timezone", "Europe/London", "--month", "2027-02"]
MEASURED = Measurements(
    init_seconds=(2,), load_seconds=(3,), run_seconds=(1,), ping_seconds=0, idle_lifetime_seconds=(300, 300)
)


def traffic(submits: list[float], tokens: list[float] = (), *, seconds: float = 3600) -> Traffic:
    monday = datetime(2026, 11, 2, 9, tzinfo=UTC)
    return Traffic(np.array(submits, dtype=float), np.array(tokens, dtype=float), monday, seconds)


def run(submits: list[float], tokens: list[float] = (), *, limits: Limits | None = None, **switches: object) -> Outcome:
    return simulate(traffic(submits, tokens), Strategy(name="x", **switches), measured=MEASURED, limits=limits)


def test_the_first_job_is_cold_and_the_next_is_warm_until_the_environment_has_died():
    outcome = run([0, 10, 310, 700])
    assert outcome.cold.tolist() == [True, False, False, True]
    assert outcome.finishes.tolist() == [6, 11, 311, 706]
    assert outcome.usage.downloads == 2


def test_the_environment_that_was_idle_for_the_shortest_time_is_taken():
    outcome = run([0, 1, 20, 30])
    assert outcome.environments.tolist() == [0, 1, 1, 1]


def test_a_warm_environment_that_is_busy_does_not_help():
    assert run([0, 10, 10.5]).cold.tolist() == [True, False, True]


def test_what_waits_is_taken_ten_at_a_time_and_the_mapping_steps_up():
    """Five at a time; the sixth waits for a second, after which ten may run."""
    outcome = run([0.0] * 12, limits=Limits(mapping=50))
    assert outcome.begins.tolist() == [5] * 5 + [6, 7, 8, 9, 10, 11, 12]
    assert len(set(outcome.environments.tolist())) == 6


def test_a_token_with_a_lead_as_long_as_the_start_makes_the_first_job_warm():
    outcome = run([6], [0], on_token=OnToken())
    assert outcome.finishes.tolist() == [7]
    assert not outcome.cold.any()
    assert outcome.usage.cold_starts == 1


def test_a_job_right_after_the_token_meets_the_warming_environment():
    """It is ready after five seconds, and does it at once."""
    closed = run([1], [0], on_token=OnToken())
    assert closed.usage.delayed == 1
    assert closed.usage.cold_starts == 1
    assert closed.finishes.tolist() == [6]
    left_open = run([1], [0], on_token=OnToken(closes_race=False))
    assert left_open.usage.cold_starts == 2
    assert left_open.finishes.tolist() == [7]


def test_tokens_within_the_cooldown_begin_no_round():
    assert run([500], [0, 119, 120, 130], on_token=OnToken()).usage.rounds == 2


def test_the_pings_of_a_round_reach_environments_of_their_own():
    outcome = run([3500], schedule=Schedule(environments=3, every_seconds=3600))
    assert outcome.usage.pings == outcome.usage.cold_starts - 1 == 3  # and the job, an hour later


def test_a_ping_that_meets_a_busy_environment_begins_another():
    outcome = run([0], [2], on_token=OnToken())
    assert outcome.usage.cold_starts == 2


def test_pings_beyond_the_accounts_limit_are_dropped():
    outcome = run([0, 0], [1], on_token=OnToken(environments=2), limits=Limits(account=2, mapping=2))
    assert outcome.usage.pings_dropped == 2


def test_provisioned_environments_are_ready_in_their_window_and_gone_after_it():
    window = Window(start="09:10", end="09:20")
    outcome = run([0, 660, 3000], provisioned=Provisioned(environments=2, windows=(window,)))
    assert outcome.cold.tolist() == [True, False, True]
    assert outcome.usage.provisioned_open_seconds == 1200


def test_a_fleet_has_no_cold_starts_but_a_queue():
    outcome = run([0, 0, 0], fleet=Fleet(max=1))
    assert not outcome.cold.any()
    assert outcome.finishes.tolist() == [1, 1, 2]
    assert outcome.usage.instance_seconds == 3600


def test_a_fleet_grows_on_its_backlog_and_shrinks_again():
    outcome = run([0.0] * 2000, fleet=Fleet(max=2, backlog_per_instance=5))
    assert len(set(outcome.environments.tolist())) == 4
    assert 3600 < outcome.usage.instance_seconds < 7200


def test_snapstart_restores_instead_of_loading():
    outcome = run([0], snapstart=True)
    assert (outcome.usage.restores, outcome.usage.downloads) == (1, 0)


def test_provisioned_concurrency_is_paid_for_as_the_price_list_says():
    """Two environments of 1,769 MB for an hour, idle."""
    outcome = run([3599], provisioned=Provisioned(environments=2))
    strategy = Strategy(name="x", provisioned=Provisioned(environments=2))
    parts = costs(outcome.usage, strategy, measured=MEASURED, prices=Prices.read())
    gb = 1769 / 1024
    assert parts["provisioned"] == pytest.approx(gb * (2 * 3600 * 0.0000041667 + 1 * 0.0000097222))


def test_a_fleet_is_paid_for_by_the_hour_and_by_its_polls():
    """One instance of two slots for an hour, each asking every second."""
    outcome = run([0], fleet=Fleet())
    parts = costs(outcome.usage, Strategy(name="x", fleet=Fleet()), measured=MEASURED, prices=Prices.read())
    assert parts["fleet"] == pytest.approx(0.0725 + 2 * 3600 * 0.0000004)


@pytest.mark.parametrize(("environments", "units"), [(10, 1), (11, 2)])
def test_a_rounds_writes_cost_the_size_of_its_item(environments, units):
    """One round in an hour: its beginning, and two writes of each ping; with eleven the item has over 1 KB."""
    chosen = Strategy(name="x", schedule=Schedule(environments=environments, every_seconds=3600))
    outcome = run([3599], schedule=chosen.schedule)
    parts = costs(outcome.usage, chosen, measured=MEASURED, prices=Prices.read())
    writes = (1 + 2 * environments) * units * 0.000000625
    assert parts["pings"] == pytest.approx(outcome.usage.ping_seconds * 1769 / 1024 * 0.0000166667 + writes
                                           + (environments + 1) * 0.0000002 + 0.000001)  # fmt: skip


def lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict]:
    assert planner.main([*arguments, "--json"]) == 0
    return {line["strategy"]: line for line in json.loads(capsys.readouterr().out)}


def test_the_articles_downloads(capsys):
    """Ten containers pinged every 12 minutes of four weeks' office hours, which die after 5: 1.89 TB."""
    options = ["--hours", "09:00-17:30", "--every", "720", "--clients", "1", "--jobs", "1"]
    found = lines(capsys, *OFFICE, *options, "--measurements", str(ARTICLE))["B schedule"]
    assert found["model_bytes"] == pytest.approx(1.89e12, rel=0.01)
    assert found["model_downloads"] == pytest.approx(8_590, rel=0.01)


def test_the_articles_choice(capsys):
    """A, B and C cost more than D for a few clients who call now and then: with its times, and with today's."""
    few = ["--clients", "10", "--jobs", "5"]
    then = ["--hours", "09:00-17:30", "--every", "720", "--measurements", str(ARTICLE)]
    assert_on_token_is_cheapest(lines(capsys, *OFFICE, *few, *then))
    assert_on_token_is_cheapest(lines(capsys, *OFFICE, *few))


def assert_on_token_is_cheapest(found: dict[str, dict]) -> None:
    dearer = [found[name]["usd"] for name in ("A provisioned", "B schedule", "C fleet", "always on")]
    assert min(dearer) > found["D on token"]["usd"]


def test_the_same_seed_prints_the_same(capsys):
    outputs = []
    for _ in range(2):
        planner.main([*OFFICE, "--clients", "3", "--seed", "7"])
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_events_are_read_with_either_kind_of_time(tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text(
        "timestamp,event\n2026-11-02T09:00:00Z,token\n2026-11-02T10:00:02+01:00,submit\n1793610005,submit\n"
    )
    found = read(trace)
    assert (found.tokens.tolist(), found.submits.tolist()) == ([0], [2, 5])
    assert found.began == datetime(2026, 11, 2, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbftimestamp,event\r\n1,submit\r\n4,submit\r\n",  # as spreadsheets write it
        b"timestamp , event\n 1 , submit \n  \n\n4,submit",
    ],
)
def test_a_trace_may_come_from_a_spreadsheet_and_have_no_tokens(content, tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_bytes(content)
    found = read(trace)
    assert (found.submits.tolist(), found.tokens.tolist()) == ([0, 3], [])


def test_a_client_fetches_a_token_before_the_last_one_is_too_old(tmp_path):
    """The third job comes 3,600 s after the first token: it needs one of its own."""
    trace = tmp_path / "trace.csv"
    trace.write_text("app,func,end_timestamp,duration\na,f,100,0\na,f,3697.9,0\na,f,3698,0\n")
    assert read(trace, token_lead_seconds=2).tokens.tolist() == [0, 3598]


def test_an_azure_trace_tells_when_invocations_began_and_each_app_fetches_tokens(tmp_path):
    """The second of app `a` is within its token's lifetime; app `b` fetches its own."""
    trace = tmp_path / "trace.csv"
    trace.write_text("app,func,end_timestamp,duration\na,f,100,1\na,f,130,30\nb,f,131,1\na,f,5000,0.5\n")
    found = read(trace, token_lead_seconds=2)
    assert found.submits.tolist() == [2, 3, 33, 4902.5]
    assert found.runs.tolist() == [1, 30, 1, 0.5]
    assert found.tokens.tolist() == [0, 31, 4900.5]


def test_a_window_follows_the_clocks_of_its_time_zone():
    """British summer time ended on 25 October 2026."""
    began = datetime(2026, 10, 23, tzinfo=UTC)
    days = Window(days=("FRI", "MON"), timezone="Europe/London").spans(began, 4 * 86_400)
    assert [(start / 3600, end / 3600) for start, end in days] == [(8, 16), (72 + 9, 72 + 17)]


@pytest.mark.parametrize(("sunday", "hours"), [("2026-10-25", 3), ("2026-03-29", 1), ("2026-11-01", 2)])
def test_a_window_over_a_change_of_the_clocks_is_as_long_as_the_night_made_it(sunday, hours):
    began = datetime.fromisoformat(f"{sunday}T00:00Z")
    window = Window(days=("SUN",), start="00:30", end="02:30", timezone="Europe/London")
    spans = window.spans(began - timedelta(days=1), 2 * 86_400)
    assert [(end - start) / 3600 for start, end in spans] == [hours]


def test_the_picture_and_the_page_hold_every_strategy(tmp_path, capsys):
    """The picture is well-formed XML; what a name holds stays text."""
    file = tmp_path / "strategies.json"
    file.write_text(json.dumps([{"name": "<none> & nothing"}, {"name": "A", "provisioned": {}}]))
    picture, page = tmp_path / "plot.svg", tmp_path / "report.html"
    options = ["--clients", "1", "--strategies", str(file), "--plot", str(picture), "--html", str(page)]
    assert planner.main(["office", *options]) == 0
    texts = [one.text or "" for one in ET.parse(picture).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314
    assert any("<none> & nothing" in text for text in texts)
    assert "&lt;none&gt; &amp; nothing" in page.read_text()
    assert "provisioned" in capsys.readouterr().out


def test_the_curve_joins_what_nothing_else_beats():
    def line(name: str, usd: float, p95: float) -> Line:
        return Line(name, 1, 0, 0, p95, 0, 0, 0, 0, 0, 0, usd, {})

    lines = [line("slow", 1, 9), line("worse", 2, 9), line("fast", 3, 1), line("dear", 4, 1)]
    assert [one.strategy for one in best(lines)] == ["slow", "fast"]


def test_planning_needs_neither_a_plotting_library_nor_a_client():
    """The command line of a client must not wait for what it does not use."""
    code = "import sys, planner; sys.exit(bool({'matplotlib', 'httpx', 'spacy', 'boto3'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
