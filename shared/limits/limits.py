"""The limits of a client, as Terraform sets them for a deployment."""

from __future__ import annotations

from pydantic import Field

from shared.records import Record


class Limits(Record):
    """The most that a client may use."""

    requests_per_minute: int = Field(ge=1)
    open_jobs: int = Field(ge=1)
    bytes_per_day: int = Field(ge=1)
