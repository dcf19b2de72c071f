"""Helpers for strategies that render themselves as Terraform: HCL strings and cron expressions of EventBridge."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise

from planner.windows import DAYS, Window

HOUR, DAY = 60, 24 * 60  # minutes


def quote(text: str) -> str:
    """Return a text as an HCL string."""
    return json.dumps(text, ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")


def render_object(attributes: Mapping[str, str]) -> str:
    """Return an HCL object of rendered values, on one line."""
    return f"{{ {', '.join(f'{name} = {value}' for name, value in attributes.items())} }}"


def render_cron(minute: str, hour: str, window: Window) -> str:
    """Return a cron expression for minutes and hours of a window's days, as an HCL string."""
    return quote(f"cron({minute} {hour} ? * {_render_days(window.days)} *)")


def list_crons(window: Window, every_minutes: int) -> list[str]:
    """Return cron expressions that together match every so many minutes of a window, from its start.

    One expression has the same minutes in each of its hours, so hours with other minutes need another one.
    """
    start, end = (at.hour * HOUR + at.minute for at in (window.start, window.end))
    minutes: dict[int, list[int]] = {}
    for at in range(start, min(max(end, start + 1), DAY), every_minutes):
        minutes.setdefault(at // HOUR, []).append(at % HOUR)
    hours: dict[tuple[int, ...], list[int]] = {}
    for hour, found in minutes.items():
        hours.setdefault(tuple(found), []).append(hour)
    return [render_cron(_render_minutes(found), _render_range(matched), window) for found, matched in hours.items()]


def _render_minutes(minutes: tuple[int, ...]) -> str:
    step = minutes[1] - minutes[0] if len(minutes) > 1 else HOUR
    if len(minutes) > 2 and minutes == tuple(range(minutes[0], HOUR, step)):
        return f"{minutes[0]}/{step}"
    return ",".join(map(str, minutes))


def _render_range(numbers: list[int]) -> str:
    """Return ascending hours as a range if they have no gap, otherwise as a list."""
    if len(numbers) > 1 and all(after - before == 1 for before, after in pairwise(numbers)):
        return f"{numbers[0]}-{numbers[-1]}"
    return ",".join(map(str, numbers))


def _render_days(days: tuple[str, ...]) -> str:
    numbers = sorted({DAYS.index(day) for day in days})
    if len(numbers) > 1 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{DAYS[numbers[0]]}-{DAYS[numbers[-1]]}"
    return ",".join(DAYS[number] for number in numbers)
