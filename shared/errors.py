"""The errors that Samovar raises on purpose.

SamovarError
├── ApiError                     an answer to an HTTP client (RFC 9457 problem details)
│   ├── MalformedBody            400 malformed_body
│   ├── Unauthorized             401 unauthorized
│   ├── InsufficientScope        403 insufficient_scope
│   ├── NotFound                 404 not_found
│   ├── MethodNotAllowed         405 method_not_allowed
│   ├── Conflict                 409 conflict
│   ├── Gone                     410 gone
│   ├── BodyTooLarge             413 body_too_large
│   ├── UnsupportedMediaType     415 unsupported_media_type
│   ├── InvalidRequest           422 invalid_request
│   ├── KeyReused                422 idempotency_key_reused
│   ├── RateLimited              429 rate_limited
│   └── Unavailable              503 unavailable
├── OAuthError                   an answer of the token endpoint (RFC 6749, section 5.2)
│   ├── OAuthInvalidRequest      400 invalid_request
│   ├── OAuthInvalidClient       401 invalid_client
│   ├── OAuthUnsupportedGrant    400 unsupported_grant_type
│   ├── OAuthInvalidScope        400 invalid_scope
│   └── OAuthUnavailable         503 temporarily_unavailable
├── JobError                     ends a job as `failed` or `expired`; another attempt would not help
│   ├── InputMissing             input_missing
│   ├── InvalidInput             invalid_input
│   ├── AttemptsExhausted        attempts_exhausted
│   ├── DeadlineExceeded         deadline_exceeded
│   ├── ResultTooBig             result_too_big
│   └── ModelFailed              model_failed
├── ModelError                   this environment has no usable model; another one must take its jobs
├── UrlRefused                   a webhook may not call this URL or address
└── Transient                    a service was throttled or unreachable; the same call may succeed later
"""

from __future__ import annotations

from typing import Any, ClassVar


class SamovarError(Exception):
    """The base of all errors."""


class ApiError(SamovarError):
    """An error with an HTTP status and a stable `code`, shown to the client as RFC 9457 problem details."""

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None, **members: Any) -> None:
        """Keep the explanation, extra response headers and extra members of the problem document."""
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}
        self.members = members

    def problem(self) -> dict[str, Any]:
        """Return the problem document: `type`, `title`, `status`, `detail`, `code` and the extra members."""
        return {
            "type": f"urn:samovar:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.members,
        }


class MalformedBody(ApiError):
    """A body that does not match its content type."""

    status, code, title = 400, "malformed_body", "The body cannot be read"


class Unauthorized(ApiError):
    """A missing token, or one that does not verify (RFC 6750, section 3)."""

    status, code, title = 401, "unauthorized", "A valid access token is required"


class InsufficientScope(ApiError):
    """A valid token without the scope that the call needs (RFC 6750, section 3.1)."""

    status, code, title = 403, "insufficient_scope", "The access token lacks a scope"


class NotFound(ApiError):
    """A resource that does not exist or belongs to another client. The answer is the same for both."""

    status, code, title = 404, "not_found", "There is nothing here"


class MethodNotAllowed(ApiError):
    """A path that exists with other methods only. The header `Allow` lists them."""

    status, code, title = 405, "method_not_allowed", "This method is not allowed here"


class Conflict(ApiError):
    """A call that the job's state does not allow."""

    status, code, title = 409, "conflict", "The job's state does not allow this"


class Gone(ApiError):
    """A job that its client has deleted."""

    status, code, title = 410, "gone", "The job was deleted"


class BodyTooLarge(ApiError):
    """A body that exceeds the limit for one request."""

    status, code, title = 413, "body_too_large", "The body is too large"


class UnsupportedMediaType(ApiError):
    """A content type that the route does not accept."""

    status, code, title = 415, "unsupported_media_type", "This content type is not supported"


class InvalidRequest(ApiError):
    """A request with invalid values. The member `errors` lists them with their places."""

    status, code, title = 422, "invalid_request", "The request is not valid"


class KeyReused(ApiError):
    """An idempotency key that an earlier, different request used."""

    status, code, title = 422, "idempotency_key_reused", "The idempotency key belongs to another request"


class RateLimited(ApiError):
    """A request above a limit of the client. The member `limit` names it; `Retry-After` says when to try again."""

    status, code, title = 429, "rate_limited", "The client's limit is reached"


class Unavailable(ApiError):
    """A failure of a service behind the API. The client may repeat the request."""

    status, code, title = 503, "unavailable", "Try again in a moment"


class OAuthError(SamovarError):
    """An error of the token endpoint, with the codes of RFC 6749, section 5.2."""

    status: ClassVar[int] = 400
    error: ClassVar[str]

    def __init__(self, description: str) -> None:
        """Keep the text for `error_description`."""
        super().__init__(description)
        self.description = description


class OAuthInvalidRequest(OAuthError):
    """A missing, repeated or malformed parameter, or two ways of authentication in one request."""

    error = "invalid_request"


class OAuthInvalidClient(OAuthError):
    """A failed client authentication."""

    status, error = 401, "invalid_client"


class OAuthUnsupportedGrant(OAuthError):
    """A grant type other than client_credentials."""

    error = "unsupported_grant_type"


class OAuthInvalidScope(OAuthError):
    """A scope that is unknown, malformed, or not granted to the client."""

    error = "invalid_scope"


class OAuthUnavailable(OAuthError):
    """A failure of a service behind the token endpoint."""

    status, error = 503, "temporarily_unavailable"


class JobError(SamovarError):
    """An error that ends a job. `code` is stable. If it is `retryable`, a retry by the client may help."""

    code: ClassVar[str]
    title: ClassVar[str]
    retryable: ClassVar[bool] = False


class InputMissing(JobError):
    """A stored input that is gone or cannot be read back."""

    code, title = "input_missing", "The input is no longer there"


class InvalidInput(JobError):
    """An upload that does not match its content type."""

    code, title = "invalid_input", "The input cannot be read"


class DeadlineExceeded(JobError):
    """A job that was not done by its deadline."""

    code, title, retryable = "deadline_exceeded", "The job was not done by its deadline", True


class AttemptsExhausted(JobError):
    """A job whose attempts all failed or ended without a result, as when the environment runs out of memory."""

    code, title, retryable = "attempts_exhausted", "The job was attempted too often", True


class ResultTooBig(JobError):
    """A merged result that does not fit into temporary storage."""

    code, title = "result_too_big", "The result is too big"


class ModelFailed(JobError):
    """An error that the model raised on this input."""

    code, title = "model_failed", "The model cannot analyze this input"


class ModelError(SamovarError):
    """A model artifact that cannot be fetched, verified, unpacked or loaded."""


class UrlRefused(SamovarError):
    """A URL, or an address of its host, that a webhook may not call. The message gives the reason."""


class Transient(SamovarError):
    """A failed call of a service, such as a throttle or a time-out. The same call may succeed later."""
