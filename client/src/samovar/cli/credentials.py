"""Where the command line has its credentials: the environment, else the file that `samovar login` wrote."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samovar.cli.exits import NoCredentials

if TYPE_CHECKING:
    from samovar.client import Client

VARIABLES = {"url": "SAMOVAR_URL", "client_id": "SAMOVAR_CLIENT_ID", "client_secret": "SAMOVAR_CLIENT_SECRET"}
WEBHOOK_VARIABLE = "SAMOVAR_WEBHOOK_SECRET"


@dataclass(frozen=True)
class Credentials:
    """Which API, and as which client."""

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    webhook_secret: str | None = field(default=None, repr=False)

    def client(self) -> Client:
        """The client of the API."""
        from samovar.client import Client

        return Client(self.url, self.client_id, self.client_secret)


def file() -> Path:
    """Where they are kept."""
    return Path(click.get_app_dir("samovar")) / "credentials.json"


def load() -> Credentials:
    """From the environment, if it names all three; else from the file. They are not mixed: a secret is for one API.

    Raises:
        NoCredentials: when there are none.
    """
    given = {name: os.environ.get(variable, "") for name, variable in VARIABLES.items()}
    if all(given.values()):
        return Credentials(**given, webhook_secret=os.environ.get(WEBHOOK_VARIABLE))
    if any(given.values()):
        missing = ", ".join(VARIABLES[name] for name, value in given.items() if not value)
        raise NoCredentials(f"The environment names a client only in part; set {missing}, too.")
    try:
        kept = json.loads(file().read_text(encoding="utf-8"))
        return Credentials(**kept)
    except FileNotFoundError:
        raise NoCredentials(f"Run `samovar login` first, or set {', '.join(VARIABLES.values())}.") from None
    except (ValueError, TypeError):
        raise NoCredentials(f"{file()} cannot be read: run `samovar login` again.") from None


def save(credentials: Credentials) -> Path:
    """Keep them for their owner alone; readers see all of the file, or what was there before."""
    target = file()
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = target.with_name(f".{target.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(asdict(credentials), stream, indent=2)
    new.replace(target)
    return target


def of_local_cloud(folder: Path) -> Credentials:
    """Those of the first client of the local cloud in `folder`.

    Raises:
        ClickException: when none is up there.
    """
    try:
        stack: dict[str, Any] = json.loads((folder / "stack.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise click.ClickException(f"No local cloud is up in {folder}: `make up` starts one.") from None
    return Credentials(stack["api_url"], stack["client_id"], stack["client_secret"], stack.get("webhook_secret"))
