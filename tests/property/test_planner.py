"""Whatever the traffic and the strategy: jobs, environments, time and money are conserved."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.costs import Prices, costs
from planner.measurements import Measurements
from planner.outcome import FLEET, PROVISIONED, Limits, Outcome
from planner.plans import plan
from planner.simulate import simulate
from planner.strategies import Fleet, OnToken, Provisioned, Schedule, Strategy
from planner.traffic import Traffic
from planner.windows import Window

BEGAN = datetime(2026, 11, 2, 8, 59, tzinfo=UTC)  # a Monday, a minute before the window opens
PRICES = Prices.read()

gaps = st.lists(st.sampled_from([0.0, 0.1, 1.0, 7.0, 60.0, 400.0, 2_000.0]), max_size=40)
seconds = st.sampled_from([0.0, 0.05, 2.0, 30.0])
windows = st.sampled_from([(), (Window(),)])


@st.composite
def traffics(draw: st.DrawFn) -> Traffic:
    first, submits, tokens = draw(st.sampled_from([0.0, 59.0])), draw(gaps), draw(gaps)
    submits = np.cumsum([first, *submits])
    runs = np.array(draw(st.lists(seconds, min_size=len(submits), max_size=len(submits))))
    last = float(submits[-1])
    times = np.cumsum(np.array([0.0, *tokens]))
    return Traffic(submits, times[times <= last], BEGAN, max(last, 60.0), runs if draw(st.booleans()) else None)


@st.composite
def chosen(draw: st.DrawFn) -> Strategy:
    few = st.integers(1, 3)
    snapstart = draw(st.booleans())
    on_token = st.builds(
        OnToken, environments=few, cooldown_seconds=st.sampled_from([0, 120]), closes_race=st.booleans()
    )
    fleet = st.builds(Fleet, min=st.just(1), max=few, slots=few, backlog_per_instance=st.just(1), beside=st.booleans())
    return Strategy(
        name="any",
        on_token=draw(st.none() | on_token),
        schedule=draw(st.none() | st.builds(Schedule, environments=few, windows=windows)),
        provisioned=None if snapstart else draw(st.none() | st.builds(Provisioned, environments=few, windows=windows)),
        fleet=draw(st.none() | fleet),
        snapstart=snapstart,
    )


limits = st.builds(Limits, account=st.integers(3, 12), mapping=st.integers(2, 12))
measurements = st.builds(
    Measurements,
    init_seconds=st.tuples(st.sampled_from([0.2, 12.0])),
    load_seconds=st.tuples(st.sampled_from([0.3, 20.0])),
    idle_lifetime_seconds=st.sampled_from([(0, 1), (300, 300), (300, 3600)]),
    keeps_model=st.booleans(),
)


def intervals(outcome: Outcome) -> dict[int, list[tuple[float, float]]]:
    """When each environment runs a job."""
    by_environment: dict[int, list[tuple[float, float]]] = {}
    columns = (outcome.environments.tolist(), outcome.begins.tolist(), outcome.finishes.tolist())
    for environment, begin, finish in zip(*columns, strict=True):
        by_environment.setdefault(environment, []).append((begin, finish))
    return by_environment


@given(traffic=traffics(), strategy=chosen(), measured=measurements, limit=limits)
def test_every_job_is_served_once_by_one_environment_at_a_time(traffic, strategy, measured, limit):
    """Nothing begins before it arrived, and what the environments ran adds up to the jobs."""
    outcome = simulate(traffic, strategy, measured=measured, limits=limit)
    assert len(outcome.begins) == len(traffic.submits)
    assert (outcome.begins >= traffic.submits).all()
    assert (outcome.finishes >= outcome.begins).all()
    for spans in intervals(outcome).values():
        spans.sort()
        assert all(end <= begin + 1e-6 for (_, end), (begin, _) in pairwise(spans))


@given(traffic=traffics(), strategy=chosen(), measured=measurements, limit=limits)
def test_no_more_run_at_a_time_than_the_limits_allow(traffic, strategy, measured, limit):
    outcome = simulate(traffic, strategy, measured=measured, limits=limit)
    on_lambda = outcome.environments < FLEET
    edges = [(begin, 1) for begin in outcome.begins[on_lambda]]
    edges += [(finish - 1e-6, -1) for finish in outcome.finishes[on_lambda]]
    running = np.cumsum([step for _, step in sorted(edges)])
    assert max(running, default=0) <= min(limit.account, limit.mapping)


@given(traffic=traffics(), strategy=chosen(), measured=measurements, limit=limits)
def test_usage_adds_up(traffic, strategy, measured, limit):
    outcome = simulate(traffic, strategy, measured=measured, limits=limit)
    usage = outcome.usage
    on_fleet = float(outcome.runs[outcome.environments >= FLEET].sum())
    assert usage.on_demand_seconds + usage.provisioned_seconds + on_fleet == pytest.approx(float(outcome.runs.sum()))
    cold = {(int(one)) for one in outcome.environments[outcome.cold]}
    assert all(one < PROVISIONED for one in cold)
    assert len(cold) <= usage.cold_starts
    assert usage.restores == (usage.cold_starts if strategy.snapstart else 0)
    assert usage.wasted_seconds >= 0
    if strategy == Strategy(name="any"):
        assert usage.pings == usage.rounds == usage.delayed == 0


@given(traffic=traffics(), strategy=chosen(), measured=measurements, limit=limits)
def test_the_parts_of_the_price_add_up(traffic, strategy, measured, limit):
    outcome = simulate(traffic, strategy, measured=measured, limits=limit)
    parts = costs(outcome.usage, strategy, measured=measured, prices=PRICES)
    assert all(usd >= 0 for usd in parts.values())
    [line] = plan(traffic, [strategy], measured=measured, prices=PRICES, limits=limit)
    assert line.usd == pytest.approx(sum(parts.values()) * traffic.per_month)
    assert line.usd == pytest.approx(sum(line.usd_parts.values()))


@given(traffic=traffics(), strategy=chosen(), seed=st.integers(0, 5))
def test_a_seed_repeats_everything(traffic, strategy, seed):
    one, other = (simulate(traffic, strategy, measured=Measurements(), seed=seed) for _ in range(2))
    assert one.usage == other.usage
    assert (one.begins == other.begins).all()
    assert (one.environments == other.environments).all()
