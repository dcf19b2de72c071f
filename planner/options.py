"""The argument parser of the planner, and checks of numbers, with errors that name the option."""

from __future__ import annotations

import argparse
from typing import NoReturn

from planner.errors import PlannerError


class Parser(argparse.ArgumentParser):
    """An argument parser that raises the planner's own error instead of printing its usage and exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise the problem that argparse found.

        Raises:
            PlannerError: Always.
        """
        raise PlannerError("options", message)


def check_count(field: str, number: int, *, least: int = 1, most: int | None = None) -> int:
    """Return a whole number if it is within its bounds, both included.

    Raises:
        PlannerError: If it is not.
    """
    if number < least:
        raise PlannerError(field, f"{number} is less than {least}")
    if most is not None and number > most:
        raise PlannerError(field, f"{number} is more than {most:,}")
    return number


def check_seconds(field: str, number: float, *, least: float, below: float) -> float:
    """Return a number of seconds if it is at least `least` and less than `below`.

    Raises:
        PlannerError: If it is not, or if it is not a number (NaN).
    """
    if not least <= number < below:
        raise PlannerError(field, f"{number:g} s is not between {least:g} and {below:,.0f} s")
    return number
