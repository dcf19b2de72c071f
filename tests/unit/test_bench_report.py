"""The report of a benchmark's figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import report as module
from bench.report import Figure, report

MISSED = Figure("jobs", 3, "jobs/s", least=4)


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    return tmp_path


def test_missed_target_is_printed_and_written_and_returned(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report("api", [MISSED], smallest=False) == 1
    assert "MISSED: at least 4" in capsys.readouterr().out
    assert (results / "api.json").is_file()


def test_figures_of_the_smallest_size_are_neither_judged_nor_written(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report("api", [MISSED], smallest=True) == 0
    assert "not judged: at least 4" in capsys.readouterr().out
    assert not list(results.iterdir())
