"""Invalid input. The planner refuses it in one line that names the field, and for a trace the line of the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import planner
from planner.prices import PRICES

REFUSED = {
    "unordered": ("timestamp,event\n10,submit\n9,submit\n", "line 3, timestamp"),
    "not a number": ("timestamp,event\nnoon,submit\n", "line 2, timestamp"),
    "without an offset": ("timestamp,event\n2026-11-02T09:00:00,submit\n", "line 2, timestamp"),
    "negative": ("timestamp,event\n-1,submit\n", "line 2, timestamp"),
    "infinite": ("timestamp,event\ninf,submit\n", "line 2, timestamp"),
    "other event": ("timestamp,event\n1,poll\n", "line 2, event"),
    "too few fields": ("timestamp,event\n\n1\n", "line 3, row"),
    "without a submit": ("timestamp,event\n1,token\n", "no submit"),
    "before 1970": ("timestamp,event\n1969-12-31T00:00:00Z,submit\n", "line 2, timestamp"),
    "digits of another script": ("timestamp,event\n\u0661,submit\n", "line 2, timestamp"),
    "underscores": ("timestamp,event\n1_000,submit\n", "line 2, timestamp"),
    "not UTF-8": ("timestamp,event\n1,submit\n\udce9,submit\n", "line 3, timestamp"),
    "UTF-16": ("\udcff\udcfet\x00i\x00", "line 1, header"),
    "a field that is too long": (f"timestamp,event\n1,submit\n2,{'x' * 200_000}\n", "line 3, row"),
    "a quoted field over two lines": ('timestamp,event\n1,"sub\nmit"\n2,x\n', "line 2, event"),
    "after a row over two lines": (
        'app,func,end_timestamp,duration\n"a\nb",f,2,1\na,f,x,1\n',
        "line 4, end",
    ),
    "three millennia": ("timestamp,event\n0,submit\n99999999999,submit\n", "366"),
    "empty": ("", "line 1"),
    "other header": ("a,b\n", "line 1"),
    "azure, negative duration": ("app,func,end_timestamp,duration\na,f,10,-1\n", "line 2, duration"),
    "azure, endless duration": ("app,func,end_timestamp,duration\na,f,10,99999999999\n", "line 2, duration"),
    "azure, unordered": ("app,func,end_timestamp,duration\na,f,10,1\na,f,9,1\n", "line 3, end_timestamp"),
    "azure, empty": ("app,func,end_timestamp,duration\n", "no invocation"),
    "binary": ("\x00\udcff", "traffic"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_invalid_trace_is_refused_with_its_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, named = REFUSED[name]
    trace = tmp_path / "trace.csv"
    trace.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert_refused(capsys, [str(trace)], named)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--timezone", "Europe/Nowhere"], "timezone"),
        (["--timezone", "../etc/passwd"], "timezone"),
        (["--hours", "17:00-09:00"], "hours"),
        (["--hours", "nine to five"], "hours"),
        (["--hours", "09:00+01:00-17:00"], "hours"),
        (["--month", "2026-13"], "month"),
        (["--month", "0001-01"], "month"),
        (["--month", "9999-12"], "month"),
        (["--clients", "1000000000"], "clients, jobs"),
        (["--clients", "many"], "options: argument --clients"),
        (["--account-limit", "1000000000000"], "account-limit"),
        (["--token-lead", "3600"], "token-lead"),
        (["--frob"], "options"),
        (["--clients", "0"], "clients"),
        (["--jobs", "-1"], "jobs"),
        (["--jobs", "nan"], "jobs"),
        (["--every", "0"], "every"),
        (["--token-lead", "-1"], "token-lead"),
        (["--seed", "-1"], "seed"),
        (["--environments", "1001"], "schedule.environments"),
        (["--mapping-limit", "0"], "mapping-limit"),
        (["--plot", "curve.png"], "plot"),
        (["--html", "/nowhere/at/all.html"], "html"),
        (["--prices", "/nowhere"], "prices"),
        (["--strategies", "/nowhere"], "strategies"),
        (["--measurements", "/nowhere"], "measurements"),
    ],
)
def test_an_invalid_option_is_refused_with_its_name(
    options: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(capsys, ["office", *options], f"{named}:")


@pytest.mark.parametrize(
    ("strategy", "named"),
    [
        ({}, "strategies[0].name"),
        ({"name": "x", "on_token": {"environments": 0}}, "strategies[0].on_token.environments"),
        ({"name": "x", "schedule": {"every_seconds": float("inf")}}, "strategies[0].schedule.every_seconds"),
        ({"name": "x", "unknown": {}}, "strategies[0].unknown"),
        ({"name": ""}, "strategies[0].name"),
        ({"name": "two\nlines"}, "strategies[0].name"),
        ({"name": "x", "snapstart": "yes"}, "strategies[0].snapstart"),
        ({"name": "x", "fleet": {"min": 10**9, "max": 10**9}}, "strategies[0].fleet.min"),
        ({"name": "x", "schedule": {"windows": [{"days": []}]}}, "strategies[0].schedule.windows[0].days"),
        ({"name": "x", "schedule": {"windows": [{"start": "09:00Z"}]}}, "strategies[0].schedule.windows[0]: start"),
        ({"name": "x", "snapstart": True, "provisioned": {}}, "snapstart: Lambda does not allow"),
        ({"name": "x", "fleet": {"min": 5, "max": 1}}, "fleet: max"),
        ({"name": "x", "fleet": {"min": 0}}, "fleet: min"),
        ({"name": "x", "fleet": {"instance_type": "z9.huge"}}, "fleet.instance_type"),
        ({"name": "x", "provisioned": {"environments": 2000}}, "provisioned.environments"),
        ({"name": "x", "schedule": {"windows": [{}, {"start": "16:00", "end": "18:00"}]}}, "schedule.windows[1]"),
        ({"name": "x", "schedule": {"windows": [{"timezone": "Mars"}]}}, "strategies[0].schedule.windows[0]: timezone"),
    ],
)
def test_an_invalid_strategy_is_refused_with_its_field(
    strategy: dict[str, Any], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "strategies.json"
    file.write_text(json.dumps([strategy]))
    assert_refused(capsys, ["office", "--clients", "1", "--strategies", str(file)], named)


def test_windows_that_overlap_across_time_zones_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "strategies.json"
    windows = [{"timezone": "Europe/London"}, {"timezone": "Europe/Paris"}]
    file.write_text(json.dumps([{"name": "x", "provisioned": {"windows": windows}}]))
    assert_refused(capsys, ["office", "--clients", "1", "--strategies", str(file)], "provisioned.windows[1]")


@pytest.mark.parametrize(
    "content", ["", "[]", "[" * 100_000, '[{"name": "x"}, {"name": "x"}]', '[{"name": "\\ud800"}]']
)
def test_an_invalid_strategies_file_is_refused(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "strategies.json"
    file.write_text(content)
    assert_refused(capsys, ["office", "--clients", "1", "--strategies", str(file)], "strategies")


def test_an_invalid_last_strategy_is_refused_before_the_first_is_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("planner.comparison.simulate", lambda *_, **__: pytest.fail("A strategy was simulated"))
    file = tmp_path / "strategies.json"
    lasts: list[dict[str, Any]] = [{"provisioned": {"environments": 2000}}, {"fleet": {"instance_type": "z9.huge"}}]
    for last in lasts:
        file.write_text(json.dumps([{"name": "first"}, {"name": "last", **last}]))
        assert_refused(capsys, ["office", "--clients", "1", "--strategies", str(file)], next(iter(last)))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"kms_sign": None}, "prices.kms_sign: "),
        ({"s3_get": -1}, "prices.s3_get: "),
        ({"s3_get": float("nan")}, "prices.s3_get: "),
        ({"s3_get": "0.1"}, "prices.s3_get: "),
        ({"s3_get": True}, "prices.s3_get: "),
        ({"lambda_gb_second": {"arm64": 1.0}}, "prices.lambda_gb_second: there is no price for x86_64"),
        ({"instance_hour": {"c7g.large": -1}}, "prices.instance_hour.c7g.large: "),
        ({"instance_hour": {}}, "fleet.instance_type: "),
        ({"date": "yesterday"}, "prices.date: "),
        ({"unknown": 1}, "prices.unknown: "),
    ],
)
def test_an_invalid_price_is_refused_with_its_name(
    changes: dict[str, Any], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = {**json.loads(PRICES.read_text()), **changes}
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({name: price for name, price in prices.items() if price is not None}))
    assert_refused(capsys, ["office", "--clients", "1", "--prices", str(file)], named)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}x",
        '{"run_seconds": [-1]}',
        '{"run_seconds": [1e300]}',
        '{"run_seconds": []}',
        '{"other": 1}',
        '{"idle_lifetime_seconds": [9, 3]}',
    ],
)
def test_invalid_measurements_are_refused(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "measured.json"
    file.write_text(content)
    assert_refused(capsys, ["office", "--measurements", str(file)], "measurements")


def assert_refused(capsys: pytest.CaptureFixture[str], arguments: list[str], named: str) -> None:
    """Check that the planner prints one line, with `named`, and exits with status 2."""
    assert planner.main(arguments) == 2
    output = capsys.readouterr()
    assert named in output.err
    assert len(output.err.splitlines()) == 1
    assert output.out == ""
