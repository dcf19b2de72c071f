"""The memory of a benchmark's process."""

from __future__ import annotations

import subprocess
import sys

from local.paths import ROOT


def test_peak_is_that_of_the_process_and_not_of_its_parent() -> None:
    held = bytearray(200_000_000)
    program = "from bench.memory import read_peak_memory_mb; print(read_peak_memory_mb())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 1 < float(done.stdout) < 100
    assert len(held)
