"""The registry of strategies: each has all members, and a new one needs its own module and a line in the registry."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Sequence
from datetime import time
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self

import pytest

import planner
from planner import strategies
from planner.combinations import Combination
from planner.engine.outcome import Usage
from planner.engine.setup import Setup
from planner.engine.simulation import Simulation
from planner.measurements import Measurements
from planner.prices import PRICES, Price, PriceFields, Prices
from planner.strategies import STRATEGIES, Fleet, OnToken, ProvisionedConcurrency, ScheduledPings, SnapStart
from planner.strategies.protocol import CommandOption, Parameters, Strategy, StrategyOptions
from planner.terraform import list_crons, quote
from planner.windows import Window

ROOT = Path(__file__).parents[2]
TERRAFORM = """\
warming = {
  on_token = { environments = 2, cooldown_seconds = 60 }
  schedule = {
    pings-1 = { expression = "cron(30/10 8 ? * MON,TUE,SAT *)", timezone = "UTC", environments = 3 }
    pings-2 = { expression = "cron(0/10 9-11 ? * MON,TUE,SAT *)", timezone = "UTC", environments = 3 }
  }
  provisioned = {
    environments = 4
    windows = {
      window-1 = { start = "cron(30 8 ? * MON,TUE,SAT *)", end = "cron(0 12 ? * MON,TUE,SAT *)", timezone = "UTC" }
    }
  }
  fleet = {
    min = 2, max = 5, instance_type = "c7g.xlarge"
    backlog_per_instance = 7
    subnet_ids = ["subnet-…"], security_group_ids = ["sg-…"]
  }
}
"""
OFFICE = ["office", "--clients", "1", "--month", "2027-02"]


def describe_missing_members(kind: type) -> str:
    """Return an instruction to complete a strategy's class, or an empty text if no member is missing."""
    attributes = set(Strategy.__annotations__)
    methods = {name for name, member in vars(Strategy).items() if name[0] != "_" and not name.isupper()} - attributes
    missing = sorted(name for name in attributes | methods if not hasattr(kind, name))
    if not missing:
        return ""
    file = kind.__module__.replace(".", "/") + ".py"
    return (
        f"Add {', '.join(missing)} to the class {kind.__name__} in {file}; planner/strategies/protocol.py explains it"
    )


def describe_unregistered(module: ModuleType) -> str:
    """Return an instruction to register a module's strategy, or an empty text if it is registered."""
    if any(kind.__module__ == module.__name__ for kind in strategies.STRATEGIES):
        return ""
    return f"Add the strategy of {module.__name__} to STRATEGIES in planner/strategies/__init__.py"


def list_modules() -> list[ModuleType]:
    names = [one.name for one in pkgutil.iter_modules(strategies.__path__) if one.name != "protocol"]
    return [importlib.import_module(f"planner.strategies.{name}") for name in names]


@pytest.mark.parametrize("kind", STRATEGIES)
def test_a_strategy_has_every_member(kind: type[Strategy]) -> None:
    message = describe_missing_members(kind)
    assert not message, message


@pytest.mark.parametrize("module", list_modules())
def test_a_module_of_a_strategy_is_registered(module: ModuleType) -> None:
    message = describe_unregistered(module)
    assert not message, message


def test_message_about_missing_members_says_what_to_add_where() -> None:
    class Incomplete(StrategyOptions):
        key: ClassVar[str] = "incomplete"

    message = describe_missing_members(Incomplete)
    assert "render_terraform" in message
    assert "title" in message
    assert "to the class Incomplete in tests/unit/test_planner_strategies.py" in message
    assert "dump" not in message


def test_message_about_an_unregistered_strategy_says_where_to_add_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategies, "STRATEGIES", (OnToken,))
    assert describe_unregistered(importlib.import_module(Fleet.__module__)) == (
        "Add the strategy of planner.strategies.fleet to STRATEGIES in planner/strategies/__init__.py"
    )


