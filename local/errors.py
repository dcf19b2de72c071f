"""Errors that a user of `make` or `samovar admin` can act on."""

from __future__ import annotations


class CommandError(Exception):
    """An error that is shown without a traceback, because its message names the cause and the remedy."""


class AlreadyExists(CommandError):
    """Terraform created a resource twice, because the emulator lost the answer to the first request."""


class NotRunning(CommandError):
    """No local cloud runs in the folder that a command was given."""
