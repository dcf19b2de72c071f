"""What the API costs: submits beside a bare function that does the least that could be done, and how even reads are."""

from __future__ import annotations

import io
import statistics
import sys
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
from rich.console import Console

from bench.report import Figure, report
from local import cloud, emulator
from local.stack import Stack
from local.steps import Steps

FOLDER = emulator.ROOT / ".samovar" / "bench-cloud"
CLIENTS = 8
ROUNDS = 6  # of each, in turn
REQUESTS = 160  # of a round
READS = 400
TEXT = "Ada Lovelace met Charles Babbage in London, where they wrote programs for a machine that was never built."

# One item, one message; and one log line, because the emulator answers at once only when a function has logged.
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


def main() -> int:
    """Start the cloud, measure, stop it."""
    try:
        with Steps(Console(file=sys.stdout, highlight=False)) as steps:
            stack = cloud.up(FOLDER, steps=steps, port=None)
        with httpx.Client(base_url=stack.api_url, timeout=60, trust_env=False) as client:
            return report("api", list(_figures(stack, client)))
    finally:
        cloud.down(FOLDER)


def _figures(stack: Stack, client: httpx.Client) -> Iterator[Figure]:
    credentials = (stack.client_id, stack.client_secret)
    granted = client.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=credentials)
    client.headers["authorization"] = f"Bearer {granted.raise_for_status().json()['access_token']}"
    answer = client.post("/analyze", json={"text": TEXT}, headers={"prefer": "wait=25"}).raise_for_status()
    done = answer.json()["id"]
    yield from _reads(client, done)
    with _no_worker(stack):
        yield from _submits(stack, client)


def _reads(client: httpx.Client, job: str) -> Iterator[Figure]:
    def read(_: int) -> float:
        began = time.perf_counter()
        client.get(f"/jobs/{job}").raise_for_status()
        return time.perf_counter() - began

    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(read, range(CLIENTS * 5)))  # every environment has begun
        took = statistics.quantiles(threads.map(read, range(READS)), n=100)
    yield Figure("GET of a finished job, eight clients, p50", took[49] * 1000, "ms")
    yield Figure("GET of a finished job, eight clients, p99 / p50", took[98] / took[49], "x", most=3)


def _submits(stack: Stack, client: httpx.Client) -> Iterator[Figure]:
    _deploy_bare(stack)
    paths = {"ours": "/analyze", "bare": "/bare"}
    rates: dict[str, list[float]] = {name: [] for name in paths}
    for path in paths.values():
        _rate(client, path)
    for _ in range(ROUNDS):
        for name, path in paths.items():
            rates[name].append(_rate(client, path))
    ours, bare = statistics.median(rates["ours"]), statistics.median(rates["bare"])
    yield Figure("POST /analyze, eight clients", ours, "1/s")
    yield Figure("bare function, eight clients", bare, "1/s")
    yield Figure("POST /analyze / bare function, rate", ours / bare, "x", least=0.7)


def _rate(client: httpx.Client, path: str) -> float:
    def submit(_: int) -> None:
        client.post(path, json={"text": TEXT}).raise_for_status()

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(submit, range(REQUESTS)))
    return REQUESTS / (time.perf_counter() - began)


@contextmanager
def _no_worker(stack: Stack) -> Iterator[None]:
    """So that what is measured has the machine to itself; what is queued goes with the cloud."""
    functions = stack.client("lambda")
    for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
        functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    yield


def _deploy_bare(stack: Stack) -> None:
    """Beside the API's own functions, with the same memory and as wide a role as there is."""
    functions, gateway = stack.client("lambda"), stack.client("apigatewayv2")
    told = {"TABLE": stack.outputs["jobs_table"], "QUEUE": stack.outputs["queue_urls"]["jobs"]}
    submit = next(one for one in functions.list_functions()["Functions"] if one["FunctionName"].endswith("-submit"))
    created = functions.create_function(
        FunctionName="bare",
        Runtime=submit["Runtime"],
        Role=submit["Role"],
        Handler="bare.handler",
        MemorySize=submit["MemorySize"],
        Timeout=10,
        Code={"ZipFile": _zipped("bare.py", BARE)},
        Environment={"Variables": told},
    )
    api = gateway.get_apis()["Items"][0]["ApiId"]
    integration = gateway.create_integration(
        ApiId=api,
        IntegrationType="AWS_PROXY",
        IntegrationUri=created["FunctionArn"],
        PayloadFormatVersion="2.0",
    )["IntegrationId"]
    gateway.create_route(ApiId=api, RouteKey="POST /bare", Target=f"integrations/{integration}")


def _zipped(name: str, content: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
