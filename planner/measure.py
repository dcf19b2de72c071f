"""The subcommand `measure`: it runs jobs at a live deployment and writes their times as a measurements file."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from planner.errors import PlannerError
from planner.options import Parser, check_count

TEXT = "Ada Lovelace wrote the first program in London."
JOB_TIMEOUT_SECONDS = 120
WAIT_SECONDS = 20  # of one poll
OPEN_STATUSES = {"queued", "running"}


def main(arguments: Sequence[str], prog: str) -> int:
    """Take measurements and write them to a file. Return the exit status.

    Raises:
        PlannerError: If an option is not valid, the deployment does not answer, or the file cannot be written.
    """
    parser = Parser(prog=prog, description="Run jobs at a live deployment and write their times as JSON.")
    add = parser.add_argument
    add("--url", required=True, help="of the API")
    add("--client-id", required=True)
    add("--client-secret", default=os.environ.get("SAMOVAR_CLIENT_SECRET"), help="default: $SAMOVAR_CLIENT_SECRET")
    add("--jobs", type=int, default=20, help="warm jobs, one after the other (default: %(default)s)")
    add("--output", type=Path, default=Path("measurements.json"), help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    if not options.client_secret:
        raise PlannerError("client-secret", "give it, or set SAMOVAR_CLIENT_SECRET")
    check_count("jobs", options.jobs)
    measured = take_measurements(options.url, options.client_id, options.client_secret, jobs=options.jobs)
    try:
        options.output.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise PlannerError("output", f"{options.output} cannot be written: {error.strerror}") from None
    sys.stdout.write(f"Written to {options.output}\n")
    return 0


def take_measurements(url: str, client_id: str, client_secret: str, *, jobs: int) -> dict[str, Any]:
    """Submit jobs one after the other, and return their times as fields of `Measurements`.

    A job's metrics contain its load time and its run time. If the first job met a cold worker, its init time is the
    time in the queue beyond that of a warm job. A field that no job could show is left out, so its default applies.

    Raises:
        PlannerError: If the deployment does not answer as a Samovar does.
    """
    try:
        with httpx.Client(base_url=url, timeout=60) as client:
            granted = client.post(
                "/oauth/token", data={"grant_type": "client_credentials"}, auth=(client_id, client_secret)
            )
            client.headers["authorization"] = f"Bearer {granted.raise_for_status().json()['access_token']}"
            times = [_time_job(client) for _ in range(jobs + 1)]
    except (httpx.HTTPError, httpx.InvalidURL, KeyError, ValueError) as error:
        why = str(error).partition("\n")[0]  # httpx adds a second line with a link about status codes
        raise PlannerError("url", f"{url!r} did not answer as a Samovar does: {why}") from None
    return _build_fields(times)


def _time_job(client: httpx.Client) -> dict[str, float]:
    """Run one job and return its times in seconds. `all` is the time from the submit to the result, at the client."""
    began = time.perf_counter()
    job = client.post("/analyze", json={"text": TEXT}).raise_for_status().json()
    while job["status"] in OPEN_STATUSES:
        if time.perf_counter() - began > JOB_TIMEOUT_SECONDS:
            raise PlannerError("url", f"a job has not ended after {JOB_TIMEOUT_SECONDS} s")
        job = client.get(f"/jobs/{job['id']}", params={"wait": WAIT_SECONDS}).raise_for_status().json()
    if job["status"] != "succeeded":
        raise PlannerError("url", f"a job ended with the status {job['status']}: {job.get('error')}")
    return {
        "all": time.perf_counter() - began,
        "queue": (job["metrics"].get("queue_ms") or 0) / 1000,
        "load": (job["metrics"].get("cold_start_ms") or 0) / 1000,
        "run": (job["metrics"].get("run_ms") or 0) / 1000,
    }


def _build_fields(times: list[dict[str, float]]) -> dict[str, Any]:
    warm, cold = [one for one in times if not one["load"]], [one for one in times if one["load"]]
    if not warm:
        raise PlannerError("jobs", "no job met a warm worker: measure again with more jobs")
    queue = _select_median([one["queue"] for one in warm])
    overhead = _select_median([max(one["all"] - one["run"], 0.0) for one in warm])
    fields: dict[str, Any] = {"run_seconds": [one["run"] for one in warm], "overhead_seconds": round(overhead, 3)}
    if cold:
        fields["load_seconds"] = [one["load"] for one in cold]
        fields["init_seconds"] = [round(max(one["queue"] - queue, 0.0), 3) for one in cold]
    return fields


def _select_median(numbers: list[float]) -> float:
    return sorted(numbers)[len(numbers) // 2]
