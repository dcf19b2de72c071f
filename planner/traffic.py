"""Traffic: when jobs and tokens arrive. From a file of events, an Azure-shaped trace, or a profile of office hours."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.errors import PlannerError
from planner.windows import Window, time_zone

TOKEN_SECONDS = 3_600  # how long a token is good for
EVENTS, AZURE = ["timestamp", "event"], ["app", "func", "end_timestamp", "duration"]
EPOCH = datetime(2021, 1, 31, tzinfo=UTC)  # where a trace's own seconds begin: the Azure trace's first day
LEAST_SECONDS, MOST_SECONDS = 60.0, 366 * 86_400.0
RUN_SECONDS = 86_400.0  # more than any function may run
MOST_JOBS = 10_000_000  # of a profile; their times alone take 80 MB each time they are copied
MONTH_SECONDS = 365.25 / 12 * 86_400


@dataclass(frozen=True)
class Traffic:
    """Times in seconds since `began`, in order; `runs` are the jobs' own run times in seconds, if they are known."""

    submits: NDArray[np.float64]
    tokens: NDArray[np.float64]
    began: datetime
    seconds: float
    runs: NDArray[np.float64] | None = None
    month_seconds: float = MONTH_SECONDS

    @property
    def per_month(self) -> float:
        """What counts over all of it are multiplied by to be those of a month."""
        return self.month_seconds / self.seconds


def read(path: Path, *, token_lead_seconds: float = 1.0) -> Traffic:
    """Traffic of a CSV file, by its header: `timestamp,event` or `app,func,end_timestamp,duration`.

    The first has a line per token and per submit, with times in seconds since the epoch or in RFC 3339. The second, the
    shape of the Azure Functions trace of 2021, has no tokens: each app is taken for a client that fetches one
    `token_lead_seconds` before its first job, and again when it has run out.

    Raises:
        PlannerError: when it cannot be read or used; the message says in which line.
    """
    try:
        # What is no UTF-8 is then refused by its line and field; an app's name may be anything.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            return _traffic(_rows(file), path, token_lead_seconds)
    except OSError as error:
        raise PlannerError("traffic", f"{path} cannot be read: {error.strerror}") from None


def _traffic(rows: Iterator[tuple[int, list[str]]], path: Path, lead: float) -> Traffic:
    _, header = next(rows, (1, []))
    header = [name.strip() for name in header]
    if header == EVENTS:
        return _events(_lines(rows, EVENTS))
    if header == AZURE:
        return _azure(_lines(rows, AZURE), lead)
    raise _bad(1, "header", f"{path} must begin with {','.join(EVENTS)} or {','.join(AZURE)}")


def _rows(file: Any) -> Iterator[tuple[int, list[str]]]:
    """The rows, each with the number of its first line: what is quoted may go over several."""
    rows = csv.reader(file)
    while True:
        number = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise _bad(number, "row", str(error)) from None
        if row is None:
            return
        yield number, row


