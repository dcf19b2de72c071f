"""Every error that Samovar raises on purpose.

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
│   ├── OAuthUnauthorizedClient  400 unauthorized_client
│   ├── OAuthUnsupportedGrant    400 unsupported_grant_type
│   ├── OAuthInvalidScope        400 invalid_scope
│   └── OAuthUnavailable         503 temporarily_unavailable
├── JobError                     ends a job as `failed`; trying again would not help
│   ├── InputMissing             input_missing
│   ├── InvalidInput             invalid_input
│   ├── AttemptsExhausted        attempts_exhausted
│   ├── DeadlineExceeded         deadline_exceeded
│   ├── ResultTooBig             result_too_big
│   └── ModelFailed              model_failed
├── ModelError                   this environment has no usable model; its jobs go elsewhere
├── UrlRefused                   a webhook may not call this URL or address
└── Transient                    a service was busy or away; the same call may succeed later
"""

from __future__ import annotations

from typing import Any, ClassVar


class SamovarError(Exception):
    """The root of them all."""


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
        """The problem document: `type`, `title`, `status`, `detail`, `code` and the extra members."""
        return {
            "type": f"urn:samovar:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.members,
        }


class MalformedBody(ApiError):
    """The body is not what its content type says."""

    status, code, title = 400, "malformed_body", "The body cannot be read"


class Unauthorized(ApiError):
    """No token, or one that does not verify (RFC 6750, section 3)."""

    status, code, title = 401, "unauthorized", "A valid access token is required"


class InsufficientScope(ApiError):
    """The token verifies, but does not carry the scope (RFC 6750, section 3.1)."""

    status, code, title = 403, "insufficient_scope", "The access token lacks a scope"


class NotFound(ApiError):
    """There is no such thing, or it is another client's: the answer is the same."""

    status, code, title = 404, "not_found", "There is nothing here"


class MethodNotAllowed(ApiError):
    """The path exists with other methods, listed in `Allow`."""

    status, code, title = 405, "method_not_allowed", "This method is not allowed here"


class Conflict(ApiError):
    """The job is in a state in which this makes no sense."""

    status, code, title = 409, "conflict", "The job's state does not allow this"


class Gone(ApiError):
    """There was such a job; its client deleted it."""

    status, code, title = 410, "gone", "The job was deleted"


class BodyTooLarge(ApiError):
    """The body exceeds what the API takes in one request."""

    status, code, title = 413, "body_too_large", "The body is too large"


class UnsupportedMediaType(ApiError):
    """The content type is not one that this route takes."""

    status, code, title = 415, "unsupported_media_type", "This content type is not supported"


class InvalidRequest(ApiError):
    """The request can be read, but something in it is not valid; `errors` says what and where."""

    status, code, title = 422, "invalid_request", "The request is not valid"


class KeyReused(ApiError):
    """The idempotency key came with another request before."""

    status, code, title = 422, "idempotency_key_reused", "The idempotency key belongs to another request"


class RateLimited(ApiError):
    """The client has used what it may use for now; `limit` names what, `Retry-After` says for how long."""

    status, code, title = 429, "rate_limited", "The client's limit is reached"


class Unavailable(ApiError):
    """A service behind the API is busy or away; the client may repeat the request."""

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
    """A parameter is missing, repeated or malformed, or there are two ways of authentication."""

    error = "invalid_request"


class OAuthInvalidClient(OAuthError):
    """Client authentication failed."""

    status, error = 401, "invalid_client"


class OAuthUnauthorizedClient(OAuthError):
    """The client is known and authenticated, but may not use this grant."""

    error = "unauthorized_client"


class OAuthUnsupportedGrant(OAuthError):
    """The grant type is not client_credentials."""

    error = "unsupported_grant_type"


class OAuthInvalidScope(OAuthError):
    """The scope is unknown, malformed or more than the client has."""

    error = "invalid_scope"


class OAuthUnavailable(OAuthError):
    """A service behind the endpoint is busy or away."""

    status, error = 503, "temporarily_unavailable"


class JobError(SamovarError):
    """Ends a job as `failed`, with a stable `code` and whether a retry by the client may help."""

    code: ClassVar[str]
    title: ClassVar[str]
    retryable: ClassVar[bool] = False


class InputMissing(JobError):
    """The stored input is gone or cannot be read back."""

    code, title = "input_missing", "The input is no longer there"


class InvalidInput(JobError):
    """An upload is not what it was announced to be."""

    code, title = "invalid_input", "The input cannot be read"


class DeadlineExceeded(JobError):
    """The job was not done in time."""

    code, title, retryable = "deadline_exceeded", "The job was not done by its deadline", True


class AttemptsExhausted(JobError):
    """Every attempt ended without a word, as when the environment runs out of memory."""

    code, title, retryable = "attempts_exhausted", "The job was attempted too often", True


class ResultTooBig(JobError):
    """The merged result does not fit where it is put together."""

    code, title = "result_too_big", "The result is too big"


class ModelFailed(JobError):
    """The model raised an error on this input."""

    code, title = "model_failed", "The model cannot analyze this input"


class ModelError(SamovarError):
    """The model artifact cannot be fetched, verified, unpacked or loaded."""


class UrlRefused(SamovarError):
    """A URL, or an address that its host has, which a webhook may not call; the message says why."""


class Transient(SamovarError):
    """A throttle, a time-out or a 5xx of a service; nothing is known to be wrong with the call."""
