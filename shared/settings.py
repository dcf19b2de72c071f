"""The settings of the functions: one frozen model per function, read from its environment variables.

Terraform writes the variables. A test compares each model with Terraform's environment block.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Self

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, Json, TypeAdapter, field_validator

from shared.limits.limits import Limits


class Settings(BaseModel):
    """Base of the settings. Each field is read from the variable of the same name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the settings from the environment's variables.

        Raises:
            pydantic.ValidationError: If a variable is missing or malformed. The error names each of them.
        """
        names = {name: name.upper() for name in cls.model_fields}
        return cls.model_validate({name: environment[key] for name, key in names.items() if key in environment})


_Delays = TypeAdapter(Json[tuple[float, ...]])
_Keys = TypeAdapter(Json[dict[str, Base64Bytes]])


class PublicSettings(Settings):
    """The issuer of tokens: its URL, and its public keys as `kid` → DER SubjectPublicKeyInfo."""

    public_url: str
    public_keys: dict[str, bytes]

    @field_validator("public_keys", mode="before")
    @classmethod
    def _decode(cls, value: str) -> dict[str, bytes]:
        return _Keys.validate_python(value)


class AuthSettings(PublicSettings):
    """The settings of the function `auth`."""

    signing_key_arn: str
    signing_key_id: str
    clients_table: str
    jobs_table: str
    worker_alias_arn: str
    worker_version: str
    warm_up_environments: int = Field(ge=0)
    warm_up_cooldown_seconds: int = Field(ge=1)


class SubmitSettings(PublicSettings):
    """The settings of the function `submit`."""

    jobs_table: str
    bucket: str
    jobs_queue_url: str
    isolated_queue_url: str
    clients_table: str
    limits: Json[Limits]
    worker_version: str
    assign_jobs_to_warm_ups: bool
    webhooks_queue_url: str
    allow_loopback_webhooks: bool
    model_name: str
    model_version: str


class WorkerSettings(Settings):
    """The settings of the function `worker`."""

    jobs_table: str
    bucket: str
    jobs_queue_url: str
    isolated_queue_url: str
    webhooks_queue_url: str
    model_name: str
    model_version: str
    model_key: str
    model_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    model_size: int = Field(gt=0)


class WebhookSettings(Settings):
    """The settings of the function `webhook`."""

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
    """The settings of the function `janitor`."""

    jobs_table: str
    bucket: str
    jobs_queue_url: str
    isolated_queue_url: str
    worker_alias_arn: str
    worker_version: str
    webhooks_queue_url: str
    jobs_dead_letter_queue_url: str
    isolated_dead_letter_queue_url: str
    webhooks_dead_letter_queue_url: str