@pytest.mark.parametrize("member", ["key", "title"])
def test_no_two_strategies_have_the_same_name(member: str) -> None:
    names = [getattr(kind, member) for kind in STRATEGIES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("kind", STRATEGIES)
def test_a_strategy_is_in_the_documentation(kind: type[Strategy]) -> None:
    page = (ROOT / "docs" / "warming.md").read_text()
    assert f"| {kind.title} | `{kind.key}` |" in page, f"Add {kind.title} to the table of docs/warming.md"


# Terraform


def read_warming_variable() -> str:
    """Return the declaration of Terraform's variable `warming`."""
    text = "\n".join(file.read_text() for file in sorted((ROOT / "terraform").glob("*.tf")))
    found = re.search(r'^variable "warming" \{.*?^\}', text, re.DOTALL | re.MULTILINE)
    assert found, "terraform/ declares no variable `warming`"
    return found[0]


@pytest.mark.parametrize("kind", STRATEGIES)
def test_terraform_declares_every_attribute_that_a_strategy_renders(kind: type[Strategy]) -> None:
    examples = kind.build_examples(Parameters(environments=5, windows=(Window(), Window(days=("SAT",)))))
    snippets = "\n".join([kind.terraform_off, *(one.render_terraform() for one in examples.values())])
    without_names = re.sub(r"\b(pings|window)-\d+ =", "", re.sub(r'"[^"]*"', '""', snippets))
    declared = set(re.findall(r"\b([a-z_]+) += ", read_warming_variable()))
    missing = sorted(set(re.findall(r"\b([a-z_]+) =", without_names)) - declared)
    assert not missing, f"Add {', '.join(missing)} to the variable `warming` in terraform/"


def test_terraform_turns_on_token_off_if_the_combination_lacks_it() -> None:
    """The variable `warming` has on-token on by default."""
    assert Combination("x", (SnapStart(),)).render_terraform().splitlines() == [
        "warming = {",
        "  on_token = { environments = 0 }",
        "  snapstart = true",
        "}",
    ]


def test_terraform_has_the_options_of_every_strategy() -> None:
    window = Window(days=("MON", "TUE", "SAT"), start=time(8, 30), end=time(12))
    chosen = (
        OnToken(environments=2, cooldown_seconds=60),
        ScheduledPings(environments=3, every_seconds=600, windows=(window,)),
        ProvisionedConcurrency(environments=4, windows=(window,)),
        Fleet(min=2, max=5, instance_type="c7g.xlarge", backlog_per_instance=7),
    )
    assert f"{Combination('x', chosen).render_terraform()}\n" == TERRAFORM


@pytest.mark.parametrize(
    ("seconds", "expression"), [(30, "rate(1 minute)"), (60, "rate(1 minute)"), (240, "rate(4 minutes)")]
)
def test_pings_without_windows_become_a_rate(seconds: float, expression: str) -> None:
    assert f'"{expression}"' in ScheduledPings(every_seconds=seconds).render_terraform()


@pytest.mark.parametrize("minutes", [1, 4, 7, 12, 30, 45, 60, 90, 1500])
def test_cron_expressions_match_the_minutes_of_a_window(minutes: int) -> None:
    window = Window(start=time(8, 30), end=time(12, 10))
    found = sorted(at for cron in list_crons(window, minutes) for at in expand(cron))
    assert found == list(range(8 * 60 + 30, 12 * 60 + 10, minutes))


def expand(cron: str) -> list[int]:
    """Return the minutes of a day that a cron expression of EventBridge matches."""
    minute, hour = cron.removeprefix('"cron(').split()[:2]
    first, _, step = minute.partition("/")
    minutes = range(int(first), 60, int(step)) if step else [int(one) for one in minute.split(",")]
    start, _, end = hour.partition("-")
    hours = range(int(start), int(end) + 1) if end else [int(one) for one in hour.split(",")]
    return [60 * at + past for at in hours for past in minutes]


def test_a_name_cannot_leave_its_string_in_terraform() -> None:
    assert quote('a"b\\${c}%{d}') == '"a\\"b\\\\$${c}%%{d}"'


# A new strategy


class RestlessPrices(PriceFields):
    """A price that no other strategy needs."""

    restless_tick: Price


class Restless(StrategyOptions):
    """A new strategy: one ping each minute. Everything about it is in this class and in `RestlessPrices`."""

    key: ClassVar[str] = "restless"
    title: ClassVar[str] = "restless pings"
    summary: ClassVar[str] = "a ping each minute"
    cost_part: ClassVar[str] = "ticks"
    prices: ClassVar[type[PriceFields] | None] = RestlessPrices
    command_options: ClassVar[tuple[CommandOption, ...]] = (
        CommandOption("restless-pings", int, 1, "pings of a restless minute"),
    )
    terraform_off: ClassVar[str] = "restless = { pings = 0 }"

    pings: int = 1

    @classmethod
    def build_examples(cls, parameters: Parameters) -> dict[str, Self]:
        return {cls.title: cls(pings=parameters.own["restless-pings"])}

    def check(self, _others: Sequence[Strategy], _account_limit: int, _field: str) -> None:
        pass

    def set_up(self, setup: Setup) -> None:
        setup.add_minute_handler(self._ping)

    def _ping(self, simulation: Simulation, at: float) -> None:
        simulation.usage.amounts["restless_ticks"] += 1
        simulation.start_warm_up(at, self.pings)

    def compute_cost(self, usage: Usage, _: Measurements, prices: Prices) -> float:
        return usage.amounts["restless_ticks"] * RestlessPrices.select_from(prices).restless_tick

    def render_terraform(self) -> str:
        return f"restless = {{ pings = {self.pings} }}"


@pytest.fixture
def prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Register the new strategy, and return a prices file that has its price."""
    monkeypatch.setattr(strategies, "STRATEGIES", (*STRATEGIES, Restless))
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({**json.loads(PRICES.read_text()), "restless_tick": 1.0}))
    return str(file)


def plan(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert planner.main([*OFFICE, "--json", *arguments]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_a_new_strategy_is_simulated_by_default(prices: str, capsys: pytest.CaptureFixture[str]) -> None:
    """February 2027 has 28 days of 1,440 minutes. The simulation has no tick at its first moment."""
    found = {one["strategy"]: one for one in plan(capsys, "--prices", prices, "--restless-pings", "2")}
    ticks = 28 * 1440 - 1
    assert found["restless pings"]["pings"] == pytest.approx(2 * ticks)
    assert found["restless pings"]["usd_parts"]["ticks"] == pytest.approx(ticks)
    assert found["on-token"]["usd_parts"]["ticks"] == 0


def test_a_new_strategy_may_be_in_a_strategies_file(
    prices: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, page = tmp_path / "strategies.json", tmp_path / "report.html"
    file.write_text('[{"name": "both", "on_token": {}, "restless": {"pings": 3}}, {"name": "none"}]')
    plan(capsys, "--prices", prices, "--strategies", str(file), "--html", str(page))
    text = page.read_text()
    assert "restless = { pings = 3 }" in text
    assert "restless = { pings = 0 }" in text


def test_a_new_strategy_is_in_the_help(prices: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        planner.main(["--help"])
    text = capsys.readouterr().out
    assert "restless pings (`restless`): a ping each minute" in text
    assert "--restless-pings" in text


def test_error_about_a_new_strategys_missing_price_names_it(prices: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The prices of the package do not have it."""
    assert planner.main(OFFICE) == 2
    assert "prices.restless_tick: Field required" in capsys.readouterr().err
