"""The credentials of the command line: from the environment, or from the file that `samovar login` writes."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samovar.cli.exit_codes import NoCredentials

if TYPE_CHECKING:
    from samovar.client import Client

VARIABLES = {"url": "SAMOVAR_URL", "client_id": "SAMOVAR_CLIENT_ID", "client_secret": "SAMOVAR_CLIENT_SECRET"}
WEBHOOK_VARIABLE = "SAMOVAR_WEBHOOK_SECRET"


@dataclass(frozen=True)
class Credentials:
    """The URL of an API, and the client's id and secrets."""

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    webhook_secret: str | None = field(default=None, repr=False)

    def create_client(self) -> Client:
        """Create an SDK client with these credentials."""
        from samovar.client import Client

        return Client(self.url, self.client_id, self.client_secret)


def get_path() -> Path:
    """Return the path of the credentials file."""
    return Path(click.get_app_dir("samovar")) / "credentials.json"


def load() -> Credentials:
    """Load the credentials from the environment if it sets all three variables, else from the file.

    The two sources are never mixed, because a secret must only be sent to its own API.

    Raises:
        NoCredentials: If there are no credentials, if the environment sets only some of the variables, or if the file
            is damaged.
    """
    values = {name: os.environ.get(variable, "") for name, variable in VARIABLES.items()}
    if all(values.values()):
        return Credentials(**values, webhook_secret=os.environ.get(WEBHOOK_VARIABLE))
    if any(values.values()):
        missing = ", ".join(VARIABLES[name] for name, value in values.items() if not value)
        raise NoCredentials(f"The credentials in the environment are incomplete. Set {missing}, too.")
    path = get_path()
    try:
        return Credentials(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise NoCredentials(
            f"You are not logged in. Run `samovar login`, or set {', '.join(VARIABLES.values())}."
        ) from None
    except (ValueError, TypeError):
        raise NoCredentials(f"The credentials file {path} is damaged. Run `samovar login` again.") from None


def save(credentials: Credentials) -> Path:
    """Write the credentials file, readable by its owner only, and return its path.

    The file is replaced atomically, so that another process never reads a part of it.
    """
    path = get_path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(asdict(credentials), stream, indent=2)
    temporary.replace(path)
    return path


def read_local_cloud(folder: Path) -> Credentials:
    """Return the credentials of the first client of the local cloud in `folder`.

    Raises:
        ClickException: If no local cloud runs in `folder`.
    """
    try:
        stack: dict[str, Any] = json.loads((folder / "stack.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise click.ClickException(f"No local cloud runs in {folder}. Start one with `make up`.") from None
    return Credentials(stack["api_url"], stack["client_id"], stack["client_secret"], stack.get("webhook_secret"))
