"""The simulation of one combination of strategies over the traffic."""

from __future__ import annotations

from planner.combinations import Combination, check_combinations
from planner.engine.draws import Draws
from planner.engine.outcome import Limits, Outcome
from planner.engine.setup import Setup
from planner.engine.simulation import Simulation
from planner.measurements import Measurements
from planner.traffic import Traffic


def simulate(
    traffic: Traffic, combination: Combination, *, measured: Measurements, limits: Limits | None = None, seed: int = 1
) -> Outcome:
    """Return the outcome of the traffic under a combination. It is the same for the same seed.

    Raises:
        PlannerError: If the combination wants more than the limits allow, or has windows that overlap.
    """
    limits = limits or Limits()
    check_combinations([combination], account_limit=limits.account)
    setup = Setup(traffic)
    for strategy in combination.strategies:
        strategy.set_up(setup)
    draws = Draws(traffic, measured, has_snapshots=setup.has_snapshots, seed=seed)
    return Simulation(setup, draws, limits, ping_seconds=measured.ping_seconds).run()
