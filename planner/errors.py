"""What stops the planner in a way that its user can do something about."""

from __future__ import annotations


class PlannerError(Exception):
    """What is wrong with the input. The message names the field; it is for a person, who needs no traceback."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
