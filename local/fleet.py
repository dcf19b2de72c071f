"""A fleet's machine on the local cloud: the worker as a process of its own, beside Lambda or instead of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from local import emulator
from local.errors import CommandError
from local.stack import Stack

_READY_WITHIN_SECONDS = 60
_INHERITED = ("PATH", "HOME")  # the rest of the user's environment is none of a machine's


@contextmanager
def poller(stack: Stack, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that polls the lanes, its model loaded; killed at the end if it has not ended by then.

    Its model and its log, `poller.log`, are in `folder`.

    Raises:
        CommandError: with its last words, when it does not get to polling.
    """
    command = [sys.executable, "-m", "functions.worker.poll"]
    log = folder / "poller.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=_environment(stack, folder), stdout=output, stderr=output) as process,
    ):
        try:
            _wait_until_polling(process, log)
            yield process
        finally:
            process.kill()


def _environment(stack: Stack, folder: Path) -> dict[str, str]:
    """As the machine's service has it, and what leads to the emulator."""
    return {
        **{name: os.environ[name] for name in _INHERITED if name in os.environ},
        **emulator.access(stack.aws_endpoint_url),
        **stack.outputs["settings"]["worker"],
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(folder),
        "PYTHONPATH": str(emulator.ROOT),
        "PYTHONUNBUFFERED": "1",
    }


def _wait_until_polling(process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _READY_WITHIN_SECONDS
    while b'"Polling"' not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > until:
            raise CommandError(
                f"The worker does not poll. The end of {log}:\n{log.read_text(errors='replace')[-2000:]}"
            )
        time.sleep(0.1)


@contextmanager
def without_lambda(stack: Stack) -> Iterator[None]:
    """Nothing but pollers receives from the lanes."""
    enable_mappings(stack, enabled=False)
    try:
        yield
    finally:
        enable_mappings(stack, enabled=True)


def enable_mappings(stack: Stack, *, enabled: bool) -> None:
    """Let Lambda receive from the lanes, or not."""
    with closing(stack.client("lambda")) as service:
        for mapping in mappings(stack):
            service.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)


def mappings(stack: Stack) -> list[dict[str, Any]]:
    """Lambda's mappings of the lanes, as its API shows them."""
    names = {stack.outputs["queue_urls"][lane].rpartition("/")[2] for lane in ("jobs", "solo")}
    with closing(stack.client("lambda")) as service:
        listed = service.list_event_source_mappings()["EventSourceMappings"]
    return [one for one in listed if one["EventSourceArn"].rpartition(":")[2] in names]
