"""The time that a cold start spends on importing the handlers of the API."""

from __future__ import annotations

import statistics
import subprocess
from pathlib import Path

import pytest

from tests.artifact.runtime import Unpack, Variables

REPETITIONS = 9
BUDGET = 2.2  # times the duration of `import boto3`

MEASURE = "import time; started = time.process_time(); import {}; print(time.process_time() - started)"


@pytest.mark.parametrize("name", ["auth", "submit"])
def test_importing_a_handler_takes_little_longer_than_importing_boto3(
    python: Path, unpack: Unpack, variables: Variables, name: str
) -> None:
    function = unpack(name)
    environment = function.environment(variables[name])
    handler, boto3 = f"functions.{name}.handler", "boto3"
    times: dict[str, list[float]] = {handler: [], boto3: []}
    for module in (handler, boto3) * (REPETITIONS + 1):
        done = subprocess.run(
            [python, "-c", MEASURE.format(module)], env=environment, check=True, capture_output=True, text=True
        )
        times[module].append(float(done.stdout))
    # The first repetition reads the files from the disk.
    handler_seconds, boto3_seconds = (statistics.median(times[module][1:]) for module in (handler, boto3))
    assert handler_seconds <= BUDGET * boto3_seconds, f"{handler_seconds:.3f} s against {boto3_seconds:.3f} s"
