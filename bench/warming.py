"""What a warm-up is worth: from a job's submission to its result, cold, warmed by a token some seconds before, warm.

On a local cloud of its own, with the small model and with one of 220 MB. Before each measurement the worker's
environments are killed. A fleet's worker is measured instead of Lambda's: a process that polls, loaded long before.
`python -m bench.warming` prints a table, leaves JSON and draws `docs/warming.svg`.
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
from bench.model import big_model
from bench.report import RESULTS, Figure, report
from local import emulator, fleet
from local.cloud import ARTIFACTS
from local.package.assemble import build
from shared.clock import now_ms
from shared.warmup import Round, Rounds

FOLDER = emulator.ROOT / ".samovar" / "bench-warming"
PLOT = emulator.ROOT / "docs" / "warming.svg"
NOT_MEASURED = ("SnapStart: restored from a snapshot, which only AWS does",)
PATIENCE_SECONDS = 120
TEXT = "Ada Lovelace met Charles Babbage in London."


@dataclass(frozen=True)
class Size:
    """The models, how often each is measured, and the seconds between what a round waits for.

    `leads` are between token and job. `pauses` are before a fleet's jobs, so that they meet each part of its turn
    around the lanes.
    """

    models: tuple[str, ...]
    rounds: int
    leads: tuple[float, ...]
    pauses: tuple[float, ...]


FULL = Size(models=("small", "big"), rounds=3, leads=(0, 1, 2, 5, 10), pauses=(0.5, 1.5, 2.5, 3.5))
SMALLEST = Size(models=("small",), rounds=1, leads=(0,), pauses=(0.5,))


class Bench:
    """A local cloud, and its worker as cold as wanted."""

    def __init__(self, cloud: LocalCloud, http: httpx.Client) -> None:
        """Needs AWS's settings in the environment."""
        stack = cloud.stack
        self._stack, self._http, self._folder = stack, http, cloud.folder
        self._rounds = Rounds(stack.outputs["jobs_table"])
        self._version = stack.outputs["settings"]["auth"]["WORKER_VERSION"]

    def token(self) -> dict[str, Any]:
        """Fetch a token; what it says of the worker."""
        worker: dict[str, Any] = fetch_token(self._http, self._stack)["worker"]
        return worker

    def job(self) -> float:
        """Seconds from a job's submission to its result."""
        began = time.perf_counter()
        job = self._http.post("/analyze", json={"text": TEXT}).raise_for_status().json()
        wait_for_success(self._http, job["id"], seconds=PATIENCE_SECONDS)
        return time.perf_counter() - began

    def cool(self) -> None:
        """Kill the worker's environments, and let the table forget them and the last round."""
        for pid in self.environments():
            with suppress(ProcessLookupError):  # it has ended meanwhile
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

    def environments(self) -> list[int]:
        """The processes of Lambda's environments of this cloud's worker."""
        found = []
        for process in Path("/proc").iterdir():
            try:
                program = (process / "cmdline").read_bytes()
            except OSError:
                continue  # it has ended meanwhile, or is not a process
            if f"{self._folder}/".encode() in program and b"-worker-" in program:
                found.append(int(process.name))
        return found

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure with each model; returns 1 if a target is missed."""
    parser = command.parser("warming", __doc__)
    parser.add_argument("--models", nargs="+", choices=FULL.models, help="(default: all)")
    parser.add_argument("--rounds", type=int, help=f"how often each is measured (default: {FULL.rounds})")
    options = parser.parse_args(arguments)
    size = SMALLEST if options.smallest else FULL
    size = replace(size, models=options.models or size.models, rounds=options.rounds or size.rounds)
    measured = {model: _of_model(model, size, options.folder) for model in size.models}
    if not options.smallest:
        _keep(measured)
    figures = [figure for model, of_model in measured.items() for figure in _figures(model, of_model)]
    missed = report("warming", figures, smallest=options.smallest)
    for what in NOT_MEASURED:
        print(f"  {what:<58} not measured", flush=True)
    return missed


def _of_model(model: str, size: Size, borrowed: Path | None) -> dict[str, Any]:
    """Measure with a model; a cloud that is borrowed keeps the model it has."""
    variables = {"artifacts": str(_artifacts_with_big_model())} if model == "big" and borrowed is None else {}
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
    """Write what was measured as JSON, and as a picture."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"measured": measured, "not_measured": NOT_MEASURED}, indent=2)
    (RESULTS / "warming-seconds.json").write_text(content + "\n", encoding="utf-8")
    PLOT.write_text(_drawn(measured), encoding="utf-8")


def _measure(bench: Bench, model: str, size: Size) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {}
    environments: dict[str, list[int]] = {}
    promised: list[float] = []
    for _ in range(3):
        bench.job()
    for number in range(size.rounds):
        print(f"  {model} model, round {number + 1} of {size.rounds}", file=sys.stderr, flush=True)
        bench.cool()
        seconds.setdefault("cold", []).append(bench.job())
        seconds.setdefault("warm", []).append(bench.job())
        for lead in size.leads:
            bench.cool()
            began = now_ms()
            said = bench.token()["ready_in_seconds"]
            time.sleep(lead)
            name = f"token {lead} s before"
            seconds.setdefault(name, []).append(bench.job())
            environments.setdefault(name, []).append(len(bench.environments()))
            promised.append(said / bench.ready_seconds(began))
        bench.cool()
        began = now_ms()
        bench.token()
        time.sleep(bench.ready_seconds(began) - (now_ms() - began) / 1000 + 1 if now_ms() > began else 1)
        seconds.setdefault("token in time: load and 1 s", []).append(bench.job())
    return {"seconds": seconds, "environments": environments, "promised": promised}


def _measure_fleet(bench: Bench, cloud: LocalCloud, model: str, size: Size) -> list[float]:
    """What a job takes where Lambda has no part in it."""
    seconds = []
    with cloud.scratch() as folder, fleet.without_lambda(cloud.stack), fleet.poller(cloud.stack, folder):
        bench.cool()
        bench.job()
        for number in range(size.rounds):
            print(f"  {model} model, fleet, round {number + 1} of {size.rounds}", file=sys.stderr, flush=True)
            for pause in size.pauses:
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


def _artifacts_with_big_model() -> Path:
    """The local artifacts with the model of 220 MB in place of the small one."""
    output = ARTIFACTS.parent / "local-big"
    build(target="local", output=output, model=str(big_model()))
    return output


if __name__ == "__main__":
    sys.exit(main())
