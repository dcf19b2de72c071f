"""`python -m local.logs`: follow the logs of every function of the local cloud, until Ctrl-C.

The emulator's warnings and errors are shown too, such as a function that could not be started.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain, cycle
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.text import Text

from local.cloud import FOLDER
from local.command import run
from local.emulators import emulator, get_log_file
from local.errors import NotRunning
from local.stack import Stack

EMULATOR = "emulator"  # stands in the place of a function's name
COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan")
LEVELS = {"WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}
PLATFORM = ("INIT_START ", "START ", "END ", "REPORT ")  # Lambda itself writes lines that begin so
PAUSE_SECONDS = 0.7
LATE_MS = 10_000  # a line may be stored this long after its time


@dataclass(frozen=True)
class Line:
    """A line of a function's log. `time` is in milliseconds since the epoch."""

    time: int
    function: str
    stream: str
    message: str


class Logs:
    """The logs of a local cloud. Each line is returned once."""

    def __init__(self, folder: Path, *, since: int = 0) -> None:
        stack = Stack.load(folder)
        self._folder = folder
        self._emulator = emulator(stack.emulator_name)
        self._client = stack.client("logs")
        self._groups: dict[str, str] = stack.outputs["log_groups"]
        self._since = dict.fromkeys([*self._groups, EMULATOR], since)
        self._seen: set[Line] = set()

    def read_new(self) -> list[Line]:
        """Return the lines that were stored since the last call, in the order of their times."""
        found = chain(self._read_emulator(), *map(self._read_function, self._groups))
        lines = [line for line in found if line not in self._seen]
        self._seen.update(lines)
        return sorted(lines, key=lambda line: line.time)

    @property
    def sources(self) -> list[str]:
        """Return the names of the functions and of the emulator, sorted."""
        return sorted(self._since)

    def _read_emulator(self) -> Iterator[Line]:
        log = get_log_file(self._folder).read_text(encoding="utf-8", errors="replace")
        whole_second = self._since[EMULATOR] // 1000 * 1000  # the log may be no more precise
        for number, entry in enumerate(self._emulator.parse_log(log)):
            if entry.time >= whole_second:
                yield Line(entry.time, EMULATOR, str(number), entry.text)

    def _read_function(self, function: str) -> Iterator[Line]:
        """Yield the lines of a function's log group, beginning some seconds before the last line that was read."""
        pages = self._client.get_paginator("filter_log_events")
        since = max(0, self._since[function] - LATE_MS)
        try:
            for page in pages.paginate(logGroupName=self._groups[function], startTime=since):
                for event in page["events"]:
                    line = Line(event["timestamp"], function, event["logStreamName"], event["message"].rstrip())
                    self._since[function] = max(self._since[function], line.time)
                    yield line
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise


def read_recent(folder: Path, *, since: int = 0) -> str:
    """Return the lines of all functions since the time `since` (ms) as plain text, or the reason why there are none."""
    try:
        lines = Logs(folder, since=since).read_new()
    except (NotRunning, BotoCoreError) as error:
        return str(error)
    return "\n".join(_render(line, width=0, style="").plain for line in lines)


def _render(line: Line, *, width: int, style: str) -> Text:
    moment = datetime.fromtimestamp(line.time / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
    text = Text.assemble((moment, "dim"), " ", (line.function.ljust(width), style), " ")
    return text.append_text(_render_message(line.message))


def _render_message(message: str) -> Text:
    """Return a structured line as its level, its message and its other fields. Return any other line unchanged."""
    try:
        record = json.loads(message)
        level, said = record.pop("level"), record.pop("message")
    except (ValueError, KeyError, TypeError, AttributeError):
        return Text(message, style="dim" if message.startswith(PLATFORM) else "")
    rest = {name: value for name, value in record.items() if name not in {"timestamp", "service", "location"}}
    trace = rest.pop("exception", "")
    text = Text.assemble((level, LEVELS.get(level, "dim")), f" {said} ", (_render_fields(rest), "dim"))
    return text.append(f"\n{trace}", style="red") if trace else text


def _render_fields(record: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in record.items() if value is not None)


def _follow(folder: Path) -> None:
    console, logs = Console(highlight=False, soft_wrap=True), Logs(folder)
    styles = dict(zip(logs.sources, cycle(COLOURS), strict=False))
    width = max(map(len, styles))
    try:
        while True:
            for line in logs.read_new():
                console.print(_render(line, width=width, style=styles[line.function]))
            time.sleep(PAUSE_SECONDS)
    except KeyboardInterrupt:
        return
    except BotoCoreError:
        raise NotRunning("The local cloud has ended. Start it again with `make up`.") from None


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m local.logs", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder of the local cloud (.samovar)")
    return run(partial(_follow, parser.parse_args().folder.resolve()))


if __name__ == "__main__":
    sys.exit(main())
