"""The Python client of Samovar, an asynchronous NLP job API.

client = samovar.Client(url, client_id, client_secret)
job = client.analyze("Ada Lovelace lived in London.").wait()
print(job.result.documents[0].ents)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samovar import webhooks as webhooks
    from samovar.client import Client as Client
    from samovar.errors import ApiError as ApiError
    from samovar.errors import AuthenticationFailed as AuthenticationFailed
    from samovar.errors import BodyTooLarge as BodyTooLarge
    from samovar.errors import Conflict as Conflict
    from samovar.errors import ConnectionFailed as ConnectionFailed
    from samovar.errors import DeadlineExceeded as DeadlineExceeded
    from samovar.errors import DocumentFailed as DocumentFailed
    from samovar.errors import Forbidden as Forbidden
    from samovar.errors import Gone as Gone
    from samovar.errors import InvalidRequest as InvalidRequest
    from samovar.errors import JobCanceled as JobCanceled
    from samovar.errors import JobExpired as JobExpired
    from samovar.errors import JobFailed as JobFailed
    from samovar.errors import JobNotDone as JobNotDone
    from samovar.errors import JobNotSuccessful as JobNotSuccessful
    from samovar.errors import NotFound as NotFound
    from samovar.errors import RateLimited as RateLimited
    from samovar.errors import SamovarError as SamovarError
    from samovar.errors import Unauthorized as Unauthorized
    from samovar.errors import Unavailable as Unavailable
    from samovar.errors import WaitTimeout as WaitTimeout
    from samovar.errors import WebhookInvalid as WebhookInvalid
    from samovar.jobs import Job as Job
    from samovar.models import Result as Result

_MODULES = {"Client": "client", "Job": "jobs", "Result": "models"}
_ERRORS = [
    "ApiError",
    "AuthenticationFailed",
    "BodyTooLarge",
    "Conflict",
    "ConnectionFailed",
    "DeadlineExceeded",
    "DocumentFailed",
    "Forbidden",
    "Gone",
    "InvalidRequest",
    "JobCanceled",
    "JobExpired",
    "JobFailed",
    "JobNotDone",
    "JobNotSuccessful",
    "NotFound",
    "RateLimited",
    "SamovarError",
    "Unauthorized",
    "Unavailable",
    "WaitTimeout",
    "WebhookInvalid",
]
__all__ = [*_MODULES, *_ERRORS, "webhooks"]


def __getattr__(name: str) -> object:
    """Import a public name at its first use (PEP 562), so that the command line starts without the HTTP library."""
    if name == "webhooks":
        return import_module("samovar.webhooks")
    module = "errors" if name in _ERRORS else _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'samovar' has no attribute {name!r}")
    return getattr(import_module(f"samovar.{module}"), name)
