"""The error that the planner raises for invalid input."""

from __future__ import annotations


class PlannerError(Exception):
    """A problem with the planner's input. The message starts with the field; the command line shows no traceback."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
