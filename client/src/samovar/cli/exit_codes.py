"""The exit codes of the command line, and the conversion of exceptions to messages and exit codes."""

from __future__ import annotations

import os
import sys

import click

OK, FAILED, USAGE, NOT_SUCCESSFUL, TIMED_OUT, NOT_AUTHENTICATED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
EXIT_CODES = {
    OK: "success; if the command waited for a job, the job succeeded",
    FAILED: "the API refused the call or did not answer, or a file could not be read or written",
    USAGE: "the command line is wrong",
    NOT_SUCCESSFUL: "the job failed, was canceled or expired",
    TIMED_OUT: "the timeout was reached; the job continues",
    NOT_AUTHENTICATED: "there are no credentials, or the API refused them",
    INTERRUPTED: "interrupted by Ctrl-C; a submitted job continues",
}


class CommandExit(Exception):
    """The end of a command with an exit code. The command has printed everything before."""

    def __init__(self, exit_code: int) -> None:
        """End the command with `exit_code`, a key of EXIT_CODES."""
        super().__init__(exit_code)
        self.exit_code = exit_code


class NoCredentials(click.ClickException):
    """A command that needs credentials, but nobody has logged in."""

    exit_code = NOT_AUTHENTICATED


def report_error(error: BaseException) -> int:
    """Print a message about `error` to standard error, and return the exit code."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, SystemExit):  # click raises this when the reader of a pipe has closed it
        return error.code if isinstance(error.code, int) else FAILED
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        print_to_stderr("Interrupted.")
        return INTERRUPTED
    return _report_other_error(error)


def _report_other_error(error: BaseException) -> int:
    from samovar import errors

    if isinstance(error, (errors.AuthenticationFailed, errors.Unauthorized)):
        print_to_stderr(f"Error: {error}. Run `samovar login` with other credentials.")
        return NOT_AUTHENTICATED
    if isinstance(error, errors.WaitTimeout):
        print_to_stderr(f"{error}. To wait again: samovar watch {error.job.id}")
        return TIMED_OUT
    if isinstance(error, errors.JobNotSuccessful):
        print_to_stderr(str(error))
        return NOT_SUCCESSFUL
    if isinstance(error, (errors.SamovarError, OSError, ValueError, ImportError)):
        print_to_stderr(f"Error: {error}")
        return FAILED
    if os.environ.get("SAMOVAR_DEBUG"):
        raise error
    # The message of an unknown exception could contain a secret.
    print_to_stderr(f"Error: {type(error).__name__}. This is a bug. Set SAMOVAR_DEBUG=1 to see the traceback.")
    return FAILED


def print_to_stderr(text: str) -> None:
    """Print a line to standard error. Standard output is for results only."""
    sys.stderr.write(f"{text}\n")
