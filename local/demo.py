"""`python -m local.demo`: bring the local cloud up to date, then run one job and show each of its progress."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from rich.table import Table
from rich.text import Text

from local.cloud import FOLDER, up
from local.command import run
from local.errors import CommandError
from local.progress import ProgressDisplay, format_duration
from local.stack import Stack

TEXT = (
    "Marie Curie left Warsaw for Paris in 1891; in 1903 she became the first woman to win a Nobel Prize. Last Tuesday "
    "the European Central Bank in Frankfurt kept its rate at 2%, while Lufthansa ordered 40 aircraft from Airbus for "
    "about €6 billion. Ada Lovelace would have liked the Science Museum in London, which opens at 10am and is 35 miles "
    "from Cambridge."
)
WAIT_SECONDS = 1  # a short wait shows each status
GIVE_UP_SECONDS = 120
ENTITIES_SHOWN = 40

# For each entity label of spaCy's English pipelines: its meaning and a colour.
LABELS = {
    "CARDINAL": ("a number", "bright_black"),
    "DATE": ("a date or period", "green"),
    "EVENT": ("a named event", "magenta"),
    "FAC": ("a building or road", "yellow"),
    "GPE": ("a country, state or city", "bright_yellow"),
    "LANGUAGE": ("a language", "cyan"),
    "LAW": ("a law", "magenta"),
    "LOC": ("a place", "yellow"),
    "MONEY": ("an amount of money", "bright_green"),
    "NORP": ("a nationality or group", "bright_blue"),
    "ORDINAL": ("a rank", "bright_black"),
    "ORG": ("an organisation", "bright_cyan"),
    "PERCENT": ("a percentage", "bright_green"),
    "PERSON": ("a person", "bright_magenta"),
    "PRODUCT": ("a product", "blue"),
    "QUANTITY": ("a measurement", "bright_green"),
    "TIME": ("a time of day", "green"),
    "WORK_OF_ART": ("a work of art", "magenta"),
}


@dataclass(frozen=True)
class StatusChange:
    """A new status of a job, `seconds` after the job was submitted."""

    status: str
    seconds: float


class Session:
    """A client of the API that holds a token."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._http = httpx.Client(base_url=stack.api_url, timeout=60, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def authenticate(self) -> dict[str, Any]:
        """Fetch a token for all further calls, and return the field `worker` of the answer."""
        credentials = (self._stack.client_id, self._stack.client_secret)
        answer = self._http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=credentials)
        granted = _read_object(answer)
        self._http.headers["authorization"] = f"Bearer {granted['access_token']}"
        worker: dict[str, Any] = granted["worker"]
        return worker

    def submit(self, text: str) -> dict[str, Any]:
        """Submit a text and return the job."""
        return _read_object(self._http.post("/analyze", json={"text": text}))

    def follow(self, job: dict[str, Any]) -> Iterator[tuple[StatusChange, dict[str, Any]]]:
        """Yield each new status of a submitted job, with the job, until the job has ended.

        Raises:
            CommandError: If the job has not ended after two minutes.
        """
        began, seen = time.monotonic(), job["status"]
        while "completed_at" not in job:
            if time.monotonic() - began > GIVE_UP_SECONDS:
                raise CommandError(f"The job is still {seen} after {GIVE_UP_SECONDS} s. `make logs` may show why.")
            job = _read_object(self._http.get(f"/jobs/{job['id']}", params={"wait": WAIT_SECONDS}))
            if job["status"] == seen:
                continue
            if seen == "queued" and job["status"] != "running" and "started_at" in job:
                # The job was running for less than one poll. The service keeps the time at which it started.
                yield StatusChange("running", _seconds_until(job, "started_at")), job
            seen = job["status"]
            moment = "completed_at" if "completed_at" in job else "started_at"
            yield StatusChange(seen, _seconds_until(job, moment)), job

    def fetch_result(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return the result of a job that succeeded, from the job itself or from its URL."""
        if "result" in job:
            found: dict[str, Any] = job["result"]
            return found
        return _read_object(httpx.get(job["result_url"], timeout=60, trust_env=False))


def _read_object(answer: httpx.Response) -> dict[str, Any]:
    """Return the JSON object in the answer.

    Raises:
        CommandError: If the answer is an error. The message shows its detail.
    """
    if answer.is_success:
        found: dict[str, Any] = answer.json()
        return found
    try:
        reason = json.loads(answer.text)
    except ValueError:
        reason = {}
    detail = reason.get("detail") or reason.get("error_description") or answer.text[:500]
    raise CommandError(f"{answer.request.method} {answer.url.path} → {answer.status_code}: {detail}")


def _seconds_until(job: dict[str, Any], name: str) -> float:
    """Return the seconds from the creation of the job to its time `name`."""
    created, moment = (datetime.fromisoformat(job[one]) for one in ("created_at", name))
    return (moment - created).total_seconds()


def demonstrate(stack: Stack, text: str, progress: ProgressDisplay) -> None:
    """Run one job and show each step, from its token to its result.

    Raises:
        CommandError: If the API refuses a request or the job does not succeed.
    """
    session = Session(stack)
    try:
        with progress.step("Fetching a token, which starts to warm the worker"):
            worker = session.authenticate()
        progress.console.print(f"  worker  {_render_worker(worker)}")
        with progress.step("Submitting the text"):
            job = session.submit(text)
        progress.console.print(f"  job     {job['id']}\n  status  [yellow]{job['status']}[/]")
        job = _watch(session, job, progress)
        if job["status"] != "succeeded":
            reason = job.get("error", {}).get("detail", "no reason given")
            raise CommandError(f"The job has ended (status: {job['status']}): {reason}. `make logs` may show more.")
        _show(session.fetch_result(job), text, progress)
        progress.console.print(f"\n{_render_times(job)}")
    finally:
        session.close()


def _watch(session: Session, job: dict[str, Any], progress: ProgressDisplay) -> dict[str, Any]:
    with progress.step("Waiting for the result"):
        for change, latest in session.follow(job):
            colour = {"succeeded": "green", "running": "yellow"}.get(change.status, "red")
            progress.console.print(f"  status  [{colour}]{change.status}[/] after {format_duration(change.seconds)}")
            job = latest
    return job


def _render_worker(worker: dict[str, Any]) -> str:
    colour = {"warm": "green", "warming": "yellow"}.get(worker["state"], "blue")
    ready = worker["ready_in_seconds"]
    return f"[{colour}]{worker['state']}[/]" + (f", ready in about {ready} s" if ready else "")


def _show(result: dict[str, Any], text: str, progress: ProgressDisplay) -> None:
    ents = [ent for document in result["documents"] for ent in document.get("ents", [])]
    table = Table(title="Entities", title_justify="left", title_style="bold", header_style="dim")
    for column in ("Text", "Label", "Meaning"):
        table.add_column(column)
    for ent in ents[:ENTITIES_SHOWN]:
        meaning, colour = LABELS.get(ent["label"], ("", "white"))
        found = " ".join(text[ent["start"] : ent["end"]].split())
        table.add_row(Text(found, style=f"bold {colour}"), Text(ent["label"], style=colour), Text(meaning))
    progress.console.print()
    progress.console.print(table if ents else "No entities in this text.")
    if len(ents) > ENTITIES_SHOWN:
        progress.console.print(f"… and {len(ents) - ENTITIES_SHOWN} more")


def _render_times(job: dict[str, Any]) -> str:
    names = {"queue_ms": "queued", "cold_start_ms": "cold start", "run_ms": "running", "total_ms": "total"}
    metrics = job.get("metrics", {})
    times = [f"{said} {format_duration(metrics[name] / 1000)}" for name, said in names.items() if name in metrics]
    words = f"{metrics['words']:,} words: " if "words" in metrics else ""
    return words + ", ".join(times)


def choose_text(*, text: str | None, file: Path | None) -> str:
    """Return the text that the command line asks for, or an example.

    Raises:
        CommandError: If the text is empty, or the file cannot be read.
    """
    if text is not None and file is not None:
        raise CommandError("TEXT and FILE are both set. Give TEXT or FILE, not both.")
    chosen = TEXT if text is None else text
    if file is not None:
        chosen = _read(file)
    if not chosen.strip():
        raise CommandError(f"{file or 'TEXT'} is empty. Give a text to analyse.")
    return chosen


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {os.strerror(error.errno or 0)}. Give a readable file.") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{file} is not UTF-8 text: byte {error.start} is invalid. Convert it to UTF-8.") from error


def _demo(options: argparse.Namespace) -> None:
    text = choose_text(text=options.text, file=options.file)
    with ProgressDisplay() as progress:
        stack = up(options.folder.resolve(), progress=progress)
        demonstrate(stack, text, progress)
        progress.note("The local cloud keeps running. `make logs` follows its functions, `make down` stops it")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m local.demo", description=__doc__)
    parser.add_argument("--text", help="text to analyse (default: an example)")
    parser.add_argument("--file", type=Path, help="UTF-8 file to analyse")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder of the local cloud (.samovar)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return run(partial(_demo, options))


if __name__ == "__main__":
    sys.exit(main())
