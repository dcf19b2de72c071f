"""The gain of a warm-up: the time from a job's submission to its result with a cold, a warming and a warm worker.

The benchmark uses the small model and one of 220 MB. Before it measures a cold or a warming worker, it kills the
worker's environments. It also measures a poller of the fleet, whose model is loaded. It prints the figures, writes
JSON, and draws `docs/warming.svg`.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from bench import command
from bench.local_cloud import LocalCloud, fetch_token, open_api, open_local_cloud, use_credentials, wait_for_success
from bench.model import make_big_model
from bench.report import RESULTS, Figure, report
from local import fleet
from local.cloud import ARTIFACTS
from local.package.assemble import build
from local.paths import GENERATED, ROOT
from shared.aws.items import expression
from shared.aws.table import Table
from shared.clock import now_ms
from shared.warmup.records import WarmUp
from shared.warmup.store import WarmUpStore

FOLDER = GENERATED / "bench-warming"
CHART = ROOT / "docs" / "warming.svg"
NOT_MEASURED = ("SnapStart, because only AWS restores snapshots",)
READY = "ready 1 s before"
TIMEOUT_SECONDS = 120
TEXT = "Ada Lovelace met Charles Babbage in London."


@dataclass(frozen=True)
class Size:
    """The models, the number of rounds with each, and pauses in seconds.

    `leads` are the pauses between a token and its job. `pauses` are the pauses before the jobs of a poller: a poller
    visits its queues in turn, and each pause submits a job at another moment of that turn.
    """

    models: tuple[str, ...]
    rounds: int
    leads: tuple[float, ...]
    pauses: tuple[float, ...]


FULL = Size(models=("small", "big"), rounds=3, leads=(0, 1, 2, 5, 10), pauses=(0.5, 1.5, 2.5, 3.5))
SMALLEST = Size(models=("small",), rounds=1, leads=(0,), pauses=(0.5,))


@dataclass
class Samples:
    """The measurements with one model.

    `seconds` are the times from submission to result by case. `environments` are the numbers of environments that were
    started for a token and its job. `promises` are the ratios of the promised to the true seconds until ready.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    environments: list[int] = field(default_factory=list)
    promises: list[float] = field(default_factory=list)

    def add(self, case: str, *seconds: float) -> None:
        """Add times of a case."""
        self.seconds.setdefault(case, []).extend(seconds)

    @property
    def medians(self) -> dict[str, float]:
        """Return the median seconds by case."""
        return {case: statistics.median(values) for case, values in self.seconds.items()}


class Bench:
    """A local cloud whose worker the benchmark can make cold."""

    def __init__(self, cloud: LocalCloud, http: httpx.Client) -> None:
        """Use `cloud`, whose AWS variables must be in the environment, and `http` as its API."""
        stack = cloud.stack
        self._stack, self._http, self._folder = stack, http, cloud.folder
        self._table = Table(stack.outputs["jobs_table"])
        self._warm_ups = WarmUpStore(self._table)
        self._version = stack.outputs["settings"]["auth"]["WORKER_VERSION"]

    def fetch_warmth(self) -> dict[str, Any]:
        """Fetch a token, which starts a warm-up. Return the answer's member `worker`."""
        worker: dict[str, Any] = fetch_token(self._http, self._stack)["worker"]
        return worker

    def run_job(self) -> float:
        """Run a job. Return the seconds from its submission to its result."""
        began = time.perf_counter()
        job = self._http.post("/analyze", json={"text": TEXT}).raise_for_status().json()
        wait_for_success(self._http, job["id"], seconds=TIMEOUT_SECONDS)
        return time.perf_counter() - began

    def cool(self) -> None:
        """Kill the worker's environments. Reset the warm-up and the latency of the queue `jobs`."""
        for pid in self.list_environments():
            with suppress(ProcessLookupError):  # the process has ended
                os.kill(pid, signal.SIGKILL)
        update = expression(
            {"none": {}, "never": 0}, UpdateExpression="SET #environments = :none, #started_at = :never"
        )
        self._table.update({"id": self.get_warm_up().key, "part": "warmup"}, update)
        self._table.delete({"id": "latency#jobs", "part": "latency"})
        time.sleep(3)  # until the API has read the warm-up again

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
        until = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < until:
            if ready := [one.ready_at for one in self.get_warm_up().environments.values() if one.ready_at >= began]:
                return (min(ready) - began) / 1000
            time.sleep(0.1)
        raise RuntimeError("No environment became ready")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure with each model. Return 1 if a target is missed."""
    parser = command.build_parser("warming", __doc__)
    parser.add_argument("--models", nargs="+", choices=FULL.models, help="models to measure with (default: all)")
    parser.add_argument("--rounds", type=int, help=f"measurements of each case (default: {FULL.rounds})")
    options = parser.parse_args(arguments)
    size = SMALLEST if options.smallest else FULL
    size = replace(size, models=options.models or size.models, rounds=options.rounds or size.rounds)
    by_model = {model: _measure_model(model, size, options.folder) for model in size.models}
    if not options.smallest:
        write_results(by_model)
    figures = [figure for model, samples in by_model.items() for figure in _compute_figures(model, samples)]
    missed = report("warming", figures, smallest=options.smallest)
    for case in NOT_MEASURED:
        print(f"  {case:<58} not measured", flush=True)
    return missed


def _measure_model(model: str, size: Size, borrowed: Path | None) -> Samples:
    """Measure with one model. A borrowed cloud keeps its own model."""
    variables = {"artifacts": str(_build_big_artifacts())} if model == "big" and borrowed is None else {}
    with (
        open_local_cloud(borrowed, own=FOLDER, variables=variables) as cloud,
        use_credentials(cloud.stack),
        open_api(cloud.stack) as http,
    ):
        bench = Bench(cloud, http)
        samples = _measure_lambda(bench, model, size)
        samples.add("fleet", *_measure_fleet(bench, cloud, model, size))
    return samples


def write_results(by_model: Mapping[str, Samples]) -> None:
    """Write the measurements as JSON and as a chart."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    measured = {model: asdict(samples) for model, samples in by_model.items()}
    content = json.dumps({"measured": measured, "not_measured": NOT_MEASURED}, indent=2)
    (RESULTS / "warming-seconds.json").write_text(content + "\n", encoding="utf-8")
    chart = draw_chart({model: samples.medians for model, samples in by_model.items()})
    CHART.write_text(chart, encoding="utf-8")


