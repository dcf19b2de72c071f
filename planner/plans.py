"""Strategies side by side: what each does to the jobs, and what it costs a month."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from planner.costs import Prices, costs
from planner.measurements import Measurements
from planner.outcome import Limits, Outcome, Usage
from planner.simulate import simulate
from planner.strategies import Strategy, check
from planner.traffic import Traffic


@dataclass(frozen=True)
class Line:
    """One strategy; counts, bytes, hours and USD are those of a month, times are seconds from submit to result."""

    strategy: str
    jobs: float
    cold_start_rate: float
    p50: float
    p95: float
    p99: float
    waited_for_warm_up: float  # jobs that were left to the environment that was warming up
    pings: float
    wasted_warm_hours: float
    model_downloads: float
    model_bytes: float
    usd: float
    usd_parts: dict[str, float]


def plan(
    traffic: Traffic,
    strategies: Sequence[Strategy],
    *,
    measured: Measurements,
    prices: Prices,
    limits: Limits | None = None,
    seed: int = 1,
) -> Iterator[Line]:
    """Simulate one strategy after the other.

    Raises:
        PlannerError: before the first one, when any cannot be simulated or has no price.
    """
    check(strategies, limit=(limits or Limits()).account)
    for strategy in strategies:
        costs(Usage(seconds=0, jobs=0, tokens=0), strategy, measured=measured, prices=prices)
    for strategy in strategies:
        outcome = simulate(traffic, strategy, measured=measured, limits=limits, seed=seed)
        yield _line(outcome, strategy, traffic, measured, prices)


def _line(outcome: Outcome, strategy: Strategy, traffic: Traffic, measured: Measurements, prices: Prices) -> Line:
    usage, months = outcome.usage, traffic.per_month
    waits = outcome.finishes - outcome.arrivals + measured.overhead_seconds
    p50, p95, p99 = np.percentile(waits, [50, 95, 99]).tolist()
    parts = costs(usage, strategy, measured=measured, prices=prices)
    monthly = {part: usd * months for part, usd in parts.items()}
    return Line(
        strategy=strategy.name,
        jobs=usage.jobs * months,
        cold_start_rate=float(outcome.cold.mean()),
        p50=p50,
        p95=p95,
        p99=p99,
        waited_for_warm_up=usage.delayed * months,
        pings=usage.pings * months,
        wasted_warm_hours=usage.wasted_seconds / 3600 * months,
        model_downloads=usage.downloads * months,
        model_bytes=float(usage.downloads * measured.model_bytes * months),
        usd=sum(monthly.values()),
        usd_parts=monthly,
    )


def as_json(lines: Sequence[Line]) -> str:
    """All of it, for programs."""
    return json.dumps([asdict(line) for line in lines], indent=2)


def as_table(lines: Sequence[Line]) -> str:
    """For people: what happens to the jobs, and below it the parts of the price."""
    return f"{_aligned(rows_of_jobs(lines))}\n\n{_aligned(rows_of_money(lines))}"


def rows_of_jobs(lines: Sequence[Line]) -> list[list[str]]:
    """A row of headings, and one for each strategy."""
    rows = [["strategy", "cold", "p50", "p95", "p99", "idle hours", "downloads", "GB", "USD/month"]]
    return rows + [
        [
            line.strategy,
            f"{line.cold_start_rate:.3%}",
            *(f"{seconds:.2f} s" for seconds in (line.p50, line.p95, line.p99)),
            f"{line.wasted_warm_hours:,.1f}",
            f"{line.model_downloads:,.0f}",
            f"{line.model_bytes / 1e9:,.1f}",
            f"{line.usd:,.2f}",
        ]
        for line in lines
    ]


def rows_of_money(lines: Sequence[Line]) -> list[list[str]]:
    """The same for the parts of the price that anything is spent on."""
    parts = [part for part in lines[0].usd_parts if any(line.usd_parts[part] for line in lines)]
    rows = [["USD/month of", *parts]]
    return rows + [[line.strategy, *(f"{line.usd_parts[part]:,.2f}" for part in parts)] for line in lines]


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
