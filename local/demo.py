"""`python -m local.demo`: the local cloud up to date, then one job from token to result, watched."""

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
from local.errors import Problem
from local.stack import Stack
from local.steps import Steps, duration, run

TEXT = (
    "Marie Curie left Warsaw for Paris in 1891; in 1903 she became the first woman to win a Nobel Prize. Last Tuesday "
    "the European Central Bank in Frankfurt kept its rate at 2%, while Lufthansa ordered 40 aircraft from Airbus for "
    "about €6 billion. Ada Lovelace would have liked the Science Museum in London, which opens at 10am and is 35 miles "
    "from Cambridge."
)
WAIT_SECONDS = 1  # short, so that each change of status is seen
GIVE_UP_SECONDS = 120
ENTITIES_SHOWN = 40

# What the labels of the English pipelines mean, and a colour for each.
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
class Change:
    """A status that a job came to, `seconds` after it was submitted."""

    status: str
    seconds: float


class Session:
    """A client of the API, with a token."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._http = httpx.Client(base_url=stack.api_url, timeout=60, trust_env=False)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def authenticate(self) -> dict[str, Any]:
        """Fetch a token for all further calls; returns what the answer says about the worker."""
        credentials = (self._stack.client_id, self._stack.client_secret)
        answer = self._http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=credentials)
        granted = _checked(answer)
        self._http.headers["authorization"] = f"Bearer {granted['access_token']}"
        worker: dict[str, Any] = granted["worker"]
        return worker

    def submit(self, text: str) -> dict[str, Any]:
        """Submit a text; the job."""
        return _checked(self._http.post("/analyze", json={"text": text}))

    def changes(self, job: dict[str, Any]) -> Iterator[tuple[Change, dict[str, Any]]]:
        """Each status of a submitted job with the job as it was then, until it is terminal."""
        began, seen = time.monotonic(), job["status"]
        while "completed_at" not in job:
            if time.monotonic() - began > GIVE_UP_SECONDS:
                raise Problem(f"The job is {seen} after {GIVE_UP_SECONDS} s; `make logs` may say why.")
            job = _checked(self._http.get(f"/jobs/{job['id']}", params={"wait": WAIT_SECONDS}))
            if job["status"] == seen:
                continue
            if seen == "queued" and job["status"] != "running" and "started_at" in job:
                # Too quick to be seen; the service remembers.
                yield Change("running", _since(job, "started_at")), job
            seen = job["status"]
            at = _since(job, "completed_at") if "completed_at" in job else _since(job, "started_at")
            yield Change(seen, at), job

    def result(self, job: dict[str, Any]) -> dict[str, Any]:
        """The result of a job that succeeded, wherever it is kept."""
        if "result" in job:
            found: dict[str, Any] = job["result"]
            return found
        return _checked(httpx.get(job["result_url"], timeout=60, trust_env=False))


def _checked(answer: httpx.Response) -> dict[str, Any]:
    """The answer's JSON object.

    Raises:
        Problem: with the API's words, when it is an error.
    """
    if answer.is_success:
        found: dict[str, Any] = answer.json()
        return found
    try:
        reason = json.loads(answer.text)
    except ValueError:
        reason = {}
    detail = reason.get("detail") or reason.get("error_description") or answer.text[:500]
    raise Problem(f"{answer.request.method} {answer.url.path} → {answer.status_code}: {detail}")


def _since(job: dict[str, Any], name: str) -> float:
    moments = (datetime.fromisoformat(job[moment]) for moment in ("created_at", name))
    created, then = moments
    return (then - created).total_seconds()


def demonstrate(stack: Stack, text: str, steps: Steps) -> None:
    """One job, from token to result.

    Raises:
        Problem: when the API refuses something or the job does not succeed.
    """
    session = Session(stack)
    try:
        with steps.step("Fetching a token, which warms the worker"):
            worker = session.authenticate()
        steps.console.print(f"  worker  {_warmth(worker)}")
        with steps.step("Submitting the text"):
            job = session.submit(text)
        steps.console.print(f"  job     {job['id']}\n  status  [yellow]{job['status']}[/]")
        job = _watch(session, job, steps)
        if job["status"] != "succeeded":
            reason = job.get("error", {}).get("detail", "no reason given")
            raise Problem(f"The job {job['status']}: {reason}; `make logs` may say more.")
        _show(session.result(job), text, steps)
        steps.console.print(f"\n{_times(job)}")
    finally:
        session.close()


def _watch(session: Session, job: dict[str, Any], steps: Steps) -> dict[str, Any]:
    with steps.step("Waiting for the result"):
        for change, latest in session.changes(job):
            colour = {"succeeded": "green", "running": "yellow"}.get(change.status, "red")
            steps.console.print(f"  status  [{colour}]{change.status}[/] after {duration(change.seconds)}")
            job = latest
    return job


def _warmth(worker: dict[str, Any]) -> str:
    colour = {"warm": "green", "warming": "yellow"}.get(worker["state"], "blue")
    ready = worker["ready_in_seconds"]
    return f"[{colour}]{worker['state']}[/]" + (f", ready in about {ready} s" if ready else "")


def _show(result: dict[str, Any], text: str, steps: Steps) -> None:
    ents = [ent for document in result["documents"] for ent in document.get("ents", [])]
    table = Table(title="Entities", title_justify="left", title_style="bold", header_style="dim")
    for column in ("Text", "Label", "Meaning"):
        table.add_column(column)
    for ent in ents[:ENTITIES_SHOWN]:
        meaning, colour = LABELS.get(ent["label"], ("", "white"))
        found = " ".join(text[ent["start"] : ent["end"]].split())
        table.add_row(Text(found, style=f"bold {colour}"), Text(ent["label"], style=colour), Text(meaning))
    steps.console.print()
    steps.console.print(table if ents else "No entities in this text.")
    if len(ents) > ENTITIES_SHOWN:
        steps.console.print(f"… and {len(ents) - ENTITIES_SHOWN} more")


def _times(job: dict[str, Any]) -> str:
    names = {"queue_ms": "queued", "cold_start_ms": "cold start", "run_ms": "running", "total_ms": "in all"}
    metrics = job.get("metrics", {})
    times = [f"{said} {duration(metrics[name] / 1000)}" for name, said in names.items() if name in metrics]
    words = f"{metrics['words']:,} words: " if "words" in metrics else ""
    return words + ", ".join(times)


def chosen_text(*, text: str | None, file: Path | None) -> str:
    """The text that the command line asks for.

    Raises:
        Problem: there is none, or it cannot be read.
    """
    if text is not None and file is not None:
        raise Problem("Give TEXT or FILE, not both.")
    chosen = TEXT if text is None else text
    if file is not None:
        chosen = _read(file)
    if not chosen.strip():
        raise Problem(f"{file or 'TEXT'} is empty: there is nothing to analyse.")
    return chosen


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise Problem(f"{file} cannot be read: {os.strerror(error.errno or 0)}.") from error
    except UnicodeDecodeError as error:
        raise Problem(f"{file} is not UTF-8 text: byte {error.start} cannot be read.") from error


def _demo(options: argparse.Namespace) -> None:
    text = chosen_text(text=options.text, file=options.file)
    with Steps() as steps:
        stack = up(options.folder.resolve(), steps=steps)
        demonstrate(stack, text, steps)
        steps.note("The local cloud stays up: `make logs` follows its functions, `make down` stops it")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m local.demo", description=__doc__)
    parser.add_argument("--text", help="the text to analyse (default: an example)")
    parser.add_argument("--file", type=Path, help="a UTF-8 file to analyse")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the local cloud lives (.samovar)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return run(partial(_demo, options))


if __name__ == "__main__":
    sys.exit(main())
