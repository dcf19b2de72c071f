"""The services that the handlers of the routes use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from functions.submit.estimates import Estimates
from functions.submit.jobs import JobService
from functions.submit.submission import Submission
from functions.submit.views import Views
from functions.submit.webhooks import Webhooks
from shared.aws.blobs import Blobs


@dataclass(frozen=True)
class Services:
    """One instance of every service. `describe_api` returns the OpenAPI document."""

    submission: Submission
    jobs: JobService
    webhooks: Webhooks
    estimates: Estimates
    views: Views
    blobs: Blobs
    base_url: str
    now: Callable[[], int]
    describe_api: Callable[[], Mapping[str, Any]]
