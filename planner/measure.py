"""`measure`: takes the measurements that the planner draws from, at a live deployment, through its HTTP API."""

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
from planner.options import Parser, whole

TEXT = "Ada Lovelace wrote the first program in London."
PATIENCE_SECONDS = 120
WAIT_SECONDS = 20


def main(arguments: Sequence[str], prog: str) -> int:
    """Measure and write the JSON; returns the exit status."""
    parser = Parser(prog=prog, description=__doc__)
    add = parser.add_argument
    add("--url", required=True, help="of the API")
    add("--client-id", required=True)
    add("--client-secret", default=os.environ.get("SAMOVAR_CLIENT_SECRET"), help="default: $SAMOVAR_CLIENT_SECRET")
    add("--jobs", type=int, default=20, help="warm jobs, one after the other (default: %(default)s)")
    add("--output", type=Path, default=Path("measurements.json"), help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    if not options.client_secret:
        raise PlannerError("client-secret", "give it, or set SAMOVAR_CLIENT_SECRET")
    whole("jobs", options.jobs)
    found = measured(options.url, options.client_id, options.client_secret, jobs=options.jobs)
    try:
        options.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise PlannerError("output", f"{options.output} cannot be written: {error.strerror}") from None
    sys.stdout.write(f"Written to {options.output}\n")
    return 0


def measured(url: str, client_id: str, client_secret: str, *, jobs: int) -> dict[str, Any]:
    """Submit jobs one after the other; the measurements that they show, in the fields of `Measurements`.

    A job's own metrics say what its environment loaded and how long it ran. If the first one met a cold worker, the
    time that neither queue nor run explain is its init. What no job showed is left out, so that the default holds.

    Raises:
        PlannerError: when the deployment does not answer as it should.
    """
    try:
        with httpx.Client(base_url=url, timeout=60) as client:
            granted = client.post(
                "/oauth/token", data={"grant_type": "client_credentials"}, auth=(client_id, client_secret)
            )
            client.headers["authorization"] = f"Bearer {granted.raise_for_status().json()['access_token']}"
            ran = [_job(client) for _ in range(jobs + 1)]
    except (httpx.HTTPError, httpx.InvalidURL, KeyError, ValueError) as error:
        why = str(error).partition("\n")[0]  # the second line says where to read about status codes
        raise PlannerError("url", f"{url!r} did not answer as a Samovar does: {why}") from None
    return _fields(ran)


def _job(client: httpx.Client) -> dict[str, float]:
    """One job, from submit to result as who waits sees it; seconds."""
    began = time.perf_counter()
    job = client.post("/analyze", json={"text": TEXT}).raise_for_status().json()
    while job["status"] in {"queued", "running"}:
        if time.perf_counter() - began > PATIENCE_SECONDS:
            raise PlannerError("url", f"a job was still open after {PATIENCE_SECONDS} s")
        job = client.get(f"/jobs/{job['id']}", params={"wait": WAIT_SECONDS}).raise_for_status().json()
    if job["status"] != "succeeded":
        raise PlannerError("url", f"a job has {job['status']}: {job.get('error')}")
    return {
        "all": time.perf_counter() - began,
        "queue": (job["metrics"].get("queue_ms") or 0) / 1000,
        "load": (job["metrics"].get("cold_start_ms") or 0) / 1000,
        "run": (job["metrics"].get("run_ms") or 0) / 1000,
    }


def _fields(ran: list[dict[str, float]]) -> dict[str, Any]:
    warm, cold = [one for one in ran if not one["load"]], [one for one in ran if one["load"]]
    if not warm:
        raise PlannerError("jobs", "no job met a warm worker: measure with more of them")
    queue = sorted(one["queue"] for one in warm)[len(warm) // 2]
    rest = sorted(max(one["all"] - one["run"], 0.0) for one in warm)[len(warm) // 2]
    fields: dict[str, Any] = {"run_seconds": [one["run"] for one in warm], "overhead_seconds": round(rest, 3)}
    if cold:
        fields["load_seconds"] = [one["load"] for one in cold]
        fields["init_seconds"] = [round(max(one["queue"] - queue, 0.0), 3) for one in cold]
    return fields
