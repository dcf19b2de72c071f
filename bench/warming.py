"""The gain of a warm-up: the time from a job's submission to its result with a cold, a warming and a warm worker.

The benchmark uses the small model and one of 220 MB. It kills the worker's environments before each measurement of a
cold or warming worker. It also measures a poller of the fleet, whose model is loaded. It prints a table, writes JSON,
and draws `docs/warming.svg`.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from bench import command
from bench.local_cloud import LocalCloud, api_client, credentials, fetch_token, local_cloud, wait_for_success
from bench.model import make_big_model
from bench.report import RESULTS, Figure, report
from local import fleet
from local.cloud import ARTIFACTS
from local.package.assemble import build
from local.paths import ROOT
from shared.aws.table import Table
from shared.clock import now_ms
from shared.warmup.records import WarmUp
from shared.warmup.store import WarmUpStore

FOLDER = ROOT / ".samovar" / "bench-warming"
PLOT = ROOT / "docs" / "warming.svg"
NOT_MEASURED = ("SnapStart: restored from a snapshot, which only AWS does",)
PATIENCE_SECONDS = 120
TEXT = "Ada Lovelace met Charles Babbage in London."


@dataclass(frozen=True)
class Size:
    """The models, the rounds for each, and pauses in seconds.

    `leads` are the pauses between token and job. `pauses` are those before the jobs of a fleet: they cover the
    different moments of the poller's turn through the queues.
    """

    models: tuple[str, ...]
    rounds: int
    leads: tuple[float, ...]
    pauses: tuple[float, ...]


FULL = Size(models=("small", "big"), rounds=3, leads=(0, 1, 2, 5, 10), pauses=(0.5, 1.5, 2.5, 3.5))
SMALLEST = Size(models=("small",), rounds=1, leads=(0,), pauses=(0.5,))


class Bench:
    """A local cloud whose worker can be made cold."""

    def __init__(self, cloud: LocalCloud, http: httpx.Client) -> None:
        """Use `cloud`, whose AWS variables must be in the environment, and `http` as its API."""
        stack = cloud.stack
        self._stack, self._http, self._folder = stack, http, cloud.folder
        self._warm_ups = WarmUpStore(Table(stack.outputs["jobs_table"]))
        self._version = stack.outputs["settings"]["auth"]["WORKER_VERSION"]

    def fetch_warmth(self) -> dict[str, Any]:
        """Fetch a token, which starts a warm-up. Return the answer's member `worker`."""
        worker: dict[str, Any] = fetch_token(self._http, self._stack)["worker"]
        return worker

    def run_job(self) -> float:
        """Run a job. Return the seconds from its submission to its result."""
        began = time.perf_counter()
        job = self._http.post("/analyze", json={"text": TEXT}).raise_for_status().json()
        wait_for_success(self._http, job["id"], seconds=PATIENCE_SECONDS)
        return time.perf_counter() - began

    def cool(self) -> None:
        """Kill the worker's environments, and remove them and the last warm-up from the table."""
        for pid in self.list_environments():
            with suppress(ProcessLookupError):  # the process has ended
                os.kill(pid, signal.SIGKILL)
        dynamodb, table = self._stack.client("dynamodb"), self._stack.outputs["jobs_table"]
        dynamodb.update_item(
            TableName=table,
            Key={"id": {"S": f"warmup#{self._version}"}, "part": {"S": "warmup"}},
            UpdateExpression="SET environments = :none, started_at = :never",
            ExpressionAttributeValues={":none": {"M": {}}, ":never": {"N": "0"}},
        )
        dynamodb.delete_item(TableName=table, Key={"id": {"S": "latency#jobs"}, "part": {"S": "latency"}})
        time.sleep(3)  # until the API reads the warm-up again

    def list_environments(self) -> list[int]:
        """Return the process ids of the worker's environments in this cloud."""
        found = []
        for process in Path("/proc").iterdir():
            try:
                program = (process / "cmdline").read_bytes()
            except OSError:
                continue  # not a process, or it has ended
            if f"{self._folder}/".encode() in program and b"-worker-" in program:
                found.append(int(process.name))
        return found

    def get_warm_up(self) -> WarmUp:
        """Return the latest warm-up."""
        return self._warm_ups.latest(self._version)

    def wait_until_ready(self, began: int) -> float:
        """Wait for an environment to become ready. Return the seconds from `began` (ms) to that moment."""
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            if ready := [one.ready_at for one in self.get_warm_up().environments.values() if one.ready_at >= began]:
                return (min(ready) - began) / 1000
            time.sleep(0.1)
        raise RuntimeError("No environment became ready")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure with each model. Return 1 if a target is missed."""
    parser = command.build_parser("warming", __doc__)
    parser.add_argument("--models", nargs="+", choices=FULL.models, help="(default: all)")
    parser.add_argument("--rounds", type=int, help=f"how often each is measured (default: {FULL.rounds})")
    options = parser.parse_args(arguments)
    size = SMALLEST if options.smallest else FULL
    size = replace(size, models=options.models or size.models, rounds=options.rounds or size.rounds)
    measured = {model: _measure_model(model, size, options.folder) for model in size.models}
    if not options.smallest:
        _keep(measured)
    figures = [figure for model, of_model in measured.items() for figure in _figures(model, of_model)]
    missed = report("warming", figures, smallest=options.smallest)
    for what in NOT_MEASURED:
        print(f"  {what:<58} not measured", flush=True)
    return missed


def _measure_model(model: str, size: Size, borrowed: Path | None) -> dict[str, Any]:
    """Measure with a model. A borrowed cloud keeps its model."""
    variables = {"artifacts": str(_build_big_artifacts())} if model == "big" and borrowed is None else {}
    with (
        local_cloud(borrowed, own=FOLDER, variables=variables) as cloud,
        credentials(cloud.stack),
        api_client(cloud.stack) as http,
    ):
        bench = Bench(cloud, http)
        measured = _measure(bench, model, size)
        measured["seconds"]["fleet"] = _measure_fleet(bench, cloud, model, size)
    return measured


def _keep(measured: dict[str, Any]) -> None:
    """Write the measurements as JSON and as a chart."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"measured": measured, "not_measured": NOT_MEASURED}, indent=2)
    (RESULTS / "warming-seconds.json").write_text(content + "\n", encoding="utf-8")
    PLOT.write_text(_draw(measured), encoding="utf-8")


