"""Emulators of AWS on this machine: the Protocol that each implements, and the table of all of them.

Adding an emulator touches two files: its own module in this package, and `EMULATORS` below.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from local.emulators.log import LogEntry
from local.emulators.ministack import MiniStack
from local.emulators.running import RunningEmulator, get_log_file
from local.errors import CommandError
from local.package.platform import Target

__all__ = ["EMULATORS", "Emulator", "LogEntry", "RunningEmulator", "emulator", "get_log_file", "stop"]

VARIABLE = "SAMOVAR_EMULATOR"  # the environment variable that chooses an emulator


class Emulator(Protocol):
    """A program that answers AWS's APIs on this machine, with everything in which it differs from other such programs.

    A local cloud lives in a folder. An emulator keeps its files in that folder, and its state need not outlive it.
    """

    @property
    def name(self) -> str:
        """Return the name of the emulator, as in `EMULATORS`."""
        ...

    @property
    def default_port(self) -> int:
        """Return the port that the emulator's users expect."""
        ...

    @property
    def region(self) -> str:
        """Return the AWS region that the emulator plays."""
        ...

    @property
    def credentials(self) -> Mapping[str, str]:
        """Return an access key of the account's root user, as `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`."""
        ...

    @property
    def build_target(self) -> Target:
        """Return `local` if functions run under this machine's Python, `aws` if they run in Lambda's images."""
        ...

    @property
    def terraform_variables(self) -> Mapping[str, Any]:
        """Return the Terraform variables that the emulator needs, such as tags and IAM concessions."""
        ...

    def compute_source_digest(self) -> str:
        """Return a digest of the packages that `install` installs. A local cloud with another digest starts again."""
        ...

    def install(self) -> None:
        """Install the emulator's packages, unless they are installed.

        Raises:
            CommandError: If a package cannot be installed.
        """
        ...

    def start(self, folder: Path, *, port: int | None, idle_seconds: int | None = None) -> RunningEmulator:
        """Start the emulator in `folder` without state, and return when it answers.

        Args:
            folder: the folder of the local cloud; made if missing.
            port: the wanted port. Another free port is taken if it is None or taken.
            idle_seconds: seconds after which an idle Lambda execution environment ends; None for the emulator's own.

        Raises:
            CommandError: If the emulator does not start. The message shows the end of its log.
        """
        ...

    def stop(self, folder: Path) -> None:
        """End the emulator in `folder` with its functions, and remove its files except its log."""
        ...

    def is_healthy(self, url: str) -> bool:
        """Return whether the emulator at `url` answers."""
        ...

    def build_api_url(self, url: str) -> str:
        """Return the URL of the project's HTTP API at the emulator at `url`. It is known before Terraform runs."""
        ...

    def parse_log(self, log: str) -> Iterator[LogEntry]:
        """Yield the warnings and errors in the text of the emulator's own log."""
        ...

    def is_lost_answer(self, errors: str) -> bool:
        """Return whether Terraform failed with `errors` because the emulator lost the answer to a request."""
        ...

    def get_temporary_folder(self, folder: Path) -> Path:
        """Return the folder for the temporary files of the emulator and its functions."""
        ...

    def get_python_folder(self, folder: Path) -> Path:
        """Return the folder on the functions' Python path that tests may make and put modules into."""
        ...


EMULATORS: dict[str, Callable[[], Emulator]] = {"ministack": MiniStack}
DEFAULT = "ministack"


def emulator(name: str | None = None) -> Emulator:
    """Return the emulator called `name`; by default the one that `$SAMOVAR_EMULATOR` names, else the default one.

    Raises:
        CommandError: If there is no emulator of that name.
    """
    chosen = name or os.environ.get(VARIABLE) or DEFAULT
    if chosen not in EMULATORS:
        raise CommandError(f"There is no emulator {chosen!r}. Set {VARIABLE} to one of: {', '.join(EMULATORS)}.")
    return EMULATORS[chosen]()


def stop(folder: Path) -> None:
    """Stop the emulator that was started in `folder`, which need not be the one that is chosen now."""
    running = RunningEmulator.read(folder)
    emulator(running.name if running else None).stop(folder)
