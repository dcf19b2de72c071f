"""The planner: a simulator and cost model of warming strategies, for a user's own traffic.

`main` is the command line. `planner.comparison.compare` is the same for Python code.
"""

from planner.command import main

__all__ = ["main"]
