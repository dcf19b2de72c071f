"""Options and decorators that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from samovar.cli import credentials

Command = Callable[..., Any]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
job_id_argument = click.argument("job_id", metavar="ID")
job_ids_argument = click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=3600,
    show_default=True,
    help="The seconds to wait for the job to end.",
)


def pass_client(command: Command) -> Command:
    """Pass an SDK client to the command as its first argument, and close the client afterwards."""

    @functools.wraps(command)
    def call_with_client(**options: Any) -> Any:
        with credentials.load().create_client() as client:
            return command(client, **options)

    return call_with_client
