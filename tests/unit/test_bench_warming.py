"""The chart of the benchmark `warming`."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench import warming
from bench.warming import NOT_MEASURED, Samples, draw_chart, write_results


def test_samples_of_a_case_are_summarized_by_their_median() -> None:
    samples = Samples()
    samples.add("cold", 3.0, 4.0)
    samples.add("cold", 9.0)
    assert samples.medians == {"cold": 4.0}


def test_the_chart_shows_every_median_and_the_cases_without_one() -> None:
    chart = draw_chart({"small": {"cold": 4.0, "fleet": 0.25}})
    texts = [one.text for one in ET.fromstring(chart).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314
    assert texts[:5] == ["small model", "cold", "4.00 s", "fleet", "0.25 s"]
    assert texts[5:] == [f"not measured: {case}" for case in NOT_MEASURED]


def test_results_are_written_as_json_and_as_a_chart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "RESULTS", tmp_path)
    monkeypatch.setattr(warming, "CHART", tmp_path / "chart.svg")
    samples = Samples(environments=[1], promises=[1.1])
    samples.add("cold", 4.0)
    write_results({"small": samples})
    written = json.loads((tmp_path / "warming-seconds.json").read_text(encoding="utf-8"))
    assert written["measured"] == {"small": {"seconds": {"cold": [4.0]}, "environments": [1], "promises": [1.1]}}
    assert "4.00 s" in (tmp_path / "chart.svg").read_text(encoding="utf-8")
