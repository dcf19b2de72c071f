"""What a deployment decides, read once from the environment that Terraform writes.

One frozen model per function; a test holds each against Terraform's environment blocks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Self

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, Json, TypeAdapter, field_validator

from shared.models import Limits


class Settings(BaseModel):
    """Reads each field from the variable of its name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Validate the function's variables.

        Raises:
            pydantic.ValidationError: naming each variable that is missing or malformed.
        """
        names = {name: name.upper() for name in cls.model_fields}
        return cls.model_validate({name: environment[key] for name, key in names.items() if key in environment})


_Delays = TypeAdapter(Json[tuple[float, ...]])
_Keys = TypeAdapter(Json[dict[str, Base64Bytes]])


class PublicSettings(Settings):
    """What minting and verifying tokens share: the issuer, and its keys as `kid` → DER SubjectPublicKeyInfo."""

    public_url: str
    public_keys: dict[str, bytes]

    @field_validator("public_keys", mode="before")
    @classmethod
    def _decode(cls, value: str) -> dict[str, bytes]:
        return _Keys.validate_python(value)


class AuthSettings(PublicSettings):
    """Function `auth`."""

    signing_key_arn: str
    signing_key_id: str
    clients_table: str
    jobs_table: str
    worker_alias_arn: str
    worker_version: str
    warm_up_environments: int = Field(ge=0)
    warm_up_cooldown_seconds: int = Field(ge=1)


class SubmitSettings(PublicSettings):
    """Function `submit`."""

    jobs_table: str
    bucket: str
    jobs_queue_url: str
    solo_queue_url: str
    clients_table: str
    limits: Json[Limits]
    worker_version: str
    waits_for_warming: bool
    webhooks_queue_url: str
    allow_loopback_webhooks: bool
    model_name: str
    model_version: str


class WorkerSettings(Settings):
    """Function `worker`."""

    jobs_table: str
    bucket: str
    jobs_queue_url: str
    solo_queue_url: str
    webhooks_queue_url: str
    model_name: str
    model_version: str
    model_key: str
    model_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    model_size: int = Field(gt=0)


class WebhookSettings(Settings):
    """Function `webhook`."""

    public_url: str
    jobs_table: str
    clients_table: str
    webhooks_queue_url: str
    webhook_delays_seconds: tuple[float, ...]
    allow_loopback_webhooks: bool

    @field_validator("webhook_delays_seconds", mode="before")
    @classmethod
    def _decode(cls, value: str) -> tuple[float, ...]:
        return _Delays.validate_python(value)


class JanitorSettings(Settings):
    """Function `janitor`."""

    jobs_table: str
    bucket: str
    jobs_queue_url: str
    solo_queue_url: str
    worker_alias_arn: str
    worker_version: str
    webhooks_queue_url: str
    jobs_dead_letter_queue_url: str
    solo_dead_letter_queue_url: str
    webhooks_dead_letter_queue_url: str
