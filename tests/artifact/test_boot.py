"""Each function's zip with its layer boots under the real runtime client and answers an event."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from functions.webhook.signing import new_secret
from local.package import Manifest, build
from local.package.functions import layer_of
from tests.artifact.conftest import OUTPUT, Services
from tests.artifact.runtime import Unpacked, invoke
from tests.events import http_event, sqs_event

Unpack = Callable[[str], Unpacked]
Variables = dict[str, dict[str, str]]

WORKER_LIMIT = 150_000_000  # bytes of the worker and its layer, unzipped


def test_auth_publishes_its_keys(python: Path, unpacked: Unpack, variables: Variables) -> None:
    event = http_event("GET", "/.well-known/jwks.json")
    answer = invoke(python, unpacked("auth"), event, variables["auth"])
    assert answer["statusCode"] == 200
    assert [key["kid"] for key in json.loads(answer["body"])["keys"]] == ["k1"]


def test_submit_refuses_a_job_without_a_token(python: Path, unpacked: Unpack, variables: Variables) -> None:
    headers = {"content-type": "application/json"}
    event = http_event("POST", "/analyze", body='{"text": "Ada wrote it."}', headers=headers)
    answer = invoke(python, unpacked("submit"), event, variables["submit"])
    assert answer["statusCode"] == 401
    assert answer["headers"]["content-type"].startswith("application/problem+json")


def test_worker_acknowledges_what_it_cannot_read(python: Path, unpacked: Unpack, variables: Variables) -> None:
    answer = invoke(python, unpacked("worker"), sqs_event({"not": "a job"}), variables["worker"])
    assert answer == {"batchItemFailures": []}


def test_worker_warms_up(
    python: Path, unpacked: Unpack, variables: Variables, services: Services, tmp_path: Path
) -> None:
    """A ping fetches the artifact, loads the model, runs a text and tells the round."""
    key = {"id": {"S": "warmup#1"}, "part": {"S": "round"}}
    services.dynamodb.put_item(TableName="jobs", Item={**key, "environments": {"M": {}}})
    event = {"warm_up": {"key": "warmup#1", "round": "r", "began_at": 0}}
    local = {"AWS_ENDPOINT_URL": services.url, "TMPDIR": str(tmp_path)}
    assert invoke(python, unpacked("worker"), event, {**variables["worker"], **local}) == {}
    item = services.dynamodb.get_item(TableName="jobs", Key=key)["Item"]
    assert len(item["environments"]["M"]) == 1
    assert {path.suffix for path in tmp_path.glob("model-*")} == {"", ".lock"} == {p.suffix for p in tmp_path.iterdir()}


def test_janitor_ticks(python: Path, unpacked: Unpack, variables: Variables, services: Services) -> None:
    """A job that is past its deadline is found by its index, and ended."""
    job = {
        "id": {"S": "j"}, "part": {"S": "job"}, "client_id": {"S": "c"}, "status": {"S": "queued"},
        "model": {"M": {"name": {"S": "m"}, "version": {"S": "1"}}},
        **{name: {"N": "1"} for name in ("characters", "created_at", "queued_at", "deadline", "next_check_at", "due_slot")},
        "expires_at": {"N": "4000000000"}, "run": {"N": "1"}, "attempt": {"N": "0"},
    }  # fmt: skip
    services.dynamodb.put_item(TableName="jobs", Item=job)
    queues = {
        name: services.queue(value.rpartition("/")[2]) for name, value in variables["janitor"].items() if "URL" in name
    }
    settings = {**variables["janitor"], **queues, "AWS_ENDPOINT_URL": services.url}
    assert invoke(python, unpacked("janitor"), {}, settings) == {"expired": 1}


def test_webhook_delivers(python: Path, unpacked: Unpack, variables: Variables, services: Services) -> None:
    """An end that is due is announced by the message about it; here to an address that must not be called."""
    webhook = {"M": {"url": {"S": "https://127.0.0.1/hook"}, "events": {"L": [{"S": "job.failed"}]}}}
    job = {
        "id": {"S": "j"}, "part": {"S": "job"}, "client_id": {"S": "c"}, "status": {"S": "failed"}, "webhook": webhook,
        "model": {"M": {"name": {"S": "m"}, "version": {"S": "1"}}},
        **{name: {"N": "1"} for name in ("characters", "created_at", "queued_at", "deadline", "next_check_at", "due_slot")},
        "completed_at": {"N": "1"}, "expires_at": {"N": "4000000000"}, "run": {"N": "1"}, "attempt": {"N": "1"},
    }  # fmt: skip
    services.dynamodb.put_item(TableName="jobs", Item=job)
    secret = {"sealed": {"S": services.sealed("c", new_secret())}, "created_at": {"N": "1"}}
    client = {
        "client_id": {"S": "c"}, "name": {"S": "n"}, "scope": {"S": "jobs:write"}, "created_at": {"N": "1"},
        "secrets": {"L": []}, "webhook_secrets": {"L": [{"M": secret}]},
    }  # fmt: skip
    services.dynamodb.put_item(TableName="clients", Item=client)
    settings = {
        **variables["webhook"], "WEBHOOKS_QUEUE_URL": services.queue("webhooks"), "AWS_ENDPOINT_URL": services.url
    }  # fmt: skip
    event = sqs_event({"job": "j", "run": 1, "status": "failed"}, {"not": "a message"})
    assert invoke(python, unpacked("webhook"), event, settings) is None
    key = {"id": {"S": "j"}, "part": {"S": "delivery#1.failed"}}
    (attempt,) = services.dynamodb.get_item(TableName="jobs", Key=key)["Item"]["attempts"]["L"]
    assert attempt["M"]["error"] == {"S": "url_refused"}


def test_functions_are_the_folders_with_a_handler(manifest: Manifest) -> None:
    assert {"auth", "janitor", "submit", "webhook", "worker"} <= set(manifest.functions)


def test_zips_hold_only_what_their_function_imports(manifest: Manifest) -> None:
    names = {name: _names(OUTPUT / entry.file) for name, entry in manifest.functions.items()}
    for name, files in names.items():
        assert f"functions/{name}/handler.py" in files
        assert {file.split("/")[1] for file in files if file.count("/") == 2 and "__pycache__" not in file} == {name}
    assert "shared/tokens.py" not in names["worker"]
    assert "shared/quotas.py" not in names["auth"]


def test_layers_leave_boto3_to_the_runtime(manifest: Manifest) -> None:
    for layer in manifest.layers.values():
        packages = {name.split("/")[1] for name in _names(OUTPUT / layer.file)}
        assert packages.isdisjoint({"boto3", "botocore", "s3transfer"})


@pytest.mark.parametrize("name", ["auth", "submit", "webhook"])
def test_api_functions_import_no_model_code(python: Path, unpacked: Unpack, variables: Variables, name: str) -> None:
    """They run on their own layer; neither spaCy nor numpy is there to be imported, nor boto3 before it is needed."""
    function = unpacked(name)
    code = f"import functions.{name}.handler, sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    environment = function.environment(variables[name])
    imported = subprocess.run(
        [python, "-c", code], cwd=function.task, env=environment, check=True, capture_output=True, text=True
    )
    assert {"spacy", "thinc", "numpy", "boto3"}.isdisjoint(imported.stdout.split())


def test_layers_are_the_same_wherever_they_are_built(manifest: Manifest, tmp_path: Path) -> None:
    """Bytecode and stripped libraries included."""
    assert build(target="local", output=tmp_path / "deeper" / "build") == manifest


def test_worker_fits(manifest: Manifest) -> None:
    """With bytecode; AWS takes 250 MB, and what is smaller starts sooner."""
    layer = manifest.layers[layer_of("worker")]
    assert any(name.endswith(".pyc") for name in _names(OUTPUT / layer.file))
    assert manifest.functions["worker"].unzipped + layer.unzipped <= WORKER_LIMIT


def test_nothing_tells_where_it_was_built(manifest: Manifest) -> None:
    """Neither in sources nor in the paths that bytecode carries."""
    here = str(Path(__file__).parents[2]).encode()
    for entry in (*manifest.functions.values(), *manifest.layers.values()):
        with zipfile.ZipFile(OUTPUT / entry.file) as archive:
            assert [name for name in archive.namelist() if here in archive.read(name)] == []


def _names(file: Path) -> list[str]:
    with zipfile.ZipFile(file) as archive:
        return archive.namelist()
