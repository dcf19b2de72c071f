"""The EC2 fleet on a local cloud: a worker that polls the queues in a process, beside Lambda or instead of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from local.errors import CommandError
from local.paths import ROOT
from local.stack import Stack

_READY_WITHIN_SECONDS = 60
_INHERITED = ("PATH", "HOME")  # a machine of the fleet has nothing else of the user's environment


@contextmanager
def run_poller(stack: Stack, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker that has loaded its model and polls the queues, and kill it at the end of the block.

    Its model and its log, `poller.log`, are in `folder`.

    Raises:
        CommandError: If the worker does not begin to poll within 60 seconds. The message shows the end of its log.
    """
    command = [sys.executable, "-m", "functions.worker.poll"]
    log = folder / "poller.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=_build_environment(stack, folder), stdout=output, stderr=output) as process,
    ):
        try:
            _wait_until_polling(process, log)
            yield process
        finally:
            process.kill()


def _build_environment(stack: Stack, folder: Path) -> dict[str, str]:
    """Return the environment of the service on a machine of the fleet, with the address of the emulator."""
    return {
        **{name: os.environ[name] for name in _INHERITED if name in os.environ},
        **stack.aws_environment,
        **stack.outputs["settings"]["worker"],
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(folder),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }


def _wait_until_polling(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN_SECONDS
    while b'"Polling"' not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            end = log.read_text(errors="replace")[-2000:]
            raise CommandError(f"The worker does not begin to poll. Its log, {log}, ends with:\n{end}")
        time.sleep(0.1)


@contextmanager
def pause_lambda(stack: Stack) -> Iterator[None]:
    """Let only pollers receive from the queues while the block runs."""
    enable_mappings(stack, enabled=False)
    try:
        yield
    finally:
        enable_mappings(stack, enabled=True)


def enable_mappings(stack: Stack, *, enabled: bool) -> None:
    """Enable or disable the event source mappings, through which Lambda receives from the queues."""
    with closing(stack.client("lambda")) as service:
        for mapping in list_mappings(stack):
            service.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)


def list_mappings(stack: Stack) -> list[dict[str, Any]]:
    """Return the event source mappings of the worker's queues, as Lambda's API describes them."""
    names = {stack.outputs["queue_urls"][queue].rpartition("/")[2] for queue in ("jobs", "isolated")}
    with closing(stack.client("lambda")) as service:
        listed = service.list_event_source_mappings()["EventSourceMappings"]
    return [one for one in listed if one["EventSourceArn"].rpartition(":")[2] in names]
