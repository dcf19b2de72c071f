"""Random traffic of clients that work in office hours, for users who have no trace of their own."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from planner.errors import PlannerError
from planner.traffic import Traffic, place_tokens
from planner.windows import Window, load_time_zone

MOST_JOBS = 10_000_000  # their times alone take 80 MB for each copy


def generate_office_traffic(
    window: Window,
    *,
    clients: int,
    month: str,
    jobs_a_day: float = 20.0,
    token_lead_seconds: float = 1.0,
    seed: int = 1,
) -> Traffic:
    """Return a calendar month of clients that submit jobs at random times while the window is open.

    `month` is a year and a month, such as 2026-11. `jobs_a_day` is the average of one client.

    Raises:
        PlannerError: If an argument is not valid.
    """
    if clients < 1:
        raise PlannerError("clients", f"{clients} is less than 1")
    if not 0 < jobs_a_day < 1e6:
        raise PlannerError("jobs", f"{jobs_a_day:g} a day is not between 0 and a million")
    began, seconds = _parse_month(month, window.timezone)
    spans = window.find_spans(began, seconds)
    if clients * jobs_a_day * len(spans) > MOST_JOBS:
        raise PlannerError("clients, jobs", f"together more than {MOST_JOBS:,} jobs a month")
    submits, submitters = _draw_submits(spans, clients, jobs_a_day, np.random.default_rng(seed))
    if not len(submits):
        raise PlannerError("jobs", "so few that the whole month has none")
    tokens = place_tokens(submits, [str(client) for client in submitters.tolist()], token_lead_seconds)
    return Traffic(submits, np.maximum(tokens, 0.0), began, seconds, month_seconds=seconds)


def _draw_submits(
    spans: list[tuple[float, float]], clients: int, jobs_a_day: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the times of all jobs, sorted, and the number of each job's client."""
    times, submitters = [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
    for opens, closes in spans:
        counts = rng.poisson(jobs_a_day, clients)
        times.append(rng.uniform(opens, closes, counts.sum()))
        submitters.append(np.repeat(np.arange(clients), counts))
    order = np.argsort(np.concatenate(times), kind="stable")
    return np.concatenate(times)[order], np.concatenate(submitters)[order]


def _parse_month(month: str, timezone: str) -> tuple[datetime, float]:
    """Return the first moment of a month in the time zone, as UTC, and the month's length in seconds."""
    zone = load_time_zone(timezone, field="timezone")
    try:
        first = datetime.strptime(month, "%Y-%m").replace(tzinfo=zone)
    except ValueError:
        raise PlannerError("month", f"{month!r} is not a month such as 2026-11") from None
    if not 1970 <= first.year < 2100:
        raise PlannerError("month", f"{month!r} is not between 1970 and 2099")
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return first.astimezone(UTC), following.timestamp() - first.timestamp()
