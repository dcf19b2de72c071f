"""The registry of warming strategies. The command line, the simulation, the costs and the report are derived from it.

To add a strategy, write a module with its class and add the class to `STRATEGIES`. `planner.strategies.protocol` lists
the members that the class needs. Tables show the strategies in the order of the registry.
"""

from planner.strategies.fleet import Fleet
from planner.strategies.on_token import OnToken
from planner.strategies.protocol import Strategy
from planner.strategies.provisioned_concurrency import ProvisionedConcurrency
from planner.strategies.scheduled_pings import ScheduledPings
from planner.strategies.snapstart import SnapStart

STRATEGIES: tuple[type[Strategy], ...] = (OnToken, ScheduledPings, ProvisionedConcurrency, SnapStart, Fleet)

# Strategies that the planner also simulates together, unless the user names others.
TOGETHER: tuple[tuple[type[Strategy], ...], ...] = (
    (OnToken, ScheduledPings),
    (OnToken, SnapStart),
    (OnToken, ProvisionedConcurrency),
)

__all__ = ["STRATEGIES", "TOGETHER", "Fleet", "OnToken", "ProvisionedConcurrency", "ScheduledPings", "SnapStart"]
