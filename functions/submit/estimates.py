"""When a job will be done, and why it is not yet. All of it estimates, from what the worker noted a moment ago."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from shared.errors import Transient
from shared.log import logger
from shared.models import Job, Message, Progress, Warmth
from shared.pace import Pace
from shared.warmup import Round

READ_AGAIN_MS = 2_000  # notes are that fresh at least
RETRY_AFTER_LIMIT_SECONDS = 60

StatusReason = Literal["queued", "warming", "retrying"]


class Rounds(Protocol):
    """Where warm-up rounds are kept."""

    def latest(self, version: str) -> Round:
        """The latest round of a worker version."""

    def wait(self, latest: Round, message: Message) -> bool:
        """Leave `message` to the environment that gets ready next; False when one has since `latest` was read."""


class Paces(Protocol):
    """Where the lanes' paces are noted."""

    def latest(self, lane: str) -> Pace:
        """The lane's latest pace."""


@dataclass(frozen=True)
class Estimate:
    """Why a job is not done, and in how many seconds it should be; None where nothing is known."""

    reason: StatusReason | None
    eta_seconds: int | None

    @property
    def retry_after_seconds(self) -> int:
        """When it is worth to ask again."""
        return min(self.eta_seconds or 1, RETRY_AFTER_LIMIT_SECONDS)


@dataclass
class _Noted:
    """What was read last, and when."""

    at: int = 0
    round: Round | None = None
    paces: dict[str, Pace] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimates:
    """Reads what the worker noted, at most every few seconds."""

    rounds: Rounds
    paces: Paces
    worker_version: str
    waits_for_warming: bool  # whether only an environment that is warming up can take a job then
    now: Callable[[], int]
    _noted: _Noted = field(default_factory=_Noted)

    def warmth(self) -> Warmth:
        """How warm the worker is; cold when nobody knows."""
        latest = self._read().round
        return (latest or Round(id="")).warmth(self.now())

    def leave(self, message: Message) -> bool:
        """Leave a new job to the environment that is warming up; False when its message is to be sent.

        That environment is busy loading: a message would begin a second cold one beside it. It does what was left to it
        as soon as it is ready; when it dies before, the janitor finds the job waiting as if its message had been lost.
        Where jobs ran within the last minute there are environments that can take it. Where none did a round may have
        begun a moment ago: what was read before is not good enough.
        """
        noted, now = self._read(), self.now()
        is_running = any(pace.is_fresh(now) for pace in noted.paces.values())
        if not self.waits_for_warming or is_running or self.warmth().state == "warm":
            return False
        noted.round = self._latest_round()
        if noted.round is None or self.warmth().state != "warming":
            return False
        try:
            return self.rounds.wait(noted.round, message)
        except Transient as error:
            logger.warning("A job cannot wait for the warm-up", job=message.job, reason=str(error))
            return False

    def of(self, job: Job, progress: Progress) -> Estimate:
        """The estimate for an open job."""
        if job.status == "running":
            return self._of_running(job, progress)
        now = self.now()
        noted = self._read()
        pace = noted.paces[job.first_lane]
        waited = now - job.queued_at
        left: float = pace.wait_ms + pace.run_ms - waited if pace.is_fresh(now) else 0
        warmth = self.warmth()
        is_warming = warmth.state == "warming"
        if is_warming:
            left = max(left, (warmth.ready_in_seconds or 0) * 1000)
        elif warmth.state == "cold" and not pace.is_fresh(now):
            # Nothing runs: the job's own message is starting an environment.
            is_warming = True
            left = (noted.round or Round(id="")).ready_ms - waited
        reason: StatusReason = "retrying" if job.attempt else "warming" if is_warming else "queued"
        return Estimate(reason, max(1, math.ceil(left / 1000)))

    def _of_running(self, job: Job, progress: Progress) -> Estimate:
        now = self.now()
        if job.lease is not None and job.lease < now:
            return Estimate("retrying", None)
        elapsed = now - (job.started_at or now)
        if progress.total > 1:
            left = elapsed / progress.done * (progress.total - progress.done) if progress.done else None
        else:
            pace = self._read().paces[job.first_lane]
            left = pace.run_ms - elapsed if pace.is_fresh(now) else None
        return Estimate(None, None if left is None else max(1, math.ceil(left / 1000)))

    def _latest_round(self) -> Round | None:
        try:
            return self.rounds.latest(self.worker_version)
        except Transient as error:
            logger.warning("The warm-up round cannot be read", reason=str(error))
            return None

    def _read(self) -> _Noted:
        noted = self._noted
        if noted.at > self.now() - READ_AGAIN_MS:
            return noted
        noted.at = self.now()
        try:
            noted.round = self._latest_round()
            noted.paces = {lane: self.paces.latest(lane) for lane in ("jobs", "solo")}
        except Transient as error:
            logger.warning("Estimates are made without what the worker noted", reason=str(error))
            noted.paces = {"jobs": Pace(), "solo": Pace(), **noted.paces}
        return noted
