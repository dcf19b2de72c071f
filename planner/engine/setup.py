"""The setup of a simulation: strategies add their events and their environments to it before the simulation starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from planner.engine.outcome import Usage
from planner.traffic import Traffic

if TYPE_CHECKING:
    from planner.engine.simulation import Simulation

MINUTE = 60.0

EventHandler = Callable[["Simulation", float], None]  # called with the simulation and the event's time


class EventOrder(IntEnum):
    """Kinds of events, in the order in which events of the same time happen."""

    CLOSE = 0  # environments go away
    OPEN = 1  # environments come
    SCALE = 2  # a strategy looks at the number of waiting jobs
    PING = 3  # a schedule starts a warm-up
    TOKEN = 4
    SUBMIT = 5


@dataclass(frozen=True)
class EventSource:
    """Events from outside the simulation. The engine calls `handle` at each of the times."""

    order: EventOrder
    times: NDArray[np.float64]
    handle: EventHandler


class EnvironmentGroup(Protocol):
    """Environments of one kind, such as the on-demand ones.

    `is_lambda` says whether Lambda runs them. If so, they count against the limits, and pings reach them.
    """

    is_lambda: bool

    def release(self, at: float, environment: int) -> None:
        """Take back an environment that has finished its work."""

    def finish(self, end: float, *, busy_seconds: float) -> None:
        """Add the used amounts to the usage. `end` is the traffic's end, `busy_seconds` the total run time of jobs."""


class Capacity(EnvironmentGroup, Protocol):
    """Environments that one strategy keeps, besides the on-demand environments of Lambda.

    `idle` holds the numbers of those that can take a job. It must always be the same list.
    """

    idle: list[int]

    def start(self, simulation: Simulation, first_number: int) -> None:
        """Begin the simulation. The environments must be numbered from `first_number`."""


class Setup:
    """The parts of a simulation that strategies may change before it starts."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.usage = Usage(seconds=traffic.seconds, jobs=len(traffic.submits), tokens=len(traffic.tokens))
        self.sources: list[EventSource] = []
        self.minute_handlers: list[EventHandler] = []
        self.capacities: list[Capacity] = []
        self.is_lambda_polling = True  # False: Lambda takes no jobs from the queue
        self.has_snapshots = False  # True: environments start from a snapshot with the model loaded
        self.is_assigning_jobs = True  # True: a job that is submitted during a warm-up is assigned to the warm-up

    def add_events(self, order: EventOrder, times: NDArray[np.float64], handle: EventHandler) -> None:
        """Let the engine call `handle` at each of the times, in seconds since the traffic began."""
        self.sources.append(EventSource(order, times, handle))

    def add_minute_handler(self, handle: EventHandler) -> None:
        """Let the engine call `handle` each minute, also after the traffic's end while jobs wait."""
        self.minute_handlers.append(handle)
        self.add_events(EventOrder.SCALE, np.arange(MINUTE, self.traffic.seconds, MINUTE), handle)

    def add_capacity(self, capacity: Capacity) -> None:
        """Let jobs run in these environments, too. They take jobs at once, so no job is assigned to a warm-up."""
        self.capacities.append(capacity)
        self.is_assigning_jobs = False
