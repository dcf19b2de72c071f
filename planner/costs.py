"""What a strategy's usage costs, in parts that add up."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from planner import documents
from planner.errors import PlannerError
from planner.measurements import Measurements
from planner.outcome import Usage
from planner.strategies import Strategy

PRICES = Path(__file__).parent / "prices.json"
RANGE_BYTES = 8 * 1024 * 1024  # what the worker fetches of the model with one request

# What one job and one token need beside the worker. A job: submit and one poll; 8 write units, log lines of 1.5 kB.
API_GB_SECONDS = 0.003
JOB_API_CALLS, JOB_QUEUE_REQUESTS, JOB_WRITES, JOB_READS, JOB_LOG_GB = 2, 1.2, 8, 1, 1.5e-6
TOKEN_READS = 2

# A round's item is written when it begins, and by each ping on arrival and when ready; each write costs its whole size.
ROUND_BYTES, ENVIRONMENT_BYTES, WRITE_BYTES = 110, 90, 1024
PING_WRITES = 2
POLLS_A_SECOND = 1  # of a fleet's slot: it asks both lanes every two seconds, when there is nothing to do

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PerArchitecture = dict[Literal["x86_64", "arm64"], Price]


class Prices(BaseModel):
    """USD, without free tiers, as of a date."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}(-\d{2})?$")]
    region: str
    currency: Literal["USD"]
    lambda_gb_second: PerArchitecture
    lambda_request: Price
    provisioned_idle_gb_second: PerArchitecture
    provisioned_gb_second: PerArchitecture
    snapstart_cache_gb_second: Price
    snapstart_restore_gb: Price
    http_api_request: Price
    sqs_request: Price
    dynamodb_write: Price
    dynamodb_read: Price
    s3_get: Price
    log_gb: Price
    schedule: Price
    kms_sign: Price
    instance_hour: dict[str, Price]

    @classmethod
    def read(cls, path: Path = PRICES) -> Prices:
        """Of a JSON file.

        Raises:
            PlannerError: when it cannot be read or used.
        """
        return documents.read(path, TypeAdapter(cls), field="prices")


def costs(usage: Usage, strategy: Strategy, *, measured: Measurements, prices: Prices) -> dict[str, float]:
    """USD of the whole simulated time, by part.

    Raises:
        PlannerError: when a price is missing.
    """
    memory_gb = measured.memory_mb / 1024
    gb_second = _of(prices.lambda_gb_second, measured.architecture, "prices.lambda_gb_second") * memory_gb
    return {
        "jobs": usage.on_demand_seconds * gb_second + usage.batches * prices.lambda_request,
        "cold starts": usage.cold_seconds * gb_second
        + usage.downloads * math.ceil(measured.model_bytes / RANGE_BYTES) * prices.s3_get,
        "pings": usage.ping_seconds * gb_second + _rounds(usage, prices),
        "provisioned": _provisioned(usage, measured, prices),
        "snapstart": _snapstart(usage, strategy, memory_gb, prices),
        "fleet": _fleet(usage, strategy, prices),
        "API": usage.jobs * _per_job(measured, prices) + usage.tokens * _per_token(measured, prices),
    }


def _rounds(usage: Usage, prices: Prices) -> float:
    begun = usage.scheduled_rounds * (prices.schedule + prices.lambda_request)
    environments = usage.pings / max(usage.rounds, 1)
    units = math.ceil((ROUND_BYTES + environments * ENVIRONMENT_BYTES) / WRITE_BYTES)
    writes = (usage.rounds + usage.pings * PING_WRITES) * units * prices.dynamodb_write
    return usage.pings * prices.lambda_request + begun + writes


def _provisioned(usage: Usage, measured: Measurements, prices: Prices) -> float:
    idle = _of(prices.provisioned_idle_gb_second, measured.architecture, "prices.provisioned_idle_gb_second")
    running = _of(prices.provisioned_gb_second, measured.architecture, "prices.provisioned_gb_second")
    memory_gb = measured.memory_mb / 1024
    return memory_gb * (usage.provisioned_open_seconds * idle + usage.provisioned_seconds * running)


def _snapstart(usage: Usage, strategy: Strategy, memory_gb: float, prices: Prices) -> float:
    if not strategy.snapstart:
        return 0.0
    cached = usage.seconds * prices.snapstart_cache_gb_second  # at least 3 h, which a month has
    return memory_gb * (cached + usage.restores * prices.snapstart_restore_gb)


def _fleet(usage: Usage, strategy: Strategy, prices: Prices) -> float:
    if not strategy.fleet:
        return 0.0
    kind = strategy.fleet.instance_type
    if kind not in prices.instance_hour:
        raise PlannerError("fleet.instance_type", f"the prices have no {kind!r}")
    polls = usage.instance_seconds * strategy.fleet.slots * POLLS_A_SECOND
    return usage.instance_seconds / 3600 * prices.instance_hour[kind] + polls * prices.sqs_request


def _per_job(measured: Measurements, prices: Prices) -> float:
    return (
        JOB_API_CALLS * _api_call(measured, prices)
        + JOB_QUEUE_REQUESTS * prices.sqs_request
        + JOB_WRITES * prices.dynamodb_write
        + JOB_READS * prices.dynamodb_read
        + JOB_LOG_GB * prices.log_gb
    )


def _per_token(measured: Measurements, prices: Prices) -> float:
    return _api_call(measured, prices) + prices.kms_sign + TOKEN_READS * prices.dynamodb_read


def _api_call(measured: Measurements, prices: Prices) -> float:
    """Through the API to a function."""
    gb_second = _of(prices.lambda_gb_second, measured.architecture, "prices.lambda_gb_second")
    return prices.http_api_request + prices.lambda_request + API_GB_SECONDS * gb_second


def _of(prices: PerArchitecture, architecture: Literal["x86_64", "arm64"], field: str) -> float:
    if architecture not in prices:
        raise PlannerError(field, f"there is no price for {architecture}")
    return prices[architecture]
