"""Every benchmark at its smallest size, so that a broken one is noticed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from bench.__main__ import BENCHMARKS
from local.paths import ROOT
from local.stack import Stack
from tests.e2e.cloud_admin import CloudAdmin
from tests.e2e.conftest import FOLDER


@dataclass(frozen=True)
class Cloud:
    """The parts of the local cloud that a benchmark may change, and must change back."""

    stack: Stack
    dynamodb: Any
    functions: Any
    gateway: Any
    s3: Any

    def describe(self) -> dict[str, Any]:
        """Return the names and settings of these parts."""
        api = self.gateway.get_apis()["Items"][0]["ApiId"]
        mappings = self.functions.list_event_source_mappings()["EventSourceMappings"]
        return {
            "mappings": {one["UUID"]: (one["State"], one["ScalingConfig"]) for one in mappings},
            "functions": {one["FunctionName"] for one in self.functions.list_functions()["Functions"]},
            "routes": {one["RouteKey"] for one in self.gateway.get_routes(ApiId=api)["Items"]},
            "integrations": {one["IntegrationId"] for one in self.gateway.get_integrations(ApiId=api)["Items"]},
            "buckets": {one["Name"] for one in self.s3.list_buckets()["Buckets"]},
            "clients": {one["client_id"]["S"] for one in self._items("clients_table")},
            "jobs": {one["id"]["S"] for one in self._items("jobs_table") if one["part"]["S"] in {"job", "bare"}},
        }

    def _items(self, table: str) -> list[dict[str, Any]]:
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=self.stack.outputs[table])
        return [item for page in pages for item in page["Items"]]


@pytest.fixture(scope="module")
def cloud(stack: Stack) -> Iterator[Cloud]:
    services = [stack.client(name) for name in ("dynamodb", "lambda", "apigatewayv2", "s3")]
    yield Cloud(stack, *services)
    for service in services:
        service.close()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs_at_its_smallest_size_and_leaves_the_cloud_as_it_was(
    name: str, cloud: Cloud, cloud_admin: CloudAdmin
) -> None:
    before = cloud.describe()
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--smallest", "--folder", FOLDER, name],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert cloud.describe() == before
    for queue in ("jobs", "isolated"):
        cloud_admin.wait_until_empty(queue)