def _measure(bench: Bench, model: str, size: Size) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {}
    environments: dict[str, list[int]] = {}
    promised: list[float] = []
    for _ in range(3):
        bench.run_job()
    for number in range(size.rounds):
        print(f"  {model} model, round {number + 1} of {size.rounds}", file=sys.stderr, flush=True)
        bench.cool()
        seconds.setdefault("cold", []).append(bench.run_job())
        seconds.setdefault("warm", []).append(bench.run_job())
        for lead in size.leads:
            bench.cool()
            began = now_ms()
            promise = bench.fetch_warmth()["ready_in_seconds"]
            time.sleep(lead)
            name = f"token {lead} s before"
            seconds.setdefault(name, []).append(bench.run_job())
            environments.setdefault(name, []).append(len(bench.list_environments()))
            promised.append(promise / bench.wait_until_ready(began))
        bench.cool()
        began = now_ms()
        bench.fetch_warmth()
        time.sleep(bench.wait_until_ready(began) - (now_ms() - began) / 1000 + 1 if now_ms() > began else 1)
        seconds.setdefault("token in time: load and 1 s", []).append(bench.run_job())
    return {"seconds": seconds, "environments": environments, "promised": promised}


def _measure_fleet(bench: Bench, cloud: LocalCloud, model: str, size: Size) -> list[float]:
    """Return the seconds of jobs that a poller processes instead of Lambda."""
    seconds = []
    with cloud.scratch() as folder, fleet.pause_lambda(cloud.stack), fleet.run_poller(cloud.stack, folder):
        bench.cool()
        bench.run_job()
        for number in range(size.rounds):
            print(f"  {model} model, fleet, round {number + 1} of {size.rounds}", file=sys.stderr, flush=True)
            for pause in size.pauses:
                time.sleep(pause)
                seconds.append(bench.run_job())
    return seconds


def _figures(model: str, measured: dict[str, Any]) -> Iterator[Figure]:
    medians = {name: statistics.median(values) for name, values in measured["seconds"].items()}
    for name, value in medians.items():
        yield Figure(f"{model}: {name}", value, "s")
    in_time = medians["token in time: load and 1 s"]
    yield Figure(f"{model}: warmed in time / warm", in_time / medians["warm"], "x", most=1.3)
    yield Figure(f"{model}: cold / warm", medians["cold"] / medians["warm"], "x")
    most = max(max(counts) for counts in measured["environments"].values())
    yield Figure(f"{model}: environments started for a token and its job", float(most), "", most=1)
    yield Figure(f"{model}: promised / true seconds to ready", statistics.median(measured["promised"]), "x", least=0.5,
                 most=1.5)  # fmt: skip


def _draw(measured: dict[str, Any]) -> str:
    """Return the medians as a bar chart in SVG, model by model, and the names of the cases without a measurement."""
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


def _build_big_artifacts() -> Path:
    """Build the local artifacts with the model of 220 MB. Return their folder."""
    output = ARTIFACTS.parent / "local-big"
    build(target="local", output=output, model=str(make_big_model()))
    return output


if __name__ == "__main__":
    sys.exit(main())
