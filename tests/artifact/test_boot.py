"""Each function's zip with its layer starts under the real runtime client and answers an event."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from functions.webhook.signing import new_secret
from local.package import Manifest, build
from local.package.functions import get_layer_name
from shared.auth.clients import Client, ClientStore, WebhookSecret
from shared.jobs.job import Job, Model, WebhookEndpoint
from shared.jobs.writes import to_plain
from shared.warmup.records import Ping
from shared.warmup.store import WarmUpStore
from shared.webhooks.event import WebhookMessage
from shared.webhooks.store import DeliveryStore
from tests.artifact.conftest import OUTPUT, Services
from tests.artifact.runtime import Unpack, Variables, invoke
from tests.events import http_event, sqs_event

WORKER_LIMIT = 150_000_000  # bytes of the worker and its layer, unzipped
# Its deadline and its next check are in the past.
OVERDUE_JOB = Job(
    id="j",
    client_id="c",
    model=Model(name="m", version="1"),
    characters=1,
    created_at=1,
    queued_at=1,
    deadline=1,
    expires_at=4_000_000_000,
    next_check_at=1,
    check_partition=1,
)


def put_job(services: Services, job: Job) -> None:
    """Store a job."""
    services.jobs.put({**to_plain(job), "part": "job"})


def test_auth_publishes_its_keys(python: Path, unpack: Unpack, variables: Variables) -> None:
    event = http_event("GET", "/.well-known/jwks.json")
    answer = invoke(python, unpack("auth"), event, variables["auth"])
    assert answer["statusCode"] == 200
    assert [key["kid"] for key in json.loads(answer["body"])["keys"]] == ["k1"]


def test_submit_refuses_a_job_without_a_token(python: Path, unpack: Unpack, variables: Variables) -> None:
    headers = {"content-type": "application/json"}
    event = http_event("POST", "/analyze", body='{"text": "Ada wrote it."}', headers=headers)
    answer = invoke(python, unpack("submit"), event, variables["submit"])
    assert answer["statusCode"] == 401
    assert answer["headers"]["content-type"].startswith("application/problem+json")


def test_worker_acknowledges_a_malformed_message(python: Path, unpack: Unpack, variables: Variables) -> None:
    answer = invoke(python, unpack("worker"), sqs_event({"not": "a job"}), variables["worker"])
    assert answer == {"batchItemFailures": []}


def test_worker_gets_ready_for_a_ping(
    python: Path, unpack: Unpack, variables: Variables, services: Services, tmp_path: Path
) -> None:
    """It fetches the artifact, loads the model, runs a text and records the environment in the warm-up."""
    services.jobs.put({"id": "warmup#1", "part": "warmup", "environments": {}})
    event = {"warm_up": Ping(key="warmup#1", warm_up="w", started_at=0).model_dump()}
    local = {"AWS_ENDPOINT_URL": services.url, "TMPDIR": str(tmp_path)}
    assert invoke(python, unpack("worker"), event, {**variables["worker"], **local}) == {}
    assert len(WarmUpStore(services.jobs).latest("1").environments) == 1
    assert {path.suffix for path in tmp_path.glob("model-*")} == {"", ".lock"} == {p.suffix for p in tmp_path.iterdir()}


def test_janitor_finds_and_ends_a_job_after_its_deadline(
    python: Path, unpack: Unpack, variables: Variables, services: Services
) -> None:
    put_job(services, OVERDUE_JOB)
    queues = {
        name: services.create_queue(value.rpartition("/")[2])
        for name, value in variables["janitor"].items()
        if name.endswith("_QUEUE_URL")
    }
    settings = {**variables["janitor"], **queues, "AWS_ENDPOINT_URL": services.url}
    assert invoke(python, unpack("janitor"), {}, settings) == {"expired": 1}


def test_webhook_makes_an_attempt_for_a_message(
    python: Path, unpack: Unpack, variables: Variables, services: Services
) -> None:
    """Webhooks may not call the address, so the attempt fails. A malformed message is dropped."""
    endpoint = WebhookEndpoint(url="https://127.0.0.1/hook", events=frozenset({"job.failed"}))
    ended = {"status": "failed", "attempt": 1, "completed_at": 1, "webhook": endpoint}
    put_job(services, OVERDUE_JOB.model_copy(update=ended))
    secret = WebhookSecret(ciphertext=services.encrypt_secret("c", new_secret()), created_at=1)
    client = Client(
        client_id="c", name="n", scope="jobs:write", secrets=(), created_at=1, webhook_secrets=(secret,)
    )  # fmt: skip
    ClientStore(services.clients).put(client)
    settings = {
        **variables["webhook"],
        "WEBHOOKS_QUEUE_URL": services.create_queue("webhooks"),
        "AWS_ENDPOINT_URL": services.url,
    }
    message = WebhookMessage(job="j", run=1, status="failed")
    event = sqs_event(message.model_dump(), {"not": "a message"})
    assert invoke(python, unpack("webhook"), event, settings) is None
    delivery = DeliveryStore(services.jobs).get("j", message.part)
    assert delivery is not None
    assert [attempt.error for attempt in delivery.attempts] == ["url_refused"]


def test_each_folder_with_a_handler_is_a_function(manifest: Manifest) -> None:
    assert {"auth", "janitor", "submit", "webhook", "worker"} <= set(manifest.functions)


def test_zip_holds_only_the_modules_that_its_function_imports(manifest: Manifest) -> None:
    names = {name: list_names(OUTPUT / entry.file) for name, entry in manifest.functions.items()}
    for name, files in names.items():
        assert f"functions/{name}/handler.py" in files
        folders = {file.split("/")[1] for file in files if file.startswith("functions/") and file.count("/") > 1}
        assert folders - {"__pycache__"} == {name}
    assert "shared/auth/tokens.py" not in names["worker"]
    assert "shared/limits/quota.py" not in names["auth"]


def test_layer_leaves_boto3_to_the_runtime(manifest: Manifest) -> None:
    for layer in manifest.layers.values():
        packages = {name.split("/")[1] for name in list_names(OUTPUT / layer.file)}
        assert packages.isdisjoint({"boto3", "botocore", "s3transfer"})


@pytest.mark.parametrize("name", ["auth", "submit", "webhook"])
def test_function_other_than_the_worker_imports_no_model_code(
    python: Path, unpack: Unpack, variables: Variables, name: str
) -> None:
    """Its layer has neither spaCy nor numpy. It does not import boto3 before it needs it."""
    function = unpack(name)
    code = f"import functions.{name}.handler, sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    environment = function.environment(variables[name])
    imported = subprocess.run(
        [python, "-c", code], cwd=function.task, env=environment, check=True, capture_output=True, text=True
    )
    assert {"spacy", "thinc", "numpy", "boto3"}.isdisjoint(imported.stdout.split())


def test_build_in_another_folder_gives_the_same_artifacts(manifest: Manifest, tmp_path: Path) -> None:
    """That includes the bytecode and the stripped libraries."""
    assert build(target="local", output=tmp_path / "deeper" / "build") == manifest


def test_worker_is_small_enough(manifest: Manifest) -> None:
    """AWS Lambda allows 250 MB, and a smaller function starts sooner. The bytecode counts."""
    layer = manifest.layers[get_layer_name("worker")]
    assert any(name.endswith(".pyc") for name in list_names(OUTPUT / layer.file))
    assert manifest.functions["worker"].unzipped + layer.unzipped <= WORKER_LIMIT


def test_artifacts_do_not_contain_the_path_of_the_build(manifest: Manifest) -> None:
    """Neither the sources nor the paths in the bytecode do."""
    here = str(Path(__file__).parents[2]).encode()
    for entry in (*manifest.functions.values(), *manifest.layers.values()):
        with zipfile.ZipFile(OUTPUT / entry.file) as archive:
            assert [name for name in archive.namelist() if here in archive.read(name)] == []


def list_names(file: Path) -> list[str]:
    """Return the names of the files in a zip."""
    with zipfile.ZipFile(file) as archive:
        return archive.namelist()
