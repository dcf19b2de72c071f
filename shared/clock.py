"""The current time, and times as text."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now_ms() -> int:
    """Return the current time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def format_rfc3339(milliseconds: int | None) -> str | None:
    """Return a time in UTC with milliseconds (RFC 3339), or None for None."""
    if milliseconds is None:
        return None
    instant = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
