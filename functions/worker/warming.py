"""A warm-up ping, and what is done before the first: whatever a job needs is loaded and used once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from shared.clock import now_ms
from shared.errors import Transient
from shared.log import logger
from shared.models import Message, WarmUp
from shared.warmup import Environment, Round

if TYPE_CHECKING:
    from functions.worker.pipeline import Pipeline

HOLD_MS = 3_000  # an environment waits for the others of its round until so long after it began
LOOK_SECONDS = 0.1
LOOK_SECONDS_EACH = 0.01  # of an environment of the round: all of them look at one item
_T = TypeVar("_T")
_TEXT = "Ada Lovelace wrote the first program in London."


class Rounds(Protocol):
    """Where warm-up rounds are kept."""

    def of(self, key: str) -> Round: ...  # noqa: D102
    def arrive(self, ping: WarmUp, environment_id: str, *, now: int) -> None: ...  # noqa: D102
    def ready(  # noqa: D102
        self, ping: WarmUp, environment_id: str, environment: Environment, *, ready_ms: int
    ) -> list[Message]: ...


@dataclass(frozen=True)
class Warming:
    """Of one environment.

    `load` gives the model, and the milliseconds spent on loading it just now; `work` does what messages ask for.
    """

    rounds: Rounds
    load: Callable[[], tuple[Pipeline, int]]
    work: Callable[[Sequence[Message]], None]
    init_ms: int = 0
    is_prepared: bool = False  # before the first invoke, as with SnapStart
    now: Callable[[], int] = now_ms
    sleep: Callable[[float], None] = time.sleep
    _answered: list[str] = field(default_factory=list)  # the rounds that this environment has answered

    def answer(self, ping: WarmUp, environment_id: str) -> None:
        """Register with the ping's round, get ready, say so, do what has waited, leave the other pings to others.

        Raises:
            ModelError, Transient: when there is no model; the round then counts an environment that is not ready.
        """
        self._try(lambda: self.rounds.arrive(ping, environment_id, now=self.now()))
        load_ms = self.prepare()
        now = self.now()
        # What was loaded before the first ping was loaded for it: that, too, says how long a new environment takes.
        is_new = load_ms > 0 or (self.is_prepared and not self._answered)
        self._answered[:] = [ping.round]
        environment = Environment(ready_at=now, cold=is_new, load_ms=load_ms, init_ms=self.init_ms)
        ready_ms = max(0, now - ping.began_at)
        waiting = self._try(lambda: self.rounds.ready(ping, environment_id, environment, ready_ms=ready_ms))
        logger.info("Warm", environment=environment_id, cold=is_new, load_ms=load_ms, waiting=len(waiting or ()))
        if waiting:
            self.work(waiting)
        self._hold(ping)

    def prepare(self) -> int:
        """Load the model and run a short text, so that nothing is left for the first job; the load's milliseconds."""
        pipeline, load_ms = self.load()
        pipeline.run([(_TEXT, ("ents", "sents", "tokens"))])
        return load_ms

    def _hold(self, ping: WarmUp) -> None:
        """Stay busy until the round's other pings are placed: an idle environment would be given them, too."""
        until = ping.began_at + HOLD_MS
        pause = max(LOOK_SECONDS, ping.environments * LOOK_SECONDS_EACH)
        while self.now() < until:
            latest = self._try(lambda: self.rounds.of(ping.key))
            if latest and (latest.round != ping.round or latest.is_gathered):
                return
            self.sleep(pause)

    def _try(self, call: Callable[[], _T]) -> _T | None:
        try:
            return call()
        except Transient as error:
            logger.warning("The warm-up round cannot be reached", reason=str(error))
            return None
