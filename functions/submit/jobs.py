"""What the API does with jobs: submit and get; every call is for one client and sees that client's jobs only."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from pydantic_core import to_json

from shared import aws
from shared.errors import NotFound, Transient
from shared.log import logger
from shared.models import AnalyzeRequest, Job, Message, Model, new_job_id
from shared.store import DEADLINE_MS, LIFETIME_SECONDS

RESULT_URL_SECONDS = 900
SOLO_CHARACTERS = 50_000  # a job above this goes to the lane `solo`
POLL_FIRST_SECONDS = 0.04
POLL_LAST_SECONDS = 0.5


class Jobs(Protocol):
    """Where jobs are kept."""

    def create(self, job: Job, payload: bytes) -> None:
        """Store the input, then the job."""

    def get(self, job_id: str, *, now: int) -> Job | None:
        """The job, None when there is none at `now` (ms)."""

    def result(self, job: Job) -> bytes:
        """The result kept beside the job, as JSON."""


class Lane(Protocol):
    """Where messages go."""

    def send(self, message: Message, *, client_id: str) -> None:
        """Queue a message."""


class Results(Protocol):
    """Where big results are."""

    def presigned_get(self, key: str, *, seconds: int) -> str:
        """A URL that reads `key` for `seconds`."""


def _now() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class JobService:
    """Jobs as clients see them."""

    jobs: Jobs
    lane: Lane
    solo: Lane
    results: Results
    model: Model
    base_url: str
    now: Callable[[], int] = _now
    sleep: Callable[[float], None] = time.sleep

    def submit(self, client_id: str, request: AnalyzeRequest) -> Job:
        """Store the job, then queue it.

        Raises:
            Transient: when the job is not known to be stored; the client may submit again.
        """
        job = self._new_job(client_id, request)
        self.jobs.create(job, to_json({"documents": [document.model_dump() for document in request.sources]}))
        lane = self.solo if request.characters > SOLO_CHARACTERS else self.lane
        try:
            lane.send(Message(job=job.id, run=job.run), client_id=client_id)
        except Transient as error:
            # The job is stored, so it is accepted: the janitor queues what no message was sent for.
            logger.warning("Job stored but not queued", job=job.id, reason=str(error))
        logger.info("Job queued", job=job.id, characters=job.characters)
        return job

    def get(self, client_id: str, job_id: str, *, wait_seconds: float = 0) -> Job:
        """The client's job, as soon as it is terminal but after at most `wait_seconds`.

        Raises:
            NotFound: when there is no such job, or it is another client's.
            Transient: when the store is busy or away.
        """
        until = self.now() + int(wait_seconds * 1000)
        pause = POLL_FIRST_SECONDS
        while True:
            now = self.now()
            job = self.jobs.get(job_id, now=now)
            if job is None or job.client_id != client_id:
                raise NotFound("There is no such job")
            if job.is_terminal or now >= until:
                return job
            self.sleep(min(pause, (until - now) / 1000))
            pause = min(pause * 1.25, POLL_LAST_SECONDS)

    def view(self, job: Job) -> dict[str, Any]:
        """The job as the API shows it, with its result or the URL of it.

        Raises:
            Transient: when the result cannot be read now.
        """
        shown = {
            "id": job.id,
            "status": job.status,
            "created_at": _time(job.created_at),
            "started_at": _time(job.started_at),
            "completed_at": _time(job.completed_at),
            "deadline": _time(job.deadline),
            "expires_at": _time(job.expires_at * 1000),
            "run": job.run,
            "attempt": job.attempt,
            "model": job.model.model_dump(),
            "features": job.features,
            "progress": job.progress.model_dump(),
            "error": job.failure.model_dump() if job.failure else None,
            "metrics": job.metrics.model_dump(exclude_none=True),
            "links": {"self": f"{self.base_url}/jobs/{job.id}"},
        }
        return {name: value for name, value in {**shown, **self._result(job)}.items() if value is not None}

    def _result(self, job: Job) -> dict[str, Any]:
        if job.result_key:
            return {"result_url": self.results.presigned_get(job.result_key, seconds=RESULT_URL_SECONDS)}
        if not job.result_part:
            return {}
        try:
            return {"result": json.loads(self.jobs.result(job))}
        except aws.Missing:
            raise NotFound("The result of this job has expired") from None

    def _new_job(self, client_id: str, request: AnalyzeRequest) -> Job:
        now = self.now()
        return Job(
            id=new_job_id(now),
            client_id=client_id,
            features=request.features,
            model=self.model,
            characters=request.characters,
            created_at=now,
            deadline=now + DEADLINE_MS,
            expires_at=now // 1000 + LIFETIME_SECONDS,
        )


def _time(milliseconds: int | None) -> str | None:
    """RFC 3339 in UTC, to the millisecond."""
    if milliseconds is None:
        return None
    instant = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
