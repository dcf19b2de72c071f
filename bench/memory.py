"""The memory of a process."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path


def read_peak_memory_mb() -> float:
    """Return the peak of this process's resident memory, in MB.

    On Linux `getrusage` would return the parent's peak if that is higher, because a process inherits it.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except FileNotFoundError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1_000_000 if sys.platform == "darwin" else 1_000)
    return int(re.findall(r"^VmHWM:\s+(\d+)", status, re.MULTILINE)[0]) / 1_000
