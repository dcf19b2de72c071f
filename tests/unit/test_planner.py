"""The planner as a whole: the article's figures, the tables, the picture and the page."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import planner
from planner.comparison import Forecast
from planner.report import find_pareto_front

ROOT = Path(__file__).parents[2]
ARTICLE = Path(planner.__file__).parent / "article.json"
OFFICE = ["office", "--timezone", "Europe/London", "--month", "2027-02"]


def plan(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, Any]]:
    """Return the forecasts by the names of the strategies."""
    assert planner.main([*arguments, "--json"]) == 0
    return {forecast["strategy"]: forecast for forecast in json.loads(capsys.readouterr().out)}


def test_the_planner_reproduces_the_articles_downloads(capsys: pytest.CaptureFixture[str]) -> None:
    """Ten environments, pinged every 12 minutes of four weeks' office hours, end after 5: 1.89 TB."""
    options = ["--hours", "09:00-17:30", "--every", "720", "--clients", "1", "--jobs", "1"]
    found = plan(capsys, *OFFICE, *options, "--measurements", str(ARTICLE))["scheduled pings"]
    assert found["model_bytes"] == pytest.approx(1.89e12, rel=0.01)
    assert found["model_downloads"] == pytest.approx(8_590, rel=0.01)


@pytest.mark.parametrize("options", [[], ["--hours", "09:00-17:30", "--every", "720", "--measurements", str(ARTICLE)]])
def test_on_token_is_cheapest_for_a_few_clients(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The article chose it for this reason. It holds with the measurements of today, and with the article's."""
    found = plan(capsys, *OFFICE, "--clients", "10", "--jobs", "5", *options)
    others = ["provisioned concurrency", "scheduled pings", "EC2 fleet", "always on"]
    assert min(found[name]["usd"] for name in others) > found["on-token"]["usd"]


def test_the_default_combinations_are_each_strategy_alone_and_some_together(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(plan(capsys, *OFFICE, "--clients", "1")) == [
        "none",
        "on-token",
        "scheduled pings",
        "provisioned concurrency",
        "SnapStart",
        "EC2 fleet",
        "always on",
        "on-token + scheduled pings",
        "on-token + SnapStart",
        "on-token + provisioned concurrency",
    ]


def test_the_same_seed_prints_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for _ in range(2):
        planner.main([*OFFICE, "--clients", "3", "--seed", "7"])
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_the_picture_and_the_page_show_every_strategy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The picture is well-formed XML, and markup in a name is escaped."""
    file = tmp_path / "strategies.json"
    file.write_text(json.dumps([{"name": "<none> & nothing"}, {"name": "ready", "provisioned": {}}]))
    picture, page = tmp_path / "plot.svg", tmp_path / "report.html"
    options = ["--clients", "1", "--strategies", str(file), "--plot", str(picture), "--html", str(page)]
    assert planner.main(["office", *options]) == 0
    texts = [one.text or "" for one in ET.parse(picture).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314
    assert any("<none> & nothing" in text for text in texts)
    assert "&lt;none&gt; &amp; nothing" in page.read_text()
    assert "provisioned" in capsys.readouterr().out


def test_the_page_shows_the_terraform_of_each_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "report.html"
    assert planner.main(["office", "--clients", "1", "--html", str(page)]) == 0
    assert page.read_text().count("warming = {") == len(capsys.readouterr().out.split("\n\n")[1].splitlines()) - 1


def test_the_inputs_of_the_page_are_a_strategies_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, file = tmp_path / "report.html", tmp_path / "strategies.json"
    printed = []
    assert planner.main([*OFFICE, "--clients", "1", "--html", str(page)]) == 0
    printed.append(capsys.readouterr().out)
    [inputs] = [one.text or "" for one in ET.fromstring(_get_body(page)).findall("pre")]  # noqa: S314
    file.write_text(f"[{','.join(inputs.split(chr(10) * 2)[1].splitlines())}]")
    assert planner.main([*OFFICE, "--clients", "1", "--strategies", str(file)]) == 0
    printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


def _get_body(page: Path) -> str:
    """Return the end of the page, from the inputs on, as XML."""
    return f"<body>{page.read_text().partition('<h2>Inputs</h2>')[2].partition('</body>')[0]}</body>"


def test_the_pareto_front_has_no_forecast_that_another_one_beats() -> None:
    def forecast(name: str, usd: float, p95: float) -> Forecast:
        return Forecast(name, 1, 0, 0, p95, 0, 0, 0, 0, 0, 0, usd, {})

    found = [forecast("slow", 1, 9), forecast("worse", 2, 9), forecast("fast", 3, 1), forecast("dear", 4, 1)]
    assert [one.strategy for one in find_pareto_front(found)] == ["slow", "fast"]


def test_importing_the_planner_imports_no_unneeded_module() -> None:
    """The client's command line imports the planner, so the import must be fast. The planner is independent."""
    code = "import sys, planner; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    imported = set(ast.literal_eval(ran.stdout))
    assert not imported & {"matplotlib", "httpx", "spacy", "boto3", "shared", "functions", "local", "samovar"}
