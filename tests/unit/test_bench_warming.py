"""The chart of the benchmark `warming`."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from bench.warming import NOT_MEASURED, Samples, draw_chart


def test_samples_of_a_case_are_summarized_by_their_median() -> None:
    samples = Samples()
    samples.seconds["cold"] += [3.0, 4.0, 9.0]
    assert samples.medians == {"cold": 4.0}


def test_the_chart_shows_every_median_and_the_cases_without_one() -> None:
    chart = draw_chart({"small": {"cold": 4.0, "fleet": 0.25}})
    texts = [one.text for one in ET.fromstring(chart).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314
    assert texts[:5] == ["small model", "cold", "4.00 s", "fleet", "0.25 s"]
    assert texts[5:] == [f"not measured: {case}" for case in NOT_MEASURED]
