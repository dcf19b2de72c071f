"""`python -m local.logs`: follows the logs of every function of the local cloud, until Ctrl-C.

With them come the emulator's warnings and errors, such as a function that could not be started.
"""

from __future__ import annotations

import argparse
import json
import re
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
from local.emulator import log_file
from local.errors import NotRunning
from local.stack import Stack

EMULATOR = "emulator"
# In the emulator's log: its time, and everything up to the next line that begins with a time.
COMPLAINT = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) ((?:WARNING|ERROR|CRITICAL) (?s:.*?))(?=^[\d\[]|\Z)", re.MULTILINE
)
COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan")
LEVELS = {"WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}
PLATFORM = ("INIT_START ", "START ", "END ", "REPORT ")  # what Lambda itself writes
PAUSE_SECONDS = 0.7
LATE_MS = 10_000  # a line may be stored that long after its time


@dataclass(frozen=True)
class Line:
    """A line of a function's log; `time` in milliseconds since the epoch."""

    time: int
    function: str
    stream: str
    message: str


class Logs:
    """The logs of a local cloud, each line given once."""

    def __init__(self, folder: Path, *, since: int = 0) -> None:
        stack = Stack.load(folder)
        self._folder = folder
        self._client = stack.client("logs")
        self._groups: dict[str, str] = stack.outputs["log_groups"]
        self._since = dict.fromkeys([*self._groups, EMULATOR], since)
        self._seen: set[Line] = set()

    def new(self) -> list[Line]:
        """The lines that came since the last call, in their order."""
        found = chain(self._of_emulator(), *map(self._of, self._groups))
        lines = [line for line in found if line not in self._seen]
        self._seen.update(lines)
        return sorted(lines, key=lambda line: line.time)

    @property
    def sources(self) -> list[str]:
        """Where lines come from."""
        return sorted(self._since)

    def _of_emulator(self) -> Iterator[Line]:
        log = log_file(self._folder).read_text(encoding="utf-8", errors="replace")
        for number, found in enumerate(COMPLAINT.finditer(log)):
            moment = int(datetime.fromisoformat(f"{found[1]}+00:00").timestamp() * 1000)
            if moment >= self._since[EMULATOR] // 1000 * 1000:
                yield Line(moment, EMULATOR, str(number), found[2].rstrip())

    def _of(self, function: str) -> Iterator[Line]:
        """The lines of a function's group, from a while before the last one on."""
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


def recent(folder: Path, *, since: int = 0) -> str:
    """The lines of all functions since a time in milliseconds, as plain text; why there are none, if so."""
    try:
        lines = Logs(folder, since=since).new()
    except (NotRunning, BotoCoreError) as error:
        return str(error)
    return "\n".join(_shown(line, width=0, style="").plain for line in lines)


def _shown(line: Line, *, width: int, style: str) -> Text:
    moment = datetime.fromtimestamp(line.time / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
    text = Text.assemble((moment, "dim"), " ", (line.function.ljust(width), style), " ")
    return text.append_text(_message(line.message))


def _message(message: str) -> Text:
    """A structured line as level, message and what else it tells; any other line as it is."""
    try:
        record = json.loads(message)
        level, said = record.pop("level"), record.pop("message")
    except (ValueError, KeyError, TypeError, AttributeError):
        return Text(message, style="dim" if message.startswith(PLATFORM) else "")
    rest = {name: value for name, value in record.items() if name not in {"timestamp", "service", "location"}}
    trace = rest.pop("exception", "")
    text = Text.assemble((level, LEVELS.get(level, "dim")), f" {said} ", (_pairs(rest), "dim"))
    return text.append(f"\n{trace}", style="red") if trace else text


def _pairs(record: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in record.items() if value is not None)


def _follow(folder: Path) -> None:
    console, logs = Console(highlight=False, soft_wrap=True), Logs(folder)
    styles = dict(zip(logs.sources, cycle(COLOURS), strict=False))
    width = max(map(len, styles))
    try:
        while True:
            for line in logs.new():
                console.print(_shown(line, width=width, style=styles[line.function]))
            time.sleep(PAUSE_SECONDS)
    except KeyboardInterrupt:
        return
    except BotoCoreError:
        raise NotRunning("The local cloud has ended.") from None


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m local.logs", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the local cloud lives (.samovar)")
    return run(partial(_follow, parser.parse_args().folder.resolve()))


if __name__ == "__main__":
    sys.exit(main())
