"""Invariants of the simulation and its cost, for random traffic and random combinations of strategies."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.combinations import Combination
from planner.comparison import compare
from planner.costs import compute_costs, read_prices
from planner.engine.outcome import Limits, Outcome
from planner.measurements import Measurements
from planner.simulate import simulate
from planner.strategies import Fleet, OnToken, ProvisionedConcurrency, ScheduledPings, SnapStart
from planner.strategies.protocol import Strategy
from planner.strategies.provisioned_concurrency import BUSY_SECONDS
from planner.traffic import Traffic
from planner.windows import Window

BEGAN = datetime(2026, 11, 2, 8, 59, tzinfo=UTC)  # a Monday, one minute before the window opens
PRICES = read_prices()

gaps = st.lists(st.sampled_from([0.0, 0.1, 1.0, 7.0, 60.0, 400.0, 2_000.0]), max_size=40)
seconds = st.sampled_from([0.0, 0.05, 2.0, 30.0])
windows = st.sampled_from([(), (Window(),)])


@st.composite
def traffics(draw: st.DrawFn) -> Traffic:
    first, tokens = draw(st.sampled_from([0.0, 59.0])), draw(gaps)
    submits = np.cumsum(np.array([first, *draw(gaps)]))
    runs = np.array(draw(st.lists(seconds, min_size=len(submits), max_size=len(submits))))
    last = float(submits[-1])
    times = np.cumsum(np.array([0.0, *tokens]))
    return Traffic(submits, times[times <= last], BEGAN, max(last, 60.0), runs if draw(st.booleans()) else None)


@st.composite
def combinations(draw: st.DrawFn) -> Combination:
    few = st.integers(1, 3)
    has_snapshots = draw(st.booleans())
    on_token = st.builds(
        OnToken, environments=few, cooldown_seconds=st.sampled_from([0, 120]), assigns_jobs=st.booleans()
    )
    pings = st.builds(ScheduledPings, environments=few, windows=windows)
    provisioned = st.builds(ProvisionedConcurrency, environments=few, windows=windows)
    fleet = st.builds(Fleet, min=st.just(1), max=few, slots=few, backlog_per_instance=st.just(1), beside=st.booleans())
    ready = SnapStart() if has_snapshots else draw(st.none() | provisioned)
    chosen: list[Strategy | None] = [draw(st.none() | on_token), draw(st.none() | pings), ready]
    return Combination("random", tuple(one for one in [*chosen, draw(st.none() | fleet)] if one))


limits = st.builds(Limits, account=st.integers(3, 12), mapping=st.integers(2, 12))
measurements = st.builds(
    Measurements,
    init_seconds=st.tuples(st.sampled_from([0.2, 12.0])),
    load_seconds=st.tuples(st.sampled_from([0.3, 20.0])),
    idle_lifetime_seconds=st.sampled_from([(0, 1), (300, 300), (300, 3600)]),
    keeps_model=st.booleans(),
)


def intervals(outcome: Outcome) -> dict[int, list[tuple[float, float]]]:
    """Return the times when each environment runs a job."""
    by_environment: dict[int, list[tuple[float, float]]] = {}
    columns = (outcome.environments.tolist(), outcome.begins.tolist(), outcome.finishes.tolist())
    for environment, begin, finish in zip(*columns, strict=True):
        by_environment.setdefault(environment, []).append((begin, finish))
    return by_environment


@given(traffic=traffics(), combination=combinations(), measured=measurements, limit=limits)
def test_every_job_runs_once_in_an_environment_of_its_own(
    traffic: Traffic, combination: Combination, measured: Measurements, limit: Limits
) -> None:
    """No job begins before it arrived, and no environment runs two jobs at once."""
    outcome = simulate(traffic, combination, measured=measured, limits=limit)
    assert len(outcome.begins) == len(traffic.submits)
    assert (outcome.begins >= traffic.submits).all()
    assert (outcome.finishes >= outcome.begins).all()
    for spans in intervals(outcome).values():
        spans.sort()
        assert all(end <= begin + 1e-6 for (_, end), (begin, _) in pairwise(spans))


@given(traffic=traffics(), combination=combinations(), measured=measurements, limit=limits)
def test_jobs_at_a_time_stay_within_the_limits(
    traffic: Traffic, combination: Combination, measured: Measurements, limit: Limits
) -> None:
    outcome = simulate(traffic, combination, measured=measured, limits=limit)
    on_lambda = outcome.on_lambda
    edges = [(begin, 1) for begin in outcome.begins[on_lambda]]
    edges += [(finish - 1e-6, -1) for finish in outcome.finishes[on_lambda]]
    running = np.cumsum([step for _, step in sorted(edges)])
    assert max(running, default=0) <= min(limit.account, limit.mapping)


@given(traffic=traffics(), combination=combinations(), measured=measurements, limit=limits)
def test_usage_adds_up_to_the_jobs(
    traffic: Traffic, combination: Combination, measured: Measurements, limit: Limits
) -> None:
    outcome = simulate(traffic, combination, measured=measured, limits=limit)
    usage = outcome.usage
    on_fleet = float(outcome.runs[~outcome.on_lambda].sum())
    assert usage.on_demand_seconds + usage.amounts[BUSY_SECONDS] + on_fleet == pytest.approx(float(outcome.runs.sum()))
    assert outcome.on_demand[outcome.cold].all()
    assert len(set(outcome.environments[outcome.cold].tolist())) <= usage.cold_starts
    assert usage.wasted_seconds >= 0
    if combination.strategies in {(), (SnapStart(),)}:
        assert usage.pings == usage.warm_ups == usage.assigned == 0
    if combination.strategies == (SnapStart(),):
        assert usage.downloads == 0


@given(traffic=traffics(), combination=combinations(), measured=measurements, limit=limits)
def test_the_parts_of_the_cost_add_up(
    traffic: Traffic, combination: Combination, measured: Measurements, limit: Limits
) -> None:
    outcome = simulate(traffic, combination, measured=measured, limits=limit)
    parts = compute_costs(outcome.usage, combination, measured=measured, prices=PRICES)
    assert all(usd >= 0 for usd in parts.values())
    [forecast] = compare(traffic, [combination], measured=measured, prices=PRICES, limits=limit)
    assert forecast.usd == pytest.approx(sum(parts.values()) * traffic.monthly_factor)
    assert forecast.usd == pytest.approx(sum(forecast.usd_parts.values()))


@given(traffic=traffics(), combination=combinations(), seed=st.integers(0, 5))
def test_the_same_seed_gives_the_same_outcome(traffic: Traffic, combination: Combination, seed: int) -> None:
    one, other = (simulate(traffic, combination, measured=Measurements(), seed=seed) for _ in range(2))
    assert one.usage == other.usage
    assert (one.begins == other.begins).all()
    assert (one.environments == other.environments).all()
