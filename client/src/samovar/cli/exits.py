"""How a command ends, and what it says when it does not end well."""

from __future__ import annotations

import os
import sys

import click

OK, FAILED, USAGE, NOT_SUCCESSFUL, TIMED_OUT, NOT_AUTHENTICATED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
EXIT_STATUSES = {
    OK: "done; of a job that was waited for: it has succeeded",
    FAILED: "the API refused, or could not be reached; or a file could not be read or written",
    USAGE: "the command line is wrong",
    NOT_SUCCESSFUL: "the job failed, was canceled or has expired",
    TIMED_OUT: "time is over; the job goes on",
    NOT_AUTHENTICATED: "there are no credentials, or they are refused",
    INTERRUPTED: "interrupted by Ctrl-C; a job that was submitted goes on",
}


class Stop(Exception):
    """End with `status`; everything was said."""

    def __init__(self, status: int) -> None:
        """One of EXIT_STATUSES."""
        super().__init__(status)
        self.status = status


class NoCredentials(click.ClickException):
    """Nobody has logged in."""

    exit_code = NOT_AUTHENTICATED


def explained(error: BaseException) -> int:
    """Say what went wrong; returns the exit status."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, SystemExit):  # click's own, when nobody reads what is written any more
        return error.code if isinstance(error.code, int) else FAILED
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        say("Interrupted.")
        return INTERRUPTED
    return _explained_by_name(error)


def _explained_by_name(error: BaseException) -> int:
    from samovar import errors

    if isinstance(error, (errors.AuthenticationFailed, errors.Unauthorized)):
        say(f"Error: {error}. `samovar login` takes other credentials.")
        return NOT_AUTHENTICATED
    if isinstance(error, errors.WaitTimeout):
        say(f"{error}: samovar watch {error.job.id}")
        return TIMED_OUT
    if isinstance(error, errors.JobNotSuccessful):
        say(str(error))
        return NOT_SUCCESSFUL
    if isinstance(error, (errors.SamovarError, OSError, ValueError, ImportError)):
        say(f"Error: {error}")
        return FAILED
    if os.environ.get("SAMOVAR_DEBUG"):
        raise error
    say(f"Error: {type(error).__name__}. That is a bug; SAMOVAR_DEBUG=1 shows where.")
    return FAILED


def say(text: str) -> None:
    """A line for people: standard output is for results."""
    sys.stderr.write(f"{text}\n")
