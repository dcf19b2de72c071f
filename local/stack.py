"""The description of a running local cloud: `stack.json` in its folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from local import process
from local.connection import build_aws_environment, open_client
from local.emulators import emulator, get_log_file
from local.errors import NotRunning

FILE = "stack.json"


class Stack(BaseModel):
    """A running local cloud and its first client, which has every scope."""

    model_config = ConfigDict(frozen=True)

    api_url: str
    aws_endpoint_url: str
    region: str
    client_id: str
    client_secret: str = Field(repr=False)
    webhook_secret: str = Field(repr=False)  # signs the webhooks of the first client
    outputs: dict[str, Any]  # Terraform's, by name
    emulator_name: str  # as in `EMULATORS`
    pid: int  # of the emulator's process
    port: int
    started: str  # tells that process from a later one with the same id
    source_digest: str  # of everything that was applied

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the content of `stack.json` in `folder`, or None if it is missing or unreadable.

        The emulator may have ended since the file was written.
        """
        try:
            return cls.model_validate_json((folder / FILE).read_bytes())
        except (OSError, ValidationError):
            return None

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the local cloud that runs in `folder`.

        Raises:
            NotRunning: If no local cloud was started in `folder`, or its emulator has ended.
        """
        stack = cls.read(folder)
        if stack is None:
            raise NotRunning(f"No local cloud runs in {folder}. Start one with `make up`.")
        if not stack.is_alive:
            raise NotRunning(
                f"The emulator of the local cloud in {folder} has ended. Its log is {get_log_file(folder)}. "
                "Start the local cloud again, with empty state, with `make up`."
            )
        return stack

    def write(self, folder: Path) -> None:
        """Write `stack.json` atomically and readable for its owner alone, because it holds secrets."""
        new = folder / f"{FILE}.new"
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(self.model_dump_json(indent=2) + "\n")
        new.replace(folder / FILE)

    @property
    def is_alive(self) -> bool:
        """Return whether the emulator's process runs."""
        return process.find_start_time(self.pid) == self.started

    @property
    def aws_environment(self) -> dict[str, str]:
        """Return the environment variables that lead a tool to this local cloud and away from the user's AWS."""
        return build_aws_environment(emulator(self.emulator_name), self.aws_endpoint_url)

    def client(self, service: str) -> Any:
        """Return a boto3 client of the emulator's `service`, as the root user of its account."""
        return open_client(emulator(self.emulator_name), service, url=self.aws_endpoint_url)
