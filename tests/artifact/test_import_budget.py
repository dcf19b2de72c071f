"""What a client waits for in a cold start: importing the handlers of the API."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.artifact.runtime import Unpacked

ROUNDS = 9
BUDGET = 2.2  # times `import boto3`

MEASURED = "import time; began = time.process_time(); import {}; print(time.process_time() - began)"


@pytest.mark.parametrize("name", ["auth", "submit"])
def test_importing_a_handler_is_little_more_than_importing_boto3(
    python: Path, unpacked: Callable[[str], Unpacked], variables: dict[str, dict[str, str]], name: str
) -> None:
    function = unpacked(name)
    environment = function.environment(variables[name])
    handler, boto3 = f"functions.{name}.handler", "boto3"
    times: dict[str, list[float]] = {handler: [], boto3: []}
    for module in (handler, boto3) * (ROUNDS + 1):
        done = subprocess.run(
            [python, "-c", MEASURED.format(module)], env=environment, check=True, capture_output=True, text=True
        )
        times[module].append(float(done.stdout))
    handler_seconds, boto3_seconds = (statistics.median(times[module][1:]) for module in (handler, boto3))
    assert handler_seconds <= BUDGET * boto3_seconds, f"{handler_seconds:.3f} s against {boto3_seconds:.3f} s"
