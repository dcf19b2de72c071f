"""The API: the rate of submits against a minimal function, and the spread of the latency of reads."""

from __future__ import annotations

import io
import statistics
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from bench import command
from bench.local_cloud import open_api, open_local_cloud
from bench.report import Figure, report
from local.paths import GENERATED
from local.stack import Stack

FOLDER = GENERATED / "bench-cloud"
CLIENTS = 8
TEXT = "Ada Lovelace met Charles Babbage in London, where they wrote programs for a machine that was never built."


@dataclass(frozen=True)
class Size:
    """The number of rounds of submits to each function, of submits in each round, and of reads.

    The warm-up reads are not measured. They let all environments of the API start.
    """

    rounds: int
    requests: int
    warm_up_reads: int
    reads: int


FULL = Size(rounds=6, requests=160, warm_up_reads=CLIENTS * 5, reads=400)
SMALLEST = Size(rounds=1, requests=2, warm_up_reads=2, reads=2)

# It puts one item and sends one message. It prints a line, because the emulator answers late if a function logs none.
BARE = """
import json, os, uuid
import boto3
table, queue = boto3.client("dynamodb"), boto3.client("sqs")
def handler(event, context):
    print("queued")
    job = str(uuid.uuid4())
    item = {"id": {"S": job}, "part": {"S": "bare"}, "text": {"S": json.loads(event["body"])["text"]}}
    table.put_item(TableName=os.environ["TABLE"], Item=item)
    body = json.dumps({"job": job, "run": 1})
    queue.send_message(QueueUrl=os.environ["QUEUE"], MessageBody=body, MessageGroupId="bare")
    return {"statusCode": 202, "body": json.dumps({"id": job})}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure on a local cloud. Return 1 if a target is missed."""
    options = command.build_parser("api", __doc__).parse_args(arguments)
    size = SMALLEST if options.smallest else FULL
    with open_local_cloud(options.folder, own=FOLDER) as cloud, open_api(cloud.stack) as client:
        return report("api", _measure(cloud.stack, client, size), smallest=options.smallest)


def _measure(stack: Stack, client: httpx.Client, size: Size) -> Iterator[Figure]:
    answer = client.post("/analyze", json={"text": TEXT}, headers={"prefer": "wait=25"}).raise_for_status()
    done = answer.json()["id"]
    yield from _measure_reads(client, done, size)
    with _pause_queues(stack), _deploy_bare_function(stack):
        yield from _measure_submits(client, size)


def _measure_reads(client: httpx.Client, job: str, size: Size) -> Iterator[Figure]:
    def read(_: int) -> float:
        began = time.perf_counter()
        client.get(f"/jobs/{job}").raise_for_status()
        return time.perf_counter() - began

    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(read, range(size.warm_up_reads)))
        took = statistics.quantiles(threads.map(read, range(size.reads)), n=100)
    yield Figure("GET of a finished job, eight clients, p50", took[49] * 1000, "ms")
    yield Figure("GET of a finished job, eight clients, p99 / p50", took[98] / took[49], "x", most=3)


def _measure_submits(client: httpx.Client, size: Size) -> Iterator[Figure]:
    paths = {"submit": "/analyze", "bare": "/bare"}
    rates: dict[str, list[float]] = {name: [] for name in paths}
    for path in paths.values():
        _measure_rate(client, path, size.requests)
    for _ in range(size.rounds):
        for name, path in paths.items():
            rates[name].append(_measure_rate(client, path, size.requests))
    submit, bare = statistics.median(rates["submit"]), statistics.median(rates["bare"])
    yield Figure("POST /analyze, eight clients", submit, "1/s")
    yield Figure("bare function, eight clients", bare, "1/s")
    yield Figure("POST /analyze / bare function, rate", submit / bare, "x", least=0.7)


def _measure_rate(client: httpx.Client, path: str, requests: int) -> float:
    def submit(_: int) -> None:
        client.post(path, json={"text": TEXT}).raise_for_status()

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(submit, range(requests)))
    return requests / (time.perf_counter() - began)


@contextmanager
def _pause_queues(stack: Stack) -> Iterator[None]:
    """Disable all event source mappings inside the block, so that the API has the machine to itself."""
    functions = stack.client("lambda")
    listed = functions.list_event_source_mappings()["EventSourceMappings"]
    identifiers = [mapping["UUID"] for mapping in listed if mapping["State"] != "Disabled"]
    for identifier in identifiers:
        functions.update_event_source_mapping(UUID=identifier, Enabled=False)
    try:
        yield
    finally:
        for identifier in identifiers:
            functions.update_event_source_mapping(UUID=identifier, Enabled=True)


@contextmanager
def _deploy_bare_function(stack: Stack) -> Iterator[None]:
    """Deploy the bare function behind `POST /bare` inside the block, then remove it and its items."""
    functions, gateway = stack.client("lambda"), stack.client("apigatewayv2")
    function = _create_bare_function(stack, functions)
    api = gateway.get_apis()["Items"][0]["ApiId"]
    integration = gateway.create_integration(
        ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=function, PayloadFormatVersion="2.0"
    )["IntegrationId"]
    route = gateway.create_route(ApiId=api, RouteKey="POST /bare", Target=f"integrations/{integration}")["RouteId"]
    try:
        yield
    finally:
        gateway.delete_route(ApiId=api, RouteId=route)
        gateway.delete_integration(ApiId=api, IntegrationId=integration)
        functions.delete_function(FunctionName="bare")
        _delete_bare_items(stack)


def _create_bare_function(stack: Stack, functions: Any) -> str:
    """Create the bare function with the memory and the role of `submit`. Return its ARN."""
    variables = {"TABLE": stack.outputs["jobs_table"], "QUEUE": stack.outputs["queue_urls"]["jobs"]}
    function = next(one for one in functions.list_functions()["Functions"] if one["FunctionName"].endswith("-submit"))
    created = functions.create_function(
        FunctionName="bare",
        Runtime=function["Runtime"],
        Role=function["Role"],
        Handler="bare.handler",
        MemorySize=function["MemorySize"],
        Timeout=10,
        Code={"ZipFile": _make_zip("bare.py", BARE)},
        Environment={"Variables": variables},
    )
    return str(created["FunctionArn"])


def _delete_bare_items(stack: Stack) -> None:
    dynamodb, table = stack.client("dynamodb"), stack.outputs["jobs_table"]
    pages = dynamodb.get_paginator("scan").paginate(
        TableName=table, FilterExpression="part = :bare", ExpressionAttributeValues={":bare": {"S": "bare"}}
    )
    for item in [item for page in pages for item in page["Items"]]:
        dynamodb.delete_item(TableName=table, Key={"id": item["id"], "part": item["part"]})


def _make_zip(name: str, content: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
