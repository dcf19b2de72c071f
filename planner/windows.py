"""Windows: weekly hours in a time zone, such as Monday to Friday, 09:00 to 17:00 in London."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, model_validator

from planner.errors import PlannerError

DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


def load_time_zone(name: str, *, field: str) -> ZoneInfo:
    """Return the time zone with an IANA name, such as Europe/London.

    Raises:
        PlannerError: If no time zone has this name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a path, a folder of zones or an empty name
        raise PlannerError(field, f"there is no time zone {name!r}; a valid name is Europe/London") from None


class Window(BaseModel):
    """The same hours on some days of the week, by the wall clock of a time zone. It ends on the day it starts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    days: Annotated[tuple[str, ...], Field(min_length=1)] = DAYS[:5]
    start: time = time(9)
    end: time = time(17)
    timezone: str = "UTC"

    @model_validator(mode="after")
    def _check(self) -> Window:
        if unknown := set(self.days) - set(DAYS):
            raise ValueError(f"days: {', '.join(sorted(unknown))} is none of {', '.join(DAYS)}")
        if self.start.tzinfo or self.end.tzinfo:
            raise ValueError("start, end: remove the offset from UTC; `timezone` sets it")
        if self.end <= self.start:
            raise ValueError(f"end: {self.end:%H:%M} is not after the start, {self.start:%H:%M}")
        try:
            load_time_zone(self.timezone, field="timezone")
        except PlannerError as error:
            raise ValueError(str(error)) from None
        return self

    def find_spans(self, began: datetime, seconds: float) -> list[tuple[float, float]]:
        """Return the times when the window is open in the `seconds` after `began`.

        Each is (start, end) in seconds since `began`, in the order of time.
        """
        zone = load_time_zone(self.timezone, field="timezone")
        day, last = began.astimezone(zone).date() - timedelta(1), began + timedelta(seconds=seconds)
        spans = []
        while day <= last.astimezone(zone).date():
            if DAYS[day.weekday()] in self.days:
                spans.append(self._find_span(day, zone, began))
            day += timedelta(1)
        clipped = [(max(start, 0.0), min(end, seconds)) for start, end in spans]
        return [(start, end) for start, end in clipped if start < end]

    def _find_span(self, day: date, zone: ZoneInfo, began: datetime) -> tuple[float, float]:
        start, end = (datetime.combine(day, at, zone) for at in (self.start, self.end))
        return start.timestamp() - began.timestamp(), end.timestamp() - began.timestamp()


def find_open_spans(windows: tuple[Window, ...], *, began: datetime, seconds: float) -> list[tuple[float, float]]:
    """Return the times when any window is open, as (start, end) in seconds since `began`.

    Without windows, return one span over all the `seconds`.
    """
    if not windows:
        return [(0.0, seconds)]
    return sorted(span for window in windows for span in window.find_spans(began, seconds))


def check_overlaps(windows: tuple[Window, ...], *, field: str) -> None:
    """Check that no two windows are open at once.

    Raises:
        PlannerError: If two windows overlap.
    """
    year = (datetime(2024, 1, 1, tzinfo=UTC), 366 * 86_400)  # every overlap happens within a year, in every zone
    spans = sorted((*span, number) for number, window in enumerate(windows) for span in window.find_spans(*year))
    for (_, end, one), (start, _, other) in pairwise(spans):
        if start < end:
            raise PlannerError(f"{field}[{max(one, other)}]", f"it overlaps {field}[{min(one, other)}]")