def _measure_lambda(bench: Bench, model: str, size: Size) -> Samples:
    samples = Samples()
    for _ in range(3):
        bench.run_job()
    for number in range(size.rounds):
        print(f"  {model} model, round {number + 1} of {size.rounds}", file=sys.stderr, flush=True)
        bench.cool()
        samples.add("cold", bench.run_job())
        samples.add("warm", bench.run_job())
        for lead in size.leads:
            _measure_lead(bench, lead, samples)
        samples.add(READY, _measure_ready(bench))
    return samples


def _measure_lead(bench: Bench, lead: float, samples: Samples) -> None:
    """Measure a job that is submitted `lead` seconds after a token."""
    bench.cool()
    began = now_ms()
    promise = bench.fetch_warmth()["ready_in_seconds"]
    time.sleep(lead)
    samples.add(f"token {lead} s before", bench.run_job())
    samples.environments.append(len(bench.list_environments()))
    samples.promises.append(promise / bench.wait_until_ready(began))


def _measure_ready(bench: Bench) -> float:
    """Return the seconds of a job that is submitted one second after a token's warm-up is ready."""
    bench.cool()
    began = now_ms()
    bench.fetch_warmth()
    ready_ms = bench.wait_until_ready(began) * 1000
    time.sleep(max(0, (began + ready_ms - now_ms()) / 1000 + 1))
    return bench.run_job()


def _measure_fleet(bench: Bench, cloud: LocalCloud, model: str, size: Size) -> list[float]:
    """Return the seconds of jobs that a poller processes instead of Lambda."""
    seconds = []
    with cloud.make_folder() as folder, fleet.pause_lambda(cloud.stack), fleet.run_poller(cloud.stack, folder):
        bench.cool()
        bench.run_job()
        for number in range(size.rounds):
            print(f"  {model} model, fleet, round {number + 1} of {size.rounds}", file=sys.stderr, flush=True)
            for pause in size.pauses:
                time.sleep(pause)
                seconds.append(bench.run_job())
    return seconds


def _compute_figures(model: str, samples: Samples) -> Iterator[Figure]:
    medians = samples.medians
    for case, seconds in medians.items():
        yield Figure(f"{model}: {case}", seconds, "s")
    yield Figure(f"{model}: {READY} / warm", medians[READY] / medians["warm"], "x", most=1.3)
    yield Figure(f"{model}: cold / warm", medians["cold"] / medians["warm"], "x")
    yield Figure(f"{model}: environments started for a token and its job", float(max(samples.environments)), "", most=1)
    promise = statistics.median(samples.promises)
    yield Figure(f"{model}: promised / true seconds to ready", promise, "x", least=0.5, most=1.5)


def draw_chart(medians: Mapping[str, Mapping[str, float]]) -> str:
    """Return a bar chart in SVG of the median seconds by model and case. Below it, list the cases without a median."""
    longest = max(max(by_case.values()) for by_case in medians.values())
    rows: list[str] = []
    for model, by_case in medians.items():
        rows.append(_draw_text(f"{model} model", row=len(rows), style='font-weight="bold"'))
        for case, seconds in by_case.items():
            rows.append(_draw_bar(case, seconds, row=len(rows), longest=longest))
    for case in NOT_MEASURED:
        rows.append(_draw_text(f"not measured: {case}", row=len(rows), style='fill="#888" font-style="italic"'))
    size = f'width="760" height="{_get_baseline(len(rows))}"'
    style = 'font-family="sans-serif" font-size="13" fill="#333"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n' + "\n".join(rows) + "\n</svg>\n"


def _draw_text(text: str, *, row: int, style: str) -> str:
    return f'<text x="8" y="{_get_baseline(row)}" {style}>{text}</text>'


def _draw_bar(case: str, seconds: float, *, row: int, longest: float) -> str:
    """Return a bar between its name and its value. The bar of `longest` seconds is 380 pixels wide."""
    y, width = _get_baseline(row), max(1, 380 * seconds / longest)
    return (
        f'<text x="300" y="{y}" text-anchor="end">{case}</text>'
        f'<rect x="308" y="{y - 12}" width="{width:.0f}" height="15" fill="#b5533c"/>'
        f'<text x="{314 + width:.0f}" y="{y}">{seconds:.2f} s</text>'
    )


def _get_baseline(row: int) -> int:
    """Return the vertical position of a row's text."""
    return 24 + 22 * row


def _build_big_artifacts() -> Path:
    """Build the local artifacts with the model of 220 MB. Return their folder."""
    output = ARTIFACTS.parent / "local-big"
    build(target="local", output=output, model=str(make_big_model()))
    return output


if __name__ == "__main__":
    sys.exit(main())
