"""What a warm-up is worth: from a job's submission to its result, cold, warmed by a token some seconds before, warm.

On a local cloud of its own, with the small model and with one of 220 MB. Before each measurement the worker's
environments are killed. A fleet's worker is measured instead of Lambda's: a process that polls, loaded long before.
`python -m bench.warming` prints a table, leaves JSON and draws `docs/warming.svg`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from bench.cloud import _credentials
from bench.model import big_model
from bench.report import RESULTS, Figure, report
from local import cloud, emulator, fleet
from local.cloud import ARTIFACTS
from local.package.assemble import build
from local.stack import Stack
from local.steps import Steps
from shared.clock import now_ms
from shared.warmup import Round, Rounds

FOLDER = emulator.ROOT / ".samovar" / "bench-warming"
PLOT = emulator.ROOT / "docs" / "warming.svg"
LEADS = (0, 1, 2, 5, 10)  # seconds between token and job
ROUNDS = 3
PAUSES = (0.5, 1.5, 2.5, 3.5)  # before a fleet's jobs, so that they meet each part of its turn around the lanes
NOT_MEASURED = ("SnapStart: restored from a snapshot, which only AWS does",)
PATIENCE_SECONDS = 120
TEXT = "Ada Lovelace met Charles Babbage in London."


class Bench:
    """A local cloud, and its worker as cold as wanted."""

    def __init__(self, stack: Stack, http: httpx.Client) -> None:
        """Needs AWS's settings in the environment."""
        self._stack, self._http = stack, http
        self._rounds = Rounds(stack.outputs["jobs_table"])
        self._version = stack.outputs["settings"]["auth"]["WORKER_VERSION"]
        self.token()

    def token(self) -> dict[str, Any]:
        """Fetch a token; what it says of the worker."""
        credentials = (self._stack.client_id, self._stack.client_secret)
        answer = self._http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=credentials)
        granted = answer.raise_for_status().json()
        self._http.headers["authorization"] = f"Bearer {granted['access_token']}"
        worker: dict[str, Any] = granted["worker"]
        return worker

    def job(self) -> float:
        """Seconds from a job's submission to its result."""
        began = time.perf_counter()
        job = self._http.post("/analyze", json={"text": TEXT}).raise_for_status().json()
        until = time.monotonic() + PATIENCE_SECONDS
        while job["status"] in {"queued", "running"} and time.monotonic() < until:
            job = self._http.get(f"/jobs/{job['id']}", params={"wait": 20}).raise_for_status().json()
        if job["status"] != "succeeded":
            raise RuntimeError(f"The job is {job['status']} after {PATIENCE_SECONDS} s")
        return time.perf_counter() - began

    def cool(self) -> None:
        """Kill the worker's environments, and let the table forget them and the last round."""
        for pid in _environments():
            os.kill(pid, signal.SIGKILL)
        dynamodb, table = self._stack.client("dynamodb"), self._stack.outputs["jobs_table"]
        dynamodb.update_item(
            TableName=table,
            Key={"id": {"S": f"warmup#{self._version}"}, "part": {"S": "round"}},
            UpdateExpression="SET environments = :none, began_at = :never",
            ExpressionAttributeValues={":none": {"M": {}}, ":never": {"N": "0"}},
        )
        dynamodb.delete_item(TableName=table, Key={"id": {"S": "pace#jobs"}, "part": {"S": "pace"}})
        time.sleep(3)  # what the API has read of it is forgotten, too

    def round(self) -> Round:
        """The latest warm-up round."""
        return self._rounds.latest(self._version)

    def ready_seconds(self, began: int) -> float:
        """Wait for the round's environment; the seconds from `began` (ms) to its being ready."""
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            if ready := [one.ready_at for one in self.round().environments.values() if one.ready_at >= began]:
                return (min(ready) - began) / 1000
            time.sleep(0.1)
        raise RuntimeError("The worker did not get ready")


def main() -> int:
    """Measure with each model."""
    parser = argparse.ArgumentParser(prog="python -m bench.warming", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=("small", "big"), default=("small", "big"))
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each is measured (default: %(default)s)")
    options = parser.parse_args()
    figures: list[Figure] = []
    measured: dict[str, Any] = {}
    for model in options.models:
        variables = {"artifacts": str(_artifacts_with_big_model())} if model == "big" else {}
        try:
            with Steps(Console(file=sys.stdout, highlight=False)) as steps:
                stack = cloud.up(FOLDER, steps=steps, port=None, variables=variables)
            with _credentials(stack), httpx.Client(base_url=stack.api_url, timeout=60, trust_env=False) as http:
                bench = Bench(stack, http)
                measured[model] = _measure(bench, model, options.rounds)
                measured[model]["seconds"]["fleet"] = _measure_fleet(bench, stack, model, options.rounds)
        finally:
            cloud.down(FOLDER)
        figures += _figures(model, measured[model])
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"measured": measured, "not_measured": NOT_MEASURED}, indent=2)
    (RESULTS / "warming-seconds.json").write_text(content + "\n", encoding="utf-8")
    PLOT.write_text(_drawn(measured), encoding="utf-8")
    missed = report("warming", figures)
    for what in NOT_MEASURED:
        print(f"  {what:<58} not measured", flush=True)
    return missed


