"""Which way of warming to buy: a simulator and cost model of the strategies, over one's own traffic.

`main` is the command line, `plans.plan` what it is made of.
"""

from planner.command import main

__all__ = ["main"]
