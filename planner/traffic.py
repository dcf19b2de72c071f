"""Traffic: the times of submitted jobs and of issued tokens, read from a CSV file."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from planner.errors import PlannerError

TOKEN_SECONDS = 3_600  # the lifetime of a token
EVENTS, AZURE = ["timestamp", "event"], ["app", "func", "end_timestamp", "duration"]
EPOCH = datetime(2021, 1, 31, tzinfo=UTC)  # time zero of the Azure trace: its first day
LEAST_SECONDS, MOST_SECONDS = 60.0, 366 * 86_400.0
RUN_SECONDS = 86_400.0  # an upper limit; no function may run so long
MONTH_SECONDS = 365.25 / 12 * 86_400

Rows = Iterator[tuple[int, list[str]]]  # each with the number of its first line


@dataclass(frozen=True)
class Traffic:
    """Times in seconds since `began`, in order. `runs` holds each job's run time in seconds, if the file has it."""

    submits: NDArray[np.float64]
    tokens: NDArray[np.float64]
    began: datetime
    seconds: float
    runs: NDArray[np.float64] | None = None
    month_seconds: float = MONTH_SECONDS

    @property
    def monthly_factor(self) -> float:
        """Return the factor that turns an amount of the whole traffic into the amount of a month."""
        return self.month_seconds / self.seconds


def read_traffic(path: Path, *, token_lead_seconds: float = 1.0) -> Traffic:
    """Return the traffic of a CSV file. The header decides which of two formats the file has.

    `timestamp,event` has a line per token and per submit. A time is in seconds since the epoch, or in RFC 3339.
    `app,func,end_timestamp,duration` is the format of the Azure Functions trace of 2021. It has no tokens, so each app
    counts as a client. The client fetches a token `token_lead_seconds` before its first job, and again when the token
    has expired.

    Raises:
        PlannerError: If the file cannot be read, or its content is not valid. The message names the line.
    """
    try:
        # `surrogateescape` lets a field that is not UTF-8 reach the check that names its line.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            return _parse(_number_rows(file), path, token_lead_seconds)
    except OSError as error:
        raise PlannerError("traffic", f"{path} cannot be read: {error.strerror}") from None


def place_tokens(submits: NDArray[np.float64], clients: list[str], lead: float) -> NDArray[np.float64]:
    """Return the times when clients fetch tokens, sorted.

    A client fetches one `lead` seconds before its first job, and before each job that finds the last token expired.
    """
    fetched: dict[str, float] = {}
    times = []
    for at, client in zip(submits.tolist(), clients, strict=True):
        if at - fetched.get(client, -math.inf) >= TOKEN_SECONDS:
            fetched[client] = at - lead
            times.append(at - lead)
    return np.sort(np.array(times))


def _parse(rows: Rows, path: Path, lead: float) -> Traffic:
    _, header = next(rows, (1, []))
    header = [name.strip() for name in header]
    if header == EVENTS:
        return _parse_events(_check_widths(rows, EVENTS))
    if header == AZURE:
        return _parse_azure(_check_widths(rows, AZURE), lead)
    raise _error(1, "header", f"{path} must begin with {','.join(EVENTS)} or {','.join(AZURE)}")


def _number_rows(file: TextIO) -> Rows:
    """Yield the rows, each with the number of its first line. A quoted field may span lines."""
    rows = csv.reader(file)
    while True:
        number = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise _error(number, "row", str(error)) from None
        if row is None:
            return
        yield number, row


def _check_widths(rows: Rows, header: list[str]) -> Rows:
    """Yield the rows without the empty ones, and refuse a row that has more or fewer fields than the header."""
    for number, row in rows:
        if len(row) < 2 and not "".join(row).strip():
            continue
        if len(row) != len(header):
            raise _error(number, "row", f"{len(row)} fields instead of {len(header)}")
        yield number, row


def _error(line: int, field: str, problem: str) -> PlannerError:
    return PlannerError(f"traffic, line {line}, {field}", problem)


def _parse_events(rows: Rows) -> Traffic:
    kinds: dict[str, list[float]] = {"submit": [], "token": []}
    check_order = _make_order_check("timestamp")
    for number, (stamp, event) in rows:
        at = check_order(number, _parse_time(number, stamp))
        if event.strip() not in kinds:
            raise _error(number, "event", f"{event!r} is neither token nor submit")
        kinds[event.strip()].append(at)
    submits, tokens = np.array(kinds["submit"]), np.array(kinds["token"])
    if not len(submits):
        raise PlannerError("traffic", "there is no submit in the file")
    first, last = float(min([submits[0], *tokens[:1]])), float(max([submits[-1], *tokens[-1:]]))
    seconds = _measure_length(first, last)
    return Traffic(submits - first, tokens - first, datetime.fromtimestamp(first, UTC), seconds)


def _measure_length(first: float, last: float) -> float:
    """Return the length of a trace in seconds, at least `LEAST_SECONDS`."""
    if last - first > MOST_SECONDS:
        raise PlannerError("traffic", f"the file spans {(last - first) / 86_400:,.0f} days; the maximum is 366")
    return max(last - first, LEAST_SECONDS)


def _make_order_check(field: str) -> Callable[[int, float], float]:
    """Return a function that refuses a time before the one of its last call."""
    last = -math.inf

    def check(line: int, at: float) -> float:
        nonlocal last
        if at < last:
            raise _error(line, field, f"{at:.3f} is before the line above, {last:.3f}: sort the file by time")
        last = at
        return at

    return check


def _parse_time(line: int, stamp: str) -> float:
    """Return a time as seconds since the epoch."""
    try:
        return _parse_seconds(line, "timestamp", stamp)
    except PlannerError:
        try:
            at = datetime.fromisoformat(stamp.strip())
        except ValueError:
            raise _error(line, "timestamp", f"{stamp!r} is neither seconds since the epoch nor RFC 3339") from None
    if at.tzinfo is None:
        raise _error(line, "timestamp", f"{stamp!r} has no offset from UTC")
    return _parse_seconds(line, "timestamp", repr(at.timestamp()))


def _parse_seconds(line: int, field: str, text: str, *, below: float = 1e11) -> float:
    try:
        number = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        number = math.nan
    if not 0 <= number < below:
        problem = "is negative" if number < 0 else f"is not a number of seconds below {below:,.0f}"
        raise _error(line, field, f"{text!r} {problem}")
    return number


def _parse_azure(rows: Rows, lead: float) -> Traffic:
    apps: list[str] = []
    ends, durations = [], []
    check_order = _make_order_check("end_timestamp")
    for number, (app, _, end, duration) in rows:
        ends.append(check_order(number, _parse_seconds(number, "end_timestamp", end)))
        durations.append(_parse_seconds(number, "duration", duration, below=RUN_SECONDS))
        apps.append(app)
    if not ends:
        raise PlannerError("traffic", "there is no invocation in the file")
    starts = np.array(ends) - np.array(durations)
    order = np.argsort(starts, kind="stable")
    starts, runs = starts[order], np.array(durations)[order]
    tokens = place_tokens(starts, [apps[number] for number in order], lead)
    first = float(min(starts[0], tokens[0]))
    seconds = _measure_length(first, float(starts[-1]))
    began = datetime.fromtimestamp(EPOCH.timestamp() + first, UTC)
    return Traffic(starts - first, tokens - first, began, seconds, runs)
