"""Options of the command line; what is wrong with one is said in a line."""

from __future__ import annotations

import argparse
from typing import NoReturn

from planner.errors import PlannerError


class Parser(argparse.ArgumentParser):
    """Says what is wrong with its arguments as the planner says everything else; `--help` says how they are used."""

    def error(self, message: str) -> NoReturn:
        """Called with what is wrong.

        Raises:
            PlannerError: always.
        """
        raise PlannerError("options", message)


def whole(field: str, number: int, *, least: int = 1, most: int | None = None) -> int:
    """A whole number within its bounds.

    Raises:
        PlannerError: when it is not.
    """
    if number < least:
        raise PlannerError(field, f"{number} is less than {least}")
    if most is not None and number > most:
        raise PlannerError(field, f"{number} is more than {most:,}")
    return number


def seconds(field: str, number: float, *, least: float, below: float) -> float:
    """Seconds from `least` to less than `below`.

    Raises:
        PlannerError: when they are not, which includes what is no number.
    """
    if not least <= number < below:
        raise PlannerError(field, f"{number:g} s is not between {least:g} and {below:,.0f} s")
    return number
