"""The exceptions of this package.

SamovarError
├── ApiError                The API answered with an error: `status`, `code`, `title`, `detail`, `errors`, `request_id`.
│   ├── Unauthorized        401: the API rejects the access token, although it is new.
│   ├── Forbidden           403: the client's scope does not allow the call.
│   ├── NotFound            404: there is no such job, or it belongs to another client.
│   ├── Conflict            409: the job's status does not allow the call.
│   ├── Gone                410: the job was deleted.
│   ├── BodyTooLarge        413: the request body is too large. Upload the text instead.
│   ├── InvalidRequest      422: the request is invalid. `errors` lists where and why.
│   ├── RateLimited         429: a limit of the client is reached. Wait `retry_after` seconds.
│   └── Unavailable         5xx: the service is busy or broken. Wait `retry_after` seconds.
├── AuthenticationFailed    The token endpoint refused the client: `error` is the error code of RFC 6749.
├── ConnectionFailed        The API did not answer.
├── DeadlineExceeded        A call took longer than its timeout.
├── WaitTimeout             `Job.wait` reached its timeout. The job continues: `job`.
├── JobNotDone              `Job.result` was read while the job was queued or running.
├── JobNotSuccessful        `Job.result` was read, but the job ended without a result: `job`.
│   ├── JobFailed
│   ├── JobCanceled
│   └── JobExpired
├── DocumentFailed          The model failed on one document of a job that succeeded.
└── WebhookInvalid          A received webhook has no valid signature, or is too old.

No message contains a secret or an access token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samovar.jobs import Job


class SamovarError(Exception):
    """The base class of all exceptions of this package."""


class ApiError(SamovarError):
    """An answer with a status of 400 or above (RFC 9457).

    Attributes:
        status: The HTTP status.
        code: The stable code of the problem, such as `not_found`.
        title, detail: The problem in words. They may change.
        errors: The invalid parts of the request, each with `pointer`, `parameter` or `header`, and `detail`.
        request_id: The value of `x-request-id`. Name it when you report the problem.
        retry_after: The seconds to wait before the next call. None if the answer does not say.
        problem: The whole problem document.
        is_ambiguous: True if an earlier attempt of the same call got no clear answer and may have been carried out.
    """

    def __init__(
        self, status: int, problem: Mapping[str, Any], *, request_id: str | None, retry_after: float | None
    ) -> None:
        """Build the error from `problem`, which is empty if the answer had no problem document."""
        self.status = status
        self.problem = problem
        self.is_ambiguous = False
        self.code = str(problem.get("code") or f"http_{status}")
        self.title = str(problem.get("title") or f"HTTP status {status}")
        self.detail = str(problem.get("detail") or "")
        errors = problem.get("errors")
        self.errors: Sequence[Mapping[str, Any]] = errors if isinstance(errors, list) else []
        self.request_id = request_id
        self.retry_after = retry_after
        super().__init__(self._format_message())

    def _format_message(self) -> str:
        summary = f"{self.title}: {self.detail}" if self.detail else self.title
        places = (f"{error.get('pointer') or error.get('parameter')}: {error.get('detail')}" for error in self.errors)
        return "; ".join([f"{summary} ({self.code})", *places])


class Unauthorized(ApiError):
    """401: the API rejects the access token, although it is new."""


class Forbidden(ApiError):
    """403: the client's scope does not allow the call."""


class NotFound(ApiError):
    """404: there is no such job, or it belongs to another client."""


class Conflict(ApiError):
    """409: the job's status does not allow the call, such as a cancel after the job has ended."""


class Gone(ApiError):
    """410: the job was deleted."""


class BodyTooLarge(ApiError):
    """413: the request body is too large. `Client.upload` accepts more."""


class InvalidRequest(ApiError):
    """422: the request is invalid. `errors` lists where and why."""


class RateLimited(ApiError):
    """429: a limit of the client is reached. `retry_after` is in seconds, or None if the gateway does not say."""


class Unavailable(ApiError):
    """5xx: the service is busy or broken. `retry_after` is in seconds, or None if the answer does not say."""


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
    """A refusal by the token endpoint. `error` is a code of RFC 6749, section 5.2, such as `invalid_client`."""

    def __init__(self, error: str, description: str) -> None:
        """Build the error from the `error` and `error_description` of the endpoint's answer."""
        self.error = error
        super().__init__(f"The token endpoint refused the client: {description or error} ({error})")


class ConnectionFailed(SamovarError):
    """A call without an answer: the name lookup, the network or TLS failed, or the server closed the connection."""


class DeadlineExceeded(SamovarError):
    """A call that took longer than its timeout."""


class WaitTimeout(SamovarError):
    """A wait that reached its timeout. The job `job` is still queued or running, and continues."""

    def __init__(self, job: Job, seconds: float) -> None:
        """Build the error for `job`, as it was after `seconds` seconds."""
        self.job = job
        super().__init__(f"Job {job.id} is still {job.status} after {seconds:g} s; it continues")


class JobNotDone(SamovarError):
    """A read of the result while the job is queued or running. Call `Job.wait` first."""


class JobNotSuccessful(SamovarError):
    """A read of the result of a job that ended without one. `job.error` says why a failed job failed."""

    def __init__(self, job: Job) -> None:
        """Build the error for `job`, which has ended."""
        self.job = job
        super().__init__(self._format_message(job))

    @staticmethod
    def _format_message(job: Job) -> str:
        if job.status == "canceled":
            return f"Job {job.id} was canceled"
        if job.status == "expired":
            return f"Job {job.id} expired"
        reason = f": {job.error.title}: {job.error.detail} ({job.error.code})" if job.error else ""
        return f"Job {job.id} failed{reason}"


class JobFailed(JobNotSuccessful):
    """A read of the result of a job that failed."""


class JobCanceled(JobNotSuccessful):
    """A read of the result of a job that was canceled."""


class JobExpired(JobNotSuccessful):
    """A read of the result of a job that did not end before its deadline."""


class DocumentFailed(SamovarError):
    """A document that the model failed on. The other documents of the job have results."""


class WebhookInvalid(SamovarError):
    """A received request that is not a valid webhook: unsigned, too old, too new, or not a webhook event."""
