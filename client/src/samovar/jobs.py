"""The class `Job`: a job as its client sees it."""

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
from samovar.models import TERMINAL, Delivery, Failure, InputDocument, JobData, Progress, Result
from samovar.transport import Deadline

if TYPE_CHECKING:
    from samovar.client import Client

WAIT_SECONDS = 25  # the longest time that the API waits for a job to end within one call
WATCH_SECONDS = 2  # the same if `on_progress` is given: shorter calls show the progress sooner
MIN_PAUSE_SECONDS = 0.1
DEFAULT_PAUSE_SECONDS = 1.0
_ERRORS: dict[str, type[JobNotSuccessful]] = {"failed": JobFailed, "canceled": JobCanceled, "expired": JobExpired}


class Job:
    """A job in the state in which the API last returned it.

    `refresh`, `wait`, `cancel` and `retry` update the state.
    """

    def __init__(
        self, client: Client, data: JobData, *, etag: str | None = None, retry_after: float | None = None
    ) -> None:
        """Build the job from an answer of the API. Use `Client` instead of calling this."""
        self._client = client
        self._update(data, etag=etag, retry_after=retry_after)

    def _update(self, data: JobData, *, etag: str | None, retry_after: float | None) -> None:
        self.data = data
        self._etag = etag
        self._retry_after = DEFAULT_PAUSE_SECONDS if retry_after is None else max(retry_after, MIN_PAUSE_SECONDS)
        self._result = data.result

    @property
    def id(self) -> str:
        """Return the job's id, which `Client.get` accepts."""
        return self.data.id

    @property
    def status(self) -> str:
        """Return the status: queued, running, succeeded, failed, canceled or expired."""
        return self.data.status

    @property
    def is_terminal(self) -> bool:
        """Return whether the job's current run has ended."""
        return self.data.status in TERMINAL

    @property
    def progress(self) -> Progress:
        """Return the number of shards or documents that are done, and their total."""
        return self.data.progress

    @property
    def error(self) -> Failure | None:
        """Return the reason why the job failed, or None."""
        return self.data.error

    @property
    def metadata(self) -> dict[str, Any]:
        """Return the metadata that was submitted with the job."""
        return self.data.metadata

    @property
    def created_at(self) -> datetime | None:
        """Return the time when the job was submitted."""
        return self.data.created_at

    @property
    def result(self) -> Result:
        """Return the result. A result that is too big to come with the job is fetched at the first read.

        Raises:
            JobNotDone: If the job is queued or running.
            JobFailed, JobCanceled, JobExpired: If the job ended without a result.
            SamovarError: If the result has expired.
        """
        if not self.is_terminal:
            raise JobNotDone(f"Job {self.id} is {self.status} and has no result yet: call `wait` first")
        if self.status in _ERRORS:
            raise _ERRORS[self.status](self)
        if self._result is None:
            self._result = self._fetch_result()
        return self._result

    def _fetch_result(self) -> Result:
        if not self.data.result_url:
            self.refresh(fresh=True)
        if self.data.result is not None:
            return self.data.result
        try:
            return self._client.fetch_result(self._get_result_url())
        except ApiError as error:
            if isinstance(error, Unavailable):
                raise
        # A result URL is valid for 15 minutes: get a new one and try once more.
        self.refresh(fresh=True)
        return self._client.fetch_result(self._get_result_url())

    def _get_result_url(self) -> str:
        if not self.data.result_url:
            raise SamovarError(f"The result of job {self.id} has expired and is deleted: submit the job again")
        return self.data.result_url

    def refresh(self, *, wait: int = 0, timeout: float | None = None, fresh: bool = False) -> Job:
        """Update this job from the API, and return it.

        Args:
            wait: The seconds, at most 25, that the API waits for the job to end before it answers.
            timeout: The seconds that the call may take. The default is the client's timeout.
            fresh: Fetch the whole job again, even if it has not changed.
        """
        etag = None if fresh else self._etag
        job = self._client.get_if_changed(self.id, wait=wait, timeout=timeout, etag=etag)
        return self if job is None else self._copy_from(job)

    def wait(self, timeout: float = 3600, *, on_progress: Callable[[Job], None] | None = None) -> Job:
        """Wait until the job has ended, and return it. Read `result` to learn whether it succeeded.

        If the API is busy or unreachable for a while, keep waiting.

        Args:
            timeout: The seconds to wait.
            on_progress: A function that is called with this job at the start and after each change.

        Raises:
            WaitTimeout: If the job has not ended after `timeout` seconds. The job continues.
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
            if not deadline.remaining:
                raise WaitTimeout(self, timeout)
            self._poll(longest, deadline)

    def _poll(self, longest: int, deadline: Deadline) -> None:
        """Refresh the job with a call that waits. If the API answered early, pause for its `Retry-After`."""
        started = time.monotonic()
        wait = min(longest, int(deadline.remaining), int(self._client.timeout / 2))
        try:
            self.refresh(wait=wait, timeout=min(self._client.timeout, deadline.remaining + 1))
            has_waited = wait and time.monotonic() - started >= wait / 2
            pause = 0.0 if has_waited else self._retry_after
        except (Unavailable, RateLimited) as error:
            pause = error.retry_after or DEFAULT_PAUSE_SECONDS
        except (ConnectionFailed, DeadlineExceeded):
            pause = DEFAULT_PAUSE_SECONDS
        if not self.is_terminal:
            time.sleep(min(pause, deadline.remaining))

    def cancel(self) -> Job:
        """Cancel the job, and return it.

        Raises:
            Conflict: If the job has already ended.
        """
        return self._copy_from(self._client.cancel(self.id))

    def retry(self) -> Job:
        """Start the next run of a job that failed, was canceled or expired, and return the job.

        Raises:
            Conflict: If the job is queued or running, or has succeeded.
        """
        return self._copy_from(self._client.retry(self.id))

    def delete(self) -> None:
        """Delete the job with its input and its result."""
        self._client.delete(self.id)

    def input(self) -> list[InputDocument]:
        """Return the documents that were submitted, with their ids. See `Client.input`.

        Raises:
            Gone: If the job was deleted, and its input with it.
        """
        return self._client.input(self.id)

    def deliveries(self) -> list[Delivery]:
        """Return the deliveries of the job's webhook events, with their attempts."""
        return self._client.deliveries(self.id)

    def _copy_from(self, other: Job) -> Job:
        self._update(other.data, etag=other._etag, retry_after=other._retry_after)
        return self

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.status}>"
