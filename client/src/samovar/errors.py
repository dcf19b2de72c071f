"""What can go wrong, one class per cause.

SamovarError
├── ApiError                what the API answered: `status`, `code`, `title`, `detail`, `errors`, `request_id`
│   ├── Unauthorized        401: the token is not accepted, although it is fresh
│   ├── Forbidden           403: the client's scope does not allow the call
│   ├── NotFound            404: there is no such job, or it is another client's
│   ├── Conflict            409: cancel of an ended job, retry of an open one
│   ├── Gone                410: the job was deleted
│   ├── BodyTooLarge        413: upload it instead
│   ├── InvalidRequest      422: `errors` says where and why
│   ├── RateLimited         429: `retry_after` seconds
│   └── Unavailable         5xx: `retry_after` seconds, if the API says so
├── AuthenticationFailed    the token endpoint refuses the client: `error` is RFC 6749's code
├── ConnectionFailed        no answer came
├── DeadlineExceeded        a call took longer than it may
├── WaitTimeout             `Job.wait` waited long enough; `job` goes on
├── JobNotDone              `Job.result` of a job that is open
├── JobNotSuccessful        `Job.result` of a job that has none: `job`
│   ├── JobFailed
│   ├── JobCanceled
│   └── JobExpired
├── DocumentFailed          the model failed on one document of a job that succeeded
└── WebhookInvalid          what arrived was not signed with the secret, or is too old

Messages never hold a secret or a token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samovar.jobs import Job


class SamovarError(Exception):
    """The root of all errors of this package."""


class ApiError(SamovarError):
    """An answer with a status of 400 or above; `code` is stable, the other words are for people (RFC 9457)."""

    def __init__(
        self, status: int, problem: Mapping[str, Any], *, request_id: str | None, retry_after: float | None
    ) -> None:
        """`problem` is the answer's problem document, empty when it had none; `retry_after` is in seconds."""
        self.status = status
        self.problem = problem
        self.repeated = False  # whether an earlier attempt of the same call may have been carried out
        self.code = str(problem.get("code") or f"http_{status}")
        self.title = str(problem.get("title") or f"HTTP status {status}")
        self.detail = str(problem.get("detail") or "")
        errors = problem.get("errors")
        self.errors: Sequence[Mapping[str, Any]] = errors if isinstance(errors, list) else []
        self.request_id = request_id
        self.retry_after = retry_after
        super().__init__(self._message())

    def _message(self) -> str:
        said = f"{self.title}: {self.detail}" if self.detail else self.title
        places = (f"{one.get('pointer') or one.get('parameter')}: {one.get('detail')}" for one in self.errors)
        return "; ".join([f"{said} ({self.code})", *places])


class Unauthorized(ApiError):
    """401: the token is not accepted, although it is fresh."""


class Forbidden(ApiError):
    """403: the client's scope does not allow the call."""


class NotFound(ApiError):
    """404: there is no such job, or it is another client's."""


class Conflict(ApiError):
    """409: the job is not in a state for this."""


class Gone(ApiError):
    """410: the job was deleted."""


class BodyTooLarge(ApiError):
    """413: more than a body may hold; `Client.upload` takes more."""


class InvalidRequest(ApiError):
    """422: `errors` says where and why."""


class RateLimited(ApiError):
    """429: too much at once; `retry_after` is in seconds, None when the gateway did not say."""


class Unavailable(ApiError):
    """5xx: the service is busy or broken; `retry_after` is in seconds, None when it did not say."""


BY_STATUS: Mapping[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    413: BodyTooLarge,
    422: InvalidRequest,
    429: RateLimited,
}


class AuthenticationFailed(SamovarError):
    """The token endpoint refuses; `error` is the code of RFC 6749, section 5.2, such as `invalid_client`."""

    def __init__(self, error: str, description: str) -> None:
        """As the endpoint said it."""
        self.error = error
        super().__init__(f"No token: {description or error} ({error})")


class ConnectionFailed(SamovarError):
    """No answer came: the network, the name, TLS, or the server hung up."""


class DeadlineExceeded(SamovarError):
    """A call took longer than it may."""


class WaitTimeout(SamovarError):
    """The job is still open after the time that was given; it goes on."""

    def __init__(self, job: Job, seconds: float) -> None:
        """`job` as it was seen last, after `seconds`."""
        self.job = job
        super().__init__(f"Job {job.id} is still {job.status} after {seconds:g} s; it goes on")


class JobNotDone(SamovarError):
    """The job is open: `wait` for it first."""


class JobNotSuccessful(SamovarError):
    """The job ended without a result; `job.error` says why it failed."""

    def __init__(self, job: Job) -> None:
        """`job` is terminal."""
        self.job = job
        because = f": {job.error.title}: {job.error.detail} ({job.error.code})" if job.error else ""
        super().__init__(f"Job {job.id} has {job.status}{because}" if job.status == "failed" else self._ended(job))

    @staticmethod
    def _ended(job: Job) -> str:
        return f"Job {job.id} was canceled" if job.status == "canceled" else f"Job {job.id} has expired"


class JobFailed(JobNotSuccessful):
    """The job failed."""


class JobCanceled(JobNotSuccessful):
    """The job was canceled."""


class JobExpired(JobNotSuccessful):
    """The job was not done by its deadline."""


class DocumentFailed(SamovarError):
    """The model failed on this document; the job's other documents are there."""


class WebhookInvalid(SamovarError):
    """Not signed with the secret, too old or too new, or not a webhook at all."""