def _lines(rows: Iterator[tuple[int, list[str]]], header: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The rows as their header has them; empty ones are left out."""
    for number, row in rows:
        if len(row) < 2 and not "".join(row).strip():
            continue
        if len(row) != len(header):
            raise _bad(number, "row", f"{len(row)} fields instead of {len(header)}")
        yield number, row


def _bad(line: int, field: str, problem: str) -> PlannerError:
    return PlannerError(f"traffic, line {line}, {field}", problem)


def _events(lines: Iterator[tuple[int, list[str]]]) -> Traffic:
    kinds: dict[str, list[float]] = {"submit": [], "token": []}
    ordered = _ordered("timestamp")
    for number, (stamp, event) in lines:
        at = ordered(number, _time(number, stamp))
        if event.strip() not in kinds:
            raise _bad(number, "event", f"{event!r} is neither token nor submit")
        kinds[event.strip()].append(at)
    submits, tokens = np.array(kinds["submit"]), np.array(kinds["token"])
    if not len(submits):
        raise PlannerError("traffic", "there is no submit in it")
    first, last = float(min([submits[0], *tokens[:1]])), float(max([submits[-1], *tokens[-1:]]))
    seconds = _length(first, last)
    return Traffic(submits - first, tokens - first, datetime.fromtimestamp(first, UTC), seconds)


def _length(first: float, last: float) -> float:
    """Of a trace, in seconds."""
    if last - first > MOST_SECONDS:
        raise PlannerError("traffic", f"it goes over {(last - first) / 86_400:,.0f} days, and 366 are the most")
    return max(last - first, LEAST_SECONDS)


def _ordered(field: str) -> Callable[[int, float], float]:
    last = -math.inf

    def check(line: int, at: float) -> float:
        nonlocal last
        if at < last:
            raise _bad(line, field, f"{at:.3f} is before the line above, {last:.3f}: sort the file by time")
        last = at
        return at

    return check


def _time(line: int, stamp: str) -> float:
    """Seconds since the epoch."""
    try:
        return _number(line, "timestamp", stamp)
    except PlannerError:
        try:
            at = datetime.fromisoformat(stamp.strip())
        except ValueError:
            raise _bad(line, "timestamp", f"{stamp!r} is neither seconds since the epoch nor RFC 3339") from None
    if at.tzinfo is None:
        raise _bad(line, "timestamp", f"{stamp!r} has no offset from UTC")
    return _number(line, "timestamp", repr(at.timestamp()))


def _number(line: int, field: str, text: str, *, below: float = 1e11) -> float:
    try:
        number = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        number = math.nan
    if not 0 <= number < below:
        problem = "is negative" if number < 0 else f"is no number of seconds below {below:,.0f}"
        raise _bad(line, field, f"{text!r} {problem}")
    return number


def _azure(lines: Iterator[tuple[int, list[str]]], lead: float) -> Traffic:
    apps: list[str] = []
    ends, durations = [], []
    ordered = _ordered("end_timestamp")
    for number, (app, _, end, duration) in lines:
        ends.append(ordered(number, _number(number, "end_timestamp", end)))
        durations.append(_number(number, "duration", duration, below=RUN_SECONDS))
        apps.append(app)
    if not ends:
        raise PlannerError("traffic", "there is no invocation in it")
    starts = np.array(ends) - np.array(durations)
    order = np.argsort(starts, kind="stable")
    starts, runs = starts[order], np.array(durations)[order]
    tokens = _tokens(starts, [apps[number] for number in order], lead)
    first = float(min(starts[0], tokens[0]))
    seconds = _length(first, float(starts[-1]))
    began = datetime.fromtimestamp(EPOCH.timestamp() + first, UTC)
    return Traffic(starts - first, tokens - first, began, seconds, runs)


def _tokens(submits: NDArray[np.float64], clients: list[str], lead: float) -> NDArray[np.float64]:
    """When clients fetch tokens: before their first job, and before one that the last token is too old for."""
    fetched: dict[str, float] = {}
    times = []
    for at, client in zip(submits.tolist(), clients, strict=True):
        if at - fetched.get(client, -math.inf) >= TOKEN_SECONDS:
            fetched[client] = at - lead
            times.append(at - lead)
    return np.sort(np.array(times))


def office(
    window: Window,
    *,
    clients: int,
    month: str,
    jobs_a_day: float = 20.0,
    token_lead_seconds: float = 1.0,
    seed: int = 1,
) -> Traffic:
    """A calendar month of clients that submit now and then while a window is open.

    Raises:
        PlannerError: when an option cannot be used.
    """
    if clients < 1:
        raise PlannerError("clients", f"{clients} is less than 1")
    if not 0 < jobs_a_day < 1e6:
        raise PlannerError("jobs", f"{jobs_a_day:g} a day is not between 0 and a million")
    began, seconds = _month(month, window.timezone)
    spans = window.spans(began, seconds)
    if clients * jobs_a_day * len(spans) > MOST_JOBS:
        raise PlannerError("clients, jobs", f"together more than {MOST_JOBS:,} jobs a month")
    chance = np.random.default_rng(seed)
    times, owners = [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
    for opens, closes in spans:
        counts = chance.poisson(jobs_a_day, clients)
        times.append(chance.uniform(opens, closes, counts.sum()))
        owners.append(np.repeat(np.arange(clients), counts))
    order = np.argsort(np.concatenate(times), kind="stable")
    submits, by = np.concatenate(times)[order], np.concatenate(owners)[order]
    if not len(submits):
        raise PlannerError("jobs", "so few that there is none in the whole month")
    tokens = _tokens(submits, [str(one) for one in by.tolist()], token_lead_seconds)
    return Traffic(submits, np.maximum(tokens, 0.0), began, seconds, month_seconds=seconds)


def _month(month: str, timezone: str) -> tuple[datetime, float]:
    """The first moment of a month such as 2026-11, and how long it is in seconds."""
    zone = time_zone(timezone, field="timezone")
    try:
        first = datetime.strptime(month, "%Y-%m").replace(tzinfo=zone)
    except ValueError:
        raise PlannerError("month", f"{month!r} is no month such as 2026-11") from None
    if not 1970 <= first.year < 2100:
        raise PlannerError("month", f"{month!r} is not between 1970 and 2099")
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return first.astimezone(UTC), following.timestamp() - first.timestamp()
