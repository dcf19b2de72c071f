"""What stops a command of the local cloud in a way that its user can do something about."""

from __future__ import annotations


class Problem(Exception):
    """The message is for a person: it says what is wrong and what to do; no traceback is needed."""


class AlreadyThere(Problem):
    """Terraform was to create something that there is: the answer to its first request was lost, and it asked again."""


class NotUp(Problem):
    """There is no local cloud to talk to."""
