"""The cost of a combination's usage, in parts that add up."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

from pydantic import TypeAdapter, create_model

from planner import strategies
from planner.combinations import Combination
from planner.engine.outcome import Usage
from planner.json_files import read_json
from planner.measurements import Measurements
from planner.prices import PRICES, Prices, select_architecture

RANGE_BYTES = 8 * 1024 * 1024  # the part of the model that the worker fetches with one request

# The needs of one job and one token besides the worker. A job has one submit and one poll, and logs 1.5 kB.
API_GB_SECONDS = 0.003
JOB_API_CALLS, JOB_QUEUE_REQUESTS, JOB_WRITES, JOB_READS, JOB_LOG_GB = 2, 1.2, 8, 1, 1.5e-6
TOKEN_READS = 2

# A warm-up's item is written when the warm-up starts, and by each ping on arrival and when its environment is warm.
# DynamoDB charges each write by the item's whole size.
WARM_UP_BYTES, ENVIRONMENT_BYTES, WRITE_BYTES = 110, 90, 1024
PING_WRITES = 2


def read_prices(path: Path = PRICES) -> Prices:
    """Return the prices of a JSON file, with those that single strategies need.

    Raises:
        PlannerError: If the file cannot be read, or its content is not valid.
    """
    return read_json(path, TypeAdapter(_build_price_model()), field="prices")


def _build_price_model() -> type[Prices]:
    """Return the model of a prices file, with the fields that the registered strategies declare."""
    own = dict.fromkeys(kind.prices for kind in strategies.STRATEGIES if kind.prices)
    # The cast is true of the first base, and so of the model.
    return create_model("PriceFile", __base__=cast("tuple[type[Prices], ...]", (Prices, *own)))


def compute_costs(
    usage: Usage, combination: Combination, *, measured: Measurements, prices: Prices
) -> dict[str, float]:
    """Return the cost of the whole simulated time in USD, by part.

    Raises:
        PlannerError: If a price is missing.
    """
    gb_second = _price_worker_second(measured, prices)
    fetches = math.ceil(measured.model_bytes / RANGE_BYTES)
    parts = {
        "jobs": usage.on_demand_seconds * gb_second + usage.batches * prices.lambda_request,
        "cold starts": usage.cold_seconds * gb_second + usage.downloads * fetches * prices.s3_get,
        "pings": usage.ping_seconds * gb_second + _price_pings(usage, prices),
    }
    for kind in strategies.STRATEGIES:
        parts.setdefault(kind.cost_part, 0.0)
    for strategy in combination.strategies:
        parts[strategy.cost_part] += strategy.compute_cost(usage, measured, prices)
    parts["API"] = usage.jobs * _price_job(measured, prices) + usage.tokens * _price_token(measured, prices)
    return parts


def _price_pings(usage: Usage, prices: Prices) -> float:
    """Return the cost of all pings, besides that of their time."""
    environments = usage.pings / max(usage.warm_ups, 1)
    units = math.ceil((WARM_UP_BYTES + environments * ENVIRONMENT_BYTES) / WRITE_BYTES)
    writes = (usage.warm_ups + usage.pings * PING_WRITES) * units
    return usage.pings * prices.lambda_request + writes * prices.dynamodb_write


def _price_job(measured: Measurements, prices: Prices) -> float:
    return (
        JOB_API_CALLS * _price_api_call(measured, prices)
        + JOB_QUEUE_REQUESTS * prices.sqs_request
        + JOB_WRITES * prices.dynamodb_write
        + JOB_READS * prices.dynamodb_read
        + JOB_LOG_GB * prices.log_gb
    )


def _price_token(measured: Measurements, prices: Prices) -> float:
    return _price_api_call(measured, prices) + prices.kms_sign + TOKEN_READS * prices.dynamodb_read


def _price_api_call(measured: Measurements, prices: Prices) -> float:
    """Return the price of one request to the API and of the function that answers it."""
    gb_second = select_architecture(prices.lambda_gb_second, measured.architecture, field="lambda_gb_second")
    return prices.http_api_request + prices.lambda_request + API_GB_SECONDS * gb_second


def _price_worker_second(measured: Measurements, prices: Prices) -> float:
    """Return the price of a second of an on-demand environment of the worker."""
    gb_second = select_architecture(prices.lambda_gb_second, measured.architecture, field="lambda_gb_second")
    return measured.memory_gb * gb_second
