"""Reading and changing of a client's own jobs. Jobs of other clients do not exist for it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from functions.submit.admission import Admission, Caller
from functions.submit.dispatch import Dispatcher
from functions.submit.webhooks import Webhooks
from shared.errors import Conflict, Gone, NotFound
from shared.jobs.job import Job
from shared.jobs.store import JobStore

POLL_FIRST_SECONDS = 0.04
POLL_LAST_SECONDS = 0.5
POLL_GROWTH = 1.25

_JOB_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DELETED = "You deleted this job. Its input and result are gone."


@dataclass(frozen=True)
class JobService:
    """The jobs of all clients. Every method serves one client."""

    store: JobStore
    admission: Admission
    dispatcher: Dispatcher
    webhooks: Webhooks
    now: Callable[[], int]
    sleep: Callable[[float], None] = time.sleep

    def get(self, client_id: str, job_id: str, *, wait_seconds: float = 0) -> Job:
        """Return the client's job. Wait for the end of its run, at most `wait_seconds`.

        Raises:
            NotFound: If the client has no such job.
            Gone: If the job was deleted.
            Transient: If DynamoDB is throttled or unreachable.
        """
        until = self.now() + int(wait_seconds * 1000)
        pause = POLL_FIRST_SECONDS
        while True:
            now = self.now()
            job = self._get_own(client_id, job_id)
            if job.deleted_at is not None:
                raise Gone(_DELETED)
            if job.is_terminal or now >= until:
                return job
            self.sleep(min(pause, (until - now) / 1000))
            pause = min(pause * POLL_GROWTH, POLL_LAST_SECONDS)

    def cancel(self, client_id: str, job_id: str) -> Job:
        """End an open job at once, and return it.

        Raises:
            Conflict: If its run has ended already.
            NotFound, Gone, Transient: For the reasons that `get` names.
        """
        job = self.get(client_id, job_id)
        if not self.store.cancel(job, now=self.now()):
            status = self.get(client_id, job_id).status
            raise Conflict(f"The job has already ended (status: {status}).")
        self.webhooks.notify(job, "canceled")
        return self.get(client_id, job_id)

    def retry(self, caller: Caller, job_id: str) -> Job:
        """Begin the next run of a job that failed, was canceled or expired, and return it.

        Raises:
            Conflict: If the job is open or has succeeded.
            RateLimited: If the client has too many open jobs.
            NotFound, Gone, Transient: For the reasons that `get` names.
        """
        job = self.get(caller.client_id, job_id)
        if job.status in {"failed", "canceled", "expired"}:
            self.admission.admit_job(caller, 0)
        self.webhooks.ensure_delivery(job)
        retried = self.store.retry(job, now=self.now())
        if retried is None:
            raise Conflict(f"Only a failed, canceled or expired job can be retried (status: {job.status}).")
        self.dispatcher.dispatch(retried)
        return retried

    def delete(self, client_id: str, job_id: str) -> None:
        """Delete the job with its input and result. Cancel it first if it is open.

        Raises:
            NotFound, Gone, Transient: For the reasons that `get` names.
        """
        job = self._get_own(client_id, job_id)
        # A job that is deleted already is deleted again: an earlier call may have died before it was done.
        self.store.delete(job, now=self.now())
        if job.awaits_delivery or not job.is_terminal:
            self.webhooks.notify(job, job.status if job.is_terminal else "canceled")
        if job.deleted_at is not None:
            raise Gone(_DELETED)

    def _get_own(self, client_id: str, job_id: str) -> Job:
        # DynamoDB refuses a long key with an error of its own, so text that is not an id is not looked up.
        job = self.store.get(job_id, now=self.now()) if _JOB_ID.fullmatch(job_id) else None
        if job is None or job.client_id != client_id:
            raise NotFound("There is no such job")
        return job
