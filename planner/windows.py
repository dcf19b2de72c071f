"""Windows of a week in a time zone, such as Monday to Friday, 09:00 to 17:00 in London."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, model_validator

from planner.errors import PlannerError

DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


def time_zone(name: str, *, field: str) -> ZoneInfo:
    """The time zone of an IANA name.

    Raises:
        PlannerError: when there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a path, a folder of zones or an empty name
        raise PlannerError(field, f"there is no time zone {name!r}; one is Europe/London, for example") from None


class Window(BaseModel):
    """The same hours of some days of the week, by the wall clock of a time zone; it ends on the day it starts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    days: Annotated[tuple[str, ...], Field(min_length=1)] = DAYS[:5]
    start: time = time(9)
    end: time = time(17)
    timezone: str = "UTC"

    @model_validator(mode="after")
    def _valid(self) -> Window:
        if unknown := set(self.days) - set(DAYS):
            raise ValueError(f"days: {', '.join(sorted(unknown))} is none of {', '.join(DAYS)}")
        if self.start.tzinfo or self.end.tzinfo:
            raise ValueError("start, end: the offset from UTC is that of the time zone")
        if self.end <= self.start:
            raise ValueError(f"end: {self.end:%H:%M} is not after the start, {self.start:%H:%M}")
        try:
            time_zone(self.timezone, field="timezone")
        except PlannerError as error:
            raise ValueError(str(error)) from None
        return self

    def spans(self, began: datetime, seconds: float) -> list[tuple[float, float]]:
        """When it is open in the `seconds` after `began`: (start, end) in seconds since `began`, in order."""
        zone = time_zone(self.timezone, field="timezone")
        day, last = began.astimezone(zone).date() - timedelta(1), began + timedelta(seconds=seconds)
        found = []
        while day <= last.astimezone(zone).date():
            if DAYS[day.weekday()] in self.days:
                start, end = (datetime.combine(day, at, zone) for at in (self.start, self.end))
                found.append((start.timestamp() - began.timestamp(), end.timestamp() - began.timestamp()))
            day += timedelta(1)
        within = [(max(start, 0.0), min(end, seconds)) for start, end in found]
        return [(start, end) for start, end in within if start < end]


def open_spans(windows: tuple[Window, ...], *, began: datetime, seconds: float) -> list[tuple[float, float]]:
    """When any of the windows is open, in seconds since `began`; all the time when there are none."""
    if not windows:
        return [(0.0, seconds)]
    return sorted(span for window in windows for span in window.spans(began, seconds))


def refuse_overlaps(windows: tuple[Window, ...], *, field: str) -> None:
    """See that no two of them are open at once.

    Raises:
        PlannerError: when two are.
    """
    year = (datetime(2024, 1, 1, tzinfo=UTC), 366 * 86_400)  # all overlaps show within a year, in every zone
    spans = sorted((*span, number) for number, window in enumerate(windows) for span in window.spans(*year))
    for (_, end, one), (start, _, other) in pairwise(spans):
        if start < end:
            raise PlannerError(f"{field}[{max(one, other)}]", f"it overlaps {field}[{min(one, other)}]")
