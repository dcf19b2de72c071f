"""Entries of an emulator's own log."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LogEntry:
    """A warning or an error of the emulator, such as a function that it could not start."""

    time: int  # milliseconds since the epoch
    text: str  # the level and the message, which may have several lines
