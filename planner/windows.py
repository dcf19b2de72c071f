"""Windows of a week in a time zone, such as Monday to Friday, 09:00 to 17:00 in London."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, model_validator

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

    days: tuple[str, ...] = DAYS[:5]
    start: time = time(9)
    end: time = time(17)
    timezone: str = "UTC"

    @model_validator(mode="after")
    def _valid(self) -> Window:
        if unknown := set(self.days) - set(DAYS):
            raise ValueError(f"days: {', '.join(sorted(unknown))} is none of {', '.join(DAYS)}")
        if self.end <= self.start:
            raise ValueError(f"end: {self.end:%H:%M} is not after the start, {self.start:%H:%M}")
        time_zone(self.timezone, field="timezone")
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


def open_spans(
    windows: tuple[Window, ...], *, began: datetime, seconds: float, field: str
) -> list[tuple[float, float]]:
    """When any of the windows is open, in seconds since `began`; all the time when there are none.

    Raises:
        PlannerError: when two of them overlap.
    """
    if not windows:
        return [(0.0, seconds)]
    week = datetime(2024, 1, 1, tzinfo=time_zone("UTC", field=field))  # all overlaps show within a year, in every zone
    _refuse_overlaps(windows, week, 366 * 86_400, field)
    return sorted(span for window in windows for span in window.spans(began, seconds))


def _refuse_overlaps(windows: tuple[Window, ...], began: datetime, seconds: float, field: str) -> None:
    spans = sorted((*span, number) for number, window in enumerate(windows) for span in window.spans(began, seconds))
    for (_, end, one), (start, _, other) in pairwise(spans):
        if start < end:
            raise PlannerError(f"{field}[{max(one, other)}]", f"it overlaps {field}[{min(one, other)}]")