def _measure(bench: Bench, model: str, rounds: int) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {}
    environments: dict[str, list[int]] = {}
    promised: list[float] = []
    for _ in range(3):
        bench.job()
    for number in range(rounds):
        print(f"  {model} model, round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        bench.cool()
        seconds.setdefault("cold", []).append(bench.job())
        seconds.setdefault("warm", []).append(bench.job())
        for lead in LEADS:
            bench.cool()
            began = now_ms()
            said = bench.token()["ready_in_seconds"]
            time.sleep(lead)
            name = f"token {lead} s before"
            seconds.setdefault(name, []).append(bench.job())
            environments.setdefault(name, []).append(len(_environments()))
            promised.append(said / bench.ready_seconds(began))
        bench.cool()
        began = now_ms()
        bench.token()
        time.sleep(bench.ready_seconds(began) - (now_ms() - began) / 1000 + 1 if now_ms() > began else 1)
        seconds.setdefault("token in time: load and 1 s", []).append(bench.job())
    return {"seconds": seconds, "environments": environments, "promised": promised}


def _measure_fleet(bench: Bench, stack: Stack, model: str, rounds: int) -> list[float]:
    """What a job takes where Lambda has no part in it."""
    seconds = []
    folder = Path(tempfile.mkdtemp(prefix="fleet-", dir=FOLDER / "tmp"))  # which goes with the emulator
    with fleet.without_lambda(stack), fleet.poller(stack, folder):
        bench.cool()
        bench.job()
        for number in range(rounds):
            print(f"  {model} model, fleet, round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            for pause in PAUSES:
                time.sleep(pause)
                seconds.append(bench.job())
    return seconds


def _figures(model: str, measured: dict[str, Any]) -> Iterator[Figure]:
    medians = {name: statistics.median(values) for name, values in measured["seconds"].items()}
    for name, value in medians.items():
        yield Figure(f"{model}: {name}", value, "s")
    long_before = medians["token in time: load and 1 s"]
    yield Figure(f"{model}: warmed in time / warm", long_before / medians["warm"], "x", most=1.3)
    yield Figure(f"{model}: cold / warm", medians["cold"] / medians["warm"], "x")
    most = max(max(counts) for counts in measured["environments"].values())
    yield Figure(f"{model}: environments begun for a token and its job", float(most), "", most=1)
    yield Figure(f"{model}: promised / true seconds to ready", statistics.median(measured["promised"]), "x", least=0.5,
                 most=1.5)  # fmt: skip


def _drawn(measured: dict[str, Any]) -> str:
    """Bars of the medians, model by model, as SVG; below them what nothing was measured of."""
    bars: list[tuple[str, float | None]] = []
    for model, of_model in measured.items():
        bars.append((f"{model} model", None))
        bars += [(name, statistics.median(values)) for name, values in of_model["seconds"].items()]
    longest = max(value for _, value in bars if value is not None)
    rows = []
    for number, (name, value) in enumerate(bars):
        y = 24 + 22 * number
        if value is None:
            rows.append(f'<text x="8" y="{y}" font-weight="bold">{name}</text>')
            continue
        width = max(1, 380 * value / longest)
        rows.append(
            f'<text x="300" y="{y}" text-anchor="end">{name}</text>'
            f'<rect x="308" y="{y - 12}" width="{width:.0f}" height="15" fill="#b5533c"/>'
            f'<text x="{314 + width:.0f}" y="{y}">{value:.2f} s</text>'
        )
    for number, what in enumerate(NOT_MEASURED, start=len(bars)):
        y = 24 + 22 * number
        rows.append(f'<text x="8" y="{y}" fill="#888" font-style="italic">not measured: {what}</text>')
    size = f'width="760" height="{24 + 22 * (len(bars) + len(NOT_MEASURED))}"'
    style = 'font-family="sans-serif" font-size="13" fill="#333"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n' + "\n".join(rows) + "\n</svg>\n"


def _environments() -> list[int]:
    """The processes of this cloud's worker."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended meanwhile, or is not a process
        if str(FOLDER).encode() in command and b"-worker-" in command:
            found.append(int(process.name))
    return found


def _artifacts_with_big_model() -> Path:
    """The local artifacts with the model of 220 MB in place of the small one."""
    output = ARTIFACTS.parent / "local-big"
    build(target="local", output=output, model=str(big_model()))
    return output


if __name__ == "__main__":
    sys.exit(main())
