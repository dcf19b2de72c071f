"""The chart of the benchmark `warming`."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from bench.warming import NOT_MEASURED, _draw


def test_chart_shows_every_median_and_the_cases_without_a_measurement() -> None:
    measured = {"small": {"seconds": {"cold": [3.0, 4.0, 9.0], "fleet": [0.25]}}}
    texts = [one.text for one in ET.fromstring(_draw(measured)).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314
    assert texts[:5] == ["small model", "cold", "4.00 s", "fleet", "0.25 s"]
    assert texts[5:] == [f"not measured: {what}" for what in NOT_MEASURED]
