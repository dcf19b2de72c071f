"""A job, as its client holds it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from samovar.errors import (
    ApiError,
    ConnectionFailed,
    DeadlineExceeded,
    JobCanceled,
    JobExpired,
    JobFailed,
    JobNotDone,
    JobNotSuccessful,
    RateLimited,
    SamovarError,
    Unavailable,
    WaitTimeout,
)
from samovar.models import TERMINAL, Delivery, Failure, JobData, Progress, Result
from samovar.transport import Deadline

if TYPE_CHECKING:
    from samovar.client import Client

WAIT_SECONDS = 25  # the longest that one call may wait for a job's end
WATCH_SECONDS = 2  # the same when somebody watches the progress
SHORTEST_PAUSE_SECONDS = 0.1
_HAS_ENDED: dict[str, type[JobNotSuccessful]] = {"failed": JobFailed, "canceled": JobCanceled, "expired": JobExpired}


class Job:
    """A job, and what was last heard of it: `refresh`, `wait`, `cancel` and `retry` bring it up to date."""

    def __init__(
        self, client: Client, data: JobData, *, etag: str | None = None, retry_after: float | None = None
    ) -> None:
        """Made by `Client`."""
        self._client = client
        self._heard(data, etag=etag, retry_after=retry_after)

    def _heard(self, data: JobData, *, etag: str | None, retry_after: float | None) -> None:
        self.data = data
        self._etag = etag
        self._retry_after = 1.0 if retry_after is None else max(retry_after, SHORTEST_PAUSE_SECONDS)
        self._result = data.result

    @property
    def id(self) -> str:
        """Its id, by which `Client.get` finds it again."""
        return self.data.id

    @property
    def status(self) -> str:
        """One of queued, running, succeeded, failed, canceled, expired."""
        return self.data.status

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more happens in this run."""
        return self.data.status in TERMINAL

    @property
    def progress(self) -> Progress:
        """Units of work done and in all."""
        return self.data.progress

    @property
    def error(self) -> Failure | None:
        """Why it failed."""
        return self.data.error

    @property
    def metadata(self) -> dict[str, Any]:
        """What was given with it."""
        return self.data.metadata

    @property
    def created_at(self) -> datetime | None:
        """When it was submitted."""
        return self.data.created_at

    @property
    def result(self) -> Result:
        """What it found; fetched when it is first asked for, if it is too big to come with the job.

        Raises:
            JobNotDone: while it is open.
            JobFailed, JobCanceled, JobExpired: when it has none.
        """
        if not self.is_terminal:
            raise JobNotDone(f"Job {self.id} is {self.status}: wait for it first")
        if self.status in _HAS_ENDED:
            raise _HAS_ENDED[self.status](self)
        if self._result is None:
            self._result = self._fetched()
        return self._result

    def _fetched(self) -> Result:
        """The result behind `result_url`, which lasts 15 minutes; a fresh one is asked for when it is over."""
        if not self.data.result_url:
            self.refresh(fresh=True)
        if self.data.result is not None:
            return self.data.result
        try:
            return self._client.fetch_result(self._result_url())
        except ApiError as error:
            if isinstance(error, Unavailable):
                raise
        self.refresh(fresh=True)
        return self._client.fetch_result(self._result_url())

    def _result_url(self) -> str:
        if not self.data.result_url:
            raise SamovarError(f"The result of job {self.id} is no longer there")
        return self.data.result_url

    def refresh(self, *, wait: int = 0, timeout: float | None = None, fresh: bool = False) -> Job:
        """Ask how it is; with `wait`, as soon as it has ended but after at most that many seconds.

        What has not changed is not sent again, unless `fresh` asks for it.
        """
        answer = self._client.ask(self.id, wait=wait, timeout=timeout, etag=None if fresh else self._etag)
        if answer is not None:
            self._heard(answer.data, etag=answer._etag, retry_after=answer._retry_after)
        return self

    def wait(self, timeout: float = 3600, *, on_progress: Callable[[Job], None] | None = None) -> Job:
        """Wait until it has ended, whichever way; `result` then says whether it succeeded.

        `on_progress` is called with this job each time something about it has changed, and at the end. An API that is
        busy or away for a while is waited for, too.

        Raises:
            WaitTimeout: after `timeout` seconds; the job goes on.
        """
        deadline = Deadline(timeout)
        longest = WATCH_SECONDS if on_progress else WAIT_SECONDS
        seen: JobData | None = None
        while True:
            if on_progress and self.data != seen:
                seen = self.data
                on_progress(self)
            if self.is_terminal:
                return self
            if not deadline.left:
                raise WaitTimeout(self, timeout)
            self._look(longest, deadline)

    def _look(self, longest: int, deadline: Deadline) -> None:
        """One call that waits; when it did not, a pause follows, as long as the API says."""
        began = time.monotonic()
        wait = min(longest, int(deadline.left), int(self._client.timeout / 2))
        try:
            self.refresh(wait=wait, timeout=min(self._client.timeout, deadline.left + 1))
            pause = self._retry_after if time.monotonic() - began < wait / 2 or not wait else 0.0
        except (Unavailable, RateLimited) as error:
            pause = error.retry_after or 1.0
        except (ConnectionFailed, DeadlineExceeded):
            pause = 1.0
        if not self.is_terminal:
            time.sleep(min(pause, deadline.left))

    def cancel(self) -> Job:
        """End it at once.

        Raises:
            Conflict: when it has ended already.
        """
        return self._become(self._client.cancel(self.id))

    def retry(self) -> Job:
        """Begin its next run, once it has failed, was canceled or has expired.

        Raises:
            Conflict: when it is open or has succeeded.
        """
        return self._become(self._client.retry(self.id))

    def delete(self) -> None:
        """Delete it with its input and its result."""
        self._client.delete(self.id)

    def deliveries(self) -> list[Delivery]:
        """What was announced of it, and every attempt to deliver that."""
        return self._client.deliveries(self.id)

    def _become(self, other: Job) -> Job:
        self._heard(other.data, etag=other._etag, retry_after=other._retry_after)
        return self

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.status}>"
