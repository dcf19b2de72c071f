"""The comparison of combinations: the times of the jobs and the cost of a month, as data and as tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from planner.combinations import Combination, check_combinations
from planner.costs import compute_costs
from planner.engine.outcome import Limits, Outcome, Usage
from planner.measurements import Measurements
from planner.prices import Prices
from planner.simulate import simulate
from planner.traffic import Traffic


@dataclass(frozen=True)
class Forecast:
    """The simulated month of one combination. Times are in seconds from a submit to the result.

    Counts, bytes, hours and USD are those of a month.
    """

    strategy: str  # the combination's name
    jobs: float
    cold_start_rate: float
    p50: float
    p95: float
    p99: float
    waited_for_warm_up: float  # jobs that were assigned to a warm-up
    pings: float
    wasted_warm_hours: float
    model_downloads: float
    model_bytes: float
    usd: float
    usd_parts: dict[str, float]


def compare(
    traffic: Traffic,
    combinations: Sequence[Combination],
    *,
    measured: Measurements,
    prices: Prices,
    limits: Limits | None = None,
    seed: int = 1,
) -> Iterator[Forecast]:
    """Simulate one combination after the other, and yield the forecast of each.

    Raises:
        PlannerError: Before the first simulation, if any combination cannot be simulated or has no price.
    """
    check_combinations(combinations, account_limit=(limits or Limits()).account)
    for combination in combinations:
        compute_costs(Usage(seconds=0, jobs=0, tokens=0), combination, measured=measured, prices=prices)
    for combination in combinations:
        outcome = simulate(traffic, combination, measured=measured, limits=limits, seed=seed)
        costs = compute_costs(outcome.usage, combination, measured=measured, prices=prices)
        yield _forecast(outcome, combination, traffic, measured, costs)


def _forecast(
    outcome: Outcome, combination: Combination, traffic: Traffic, measured: Measurements, costs: dict[str, float]
) -> Forecast:
    usage, months = outcome.usage, traffic.monthly_factor
    waits = outcome.finishes - outcome.arrivals + measured.overhead_seconds
    p50, p95, p99 = np.percentile(waits, [50, 95, 99]).tolist()
    monthly = {part: usd * months for part, usd in costs.items()}
    return Forecast(
        strategy=combination.name,
        jobs=usage.jobs * months,
        cold_start_rate=float(outcome.cold.mean()),
        p50=p50,
        p95=p95,
        p99=p99,
        waited_for_warm_up=usage.assigned * months,
        pings=usage.pings * months,
        wasted_warm_hours=usage.wasted_seconds / 3600 * months,
        model_downloads=usage.downloads * months,
        model_bytes=float(usage.downloads * measured.model_bytes * months),
        usd=sum(monthly.values()),
        usd_parts=monthly,
    )


def render_json(forecasts: Sequence[Forecast]) -> str:
    """Return all fields of the forecasts, for programs."""
    return json.dumps([asdict(forecast) for forecast in forecasts], indent=2)


def render_tables(forecasts: Sequence[Forecast]) -> str:
    """Return a table of the jobs, and below it a table of the parts of the cost, for people."""
    return f"{_align(build_job_rows(forecasts))}\n\n{_align(build_cost_rows(forecasts))}"


def build_job_rows(forecasts: Sequence[Forecast]) -> list[list[str]]:
    """Return the cells of the table of jobs: a row of headings, and a row for each combination."""
    rows = [["strategy", "cold", "p50", "p95", "p99", "idle hours", "downloads", "GB", "USD/month"]]
    return rows + [
        [
            forecast.strategy,
            f"{forecast.cold_start_rate:.3%}",
            *(f"{seconds:.2f} s" for seconds in (forecast.p50, forecast.p95, forecast.p99)),
            f"{forecast.wasted_warm_hours:,.1f}",
            f"{forecast.model_downloads:,.0f}",
            f"{forecast.model_bytes / 1e9:,.1f}",
            f"{forecast.usd:,.2f}",
        ]
        for forecast in forecasts
    ]


def build_cost_rows(forecasts: Sequence[Forecast]) -> list[list[str]]:
    """Return the cells of the table of costs, with a column for each part that is not 0 everywhere."""
    parts = [part for part in forecasts[0].usd_parts if any(one.usd_parts[part] for one in forecasts)]
    rows = [["USD/month of", *parts]]
    return rows + [[one.strategy, *(f"{one.usd_parts[part]:,.2f}" for part in parts)] for one in forecasts]


def _align(rows: list[list[str]]) -> str:
    """Return the rows as text, with the first column aligned to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
