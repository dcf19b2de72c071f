"""A local cloud as its users see it: `stack.json` in its folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import boto3
from botocore.config import Config
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from local import emulator, process
from local.errors import NotRunning

FILE = "stack.json"


class Stack(BaseModel):
    """A local cloud that is up, with its first client, who may do everything a client may."""

    model_config = ConfigDict(frozen=True)

    api_url: str
    aws_endpoint_url: str
    region: str
    client_id: str
    client_secret: str = Field(repr=False)
    webhook_secret: str = Field(repr=False)  # what signs the first client's webhooks
    outputs: dict[str, Any]
    pid: int
    port: int
    started: str  # with `pid`, the emulator's process
    source_digest: str  # a mark of everything that was applied

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """What is written in `folder`, whether or not its emulator lives; None when there is nothing readable."""
        try:
            return cls.model_validate_json((folder / FILE).read_bytes())
        except (OSError, ValidationError):
            return None

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The local cloud that is up in `folder`.

        Raises:
            NotRunning: when none is, or its emulator has died.
        """
        stack = cls.read(folder)
        if stack is None:
            raise NotRunning(f"No local cloud is up in {folder}: `make up` starts one.")
        if not stack.is_alive:
            raise NotRunning(
                f"The emulator of the local cloud in {folder} is gone; its last words are in "
                f"{emulator.log_file(folder)}. `make up` starts again, from empty state."
            )
        return stack

    def write(self, folder: Path) -> None:
        """Write it for its owner alone, since it holds a secret; readers see all of it or what was there before."""
        new = folder / f"{FILE}.new"
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(self.model_dump_json(indent=2) + "\n")
        new.replace(folder / FILE)

    @property
    def is_alive(self) -> bool:
        """Whether its emulator is running."""
        return process.find_start_time(self.pid) == self.started

    def client(self, service: str) -> Any:
        """A boto3 client of the emulator's `service`, as root."""
        return aws_client(service, url=self.aws_endpoint_url)


def aws_client(service: str, *, url: str) -> Any:
    """A boto3 client of `service` of the emulator at `url`, as root; not through a proxy."""
    session = boto3.Session(
        aws_access_key_id=emulator.CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=emulator.CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=emulator.REGION,
    )
    config = Config(proxies={}, s3={"addressing_style": "path"})
    return session.client(service, endpoint_url=url, config=config)  # type: ignore[call-overload]
