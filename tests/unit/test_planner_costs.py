"""The cost of small simulations, compared with the price list by hand."""

from __future__ import annotations

import pytest

from planner.combinations import Combination
from planner.costs import compute_costs, read_prices
from planner.engine.outcome import Outcome
from planner.prices import PriceFields, Prices
from planner.strategies import Fleet, ProvisionedConcurrency, ScheduledPings, SnapStart
from planner.strategies.fleet import FleetPrices
from planner.strategies.protocol import Strategy
from tests.unit.test_planner_simulation import MEASURED, run

GB = 1769 / 1024


def compute(outcome: Outcome, strategy: Strategy) -> dict[str, float]:
    return compute_costs(outcome.usage, Combination("test", (strategy,)), measured=MEASURED, prices=read_prices())


def test_provisioned_concurrency_costs_its_open_time_and_its_jobs() -> None:
    """Two environments of 1,769 MB are open for an hour, and one job runs for a second."""
    strategy = ProvisionedConcurrency(environments=2)
    parts = compute(run([3599], strategy), strategy)
    assert parts["provisioned"] == pytest.approx(GB * (2 * 3600 * 0.0000041667 + 1 * 0.0000097222))


def test_fleet_costs_its_hours_and_its_polls() -> None:
    """One instance of two slots runs for an hour. Each slot polls once a second."""
    strategy = Fleet()
    parts = compute(run([0], strategy), strategy)
    assert parts["fleet"] == pytest.approx(0.0725 + 2 * 3600 * 0.0000004)


def test_snapstart_costs_the_cached_snapshot_and_each_restore() -> None:
    strategy = SnapStart()
    parts = compute(run([0], strategy), strategy)
    assert parts["snapstart"] == pytest.approx(GB * (3600 * 0.0000015046 + 1 * 0.0001397998))


@pytest.mark.parametrize(("environments", "units"), [(10, 1), (11, 2)])
def test_writes_of_a_warm_up_cost_the_size_of_its_item(environments: int, units: int) -> None:
    """One warm-up writes its item at its start, and twice for each ping. With eleven pings the item is above 1 KB."""
    strategy = ScheduledPings(environments=environments, every_seconds=3600)
    outcome = run([3599], strategy)
    writes = (1 + 2 * environments) * units * 0.000000625
    invokes = (environments + 1) * 0.0000002
    running = outcome.usage.ping_seconds * GB * 0.0000166667
    assert compute(outcome, strategy)["pings"] == pytest.approx(running + writes + invokes + 0.000001)


def test_prices_read_without_a_strategys_own_prices_are_a_programming_error() -> None:
    common = {name: getattr(read_prices(), name) for name in Prices.model_fields}
    with pytest.raises(TypeError, match="lack the fields of FleetPrices"):
        FleetPrices.select_from(Prices(**common))
    assert isinstance(read_prices(), PriceFields)
