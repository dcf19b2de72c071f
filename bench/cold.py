"""The time of a cold process to its first result: import, load the model, analyze one text.

Four kinds of fresh processes take turns, so that other work on the machine slows all of them alike:

- plain:    `import spacy; spacy.load(…); nlp(…)`, from a developer's environment;
- pipeline: `functions.worker.pipeline`, from the same environment. It shows the gain of the worker's code;
- layer:    the same from the worker's layer. It shows the gain of the packaging;
- worker:   the whole handler from the layer, answering a ping, with boto3, Powertools and the download of the artifact
            from an S3 on this machine.

All kinds have bytecode, and BLAS has one thread. The benchmark prints medians and their ratios to plain, and writes all
runs to `.samovar/bench/cold.json`. It exits with 1 if pipeline or layer miss the target.
"""

from __future__ import annotations

import compileall
import json
import logging
import os
import site
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from bench import command
from bench.report import RESULTS
from local.cloud import ARTIFACTS as BUILD
from local.package import Manifest, build
from shared.settings import WorkerSettings

RESULT = RESULTS / "cold.json"
TARGET = 0.75  # of plain
REGION = "eu-west-2"

TEXT = "Ada Lovelace wrote the first program in London."
CLOCK = "import time; began = time.perf_counter()\n"
PLAIN = "import spacy\nnlp = spacy.load({model!r})\nassert nlp({text!r}).ents\n"
PIPELINE = (
    "from pathlib import Path\n"
    "from functions.worker import pipeline\n"
    "[analysis] = pipeline.load(Path({model!r})).run([({text!r}, ('ents', 'sents'))])\n"
    "assert analysis.document['ents']\n"
)
WORKER = (
    "from types import SimpleNamespace\n"
    "from functions.worker.handler import handler\n"
    "ping = {'key': 'warmup#1', 'warm_up': 'w', 'started_at': 0, 'environments': 1}\n"
    "assert handler({'warm_up': ping}, SimpleNamespace(aws_request_id='1')) == {}\n"
)


@dataclass(frozen=True)
class Kind:
    """A kind of process: its code, the folders it imports from, and its environment."""

    name: str
    code: str
    path: tuple[Path, ...]
    variables: dict[str, str]

    def run(self) -> float:
        """Run it once in a fresh process. Return the seconds from the start of the code to the result."""
        with tempfile.TemporaryDirectory() as empty:  # the model's cache, so that no run finds the files of another
            environment = {
                "PATH": os.defpath,
                "PYTHONPATH": os.pathsep.join(map(str, self.path)),
                "OMP_NUM_THREADS": "1",
                "TMPDIR": empty,
                **self.variables,
            }
            program = [sys.executable, "-S", "-c", CLOCK + self.code + "print(time.perf_counter() - began)"]
            done = subprocess.run(program, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        return float(done.stdout.splitlines()[-1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure. Return 1 if the target is missed."""
    parser = command.build_parser("cold", __doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=11, help="runs of each kind (default: %(default)s)")
    options = parser.parse_args(arguments)
    rounds, discarded = (1, 0) if options.smallest else (options.rounds, 1)  # the first warms the disk cache
    manifest = build(target="local", output=BUILD)
    with tempfile.TemporaryDirectory() as work, _run_services(manifest) as url:
        kinds = _build_kinds(Path(work), manifest, url)
        print(f"{len(kinds)} kinds of cold process, {rounds} rounds, about {(rounds + discarded) * 6} s", flush=True)
        runs = _measure(kinds, rounds, discarded)
    return _report_ratios(runs, smallest=options.smallest)


def _build_kinds(work: Path, manifest: Manifest, url: str) -> list[Kind]:
    layer, task, model = work / "layer", work / "task", work / "model"
    _unzip(BUILD / manifest.layers["worker"].file, layer)
    _unzip(BUILD / manifest.functions["worker"].file, task)
    subprocess.run(["tar", "-xf", BUILD / manifest.model.file, "--one-top-level=" + str(model)], check=True)
    installed = Path(site.getsitepackages()[0])
    compileall.compile_dir(installed, quiet=2, workers=0)  # files with bytecode are skipped
    plain = PLAIN.format(model=str(model), text=TEXT)
    pipeline = PIPELINE.format(model=str(model), text=TEXT)
    return [
        Kind("plain", plain, (installed,), {}),
        Kind("pipeline", pipeline, (task, installed), {}),
        Kind("layer", pipeline, (task, layer / "python"), {}),
        Kind("worker", WORKER, (task, layer / "python", _link_boto3(work)), build_variables(manifest, url)),
    ]


def _link_boto3(work: Path) -> Path:
    """Return a folder with boto3 and its dependencies: the part of Lambda's runtime that the worker imports."""
    folder = work / "runtime"
    folder.mkdir()
    for name in ("boto3", "botocore", "s3transfer", "dateutil", "six.py", "jmespath", "urllib3"):
        (folder / name).symlink_to(Path(site.getsitepackages()[0]) / name)
    return folder


def build_variables(manifest: Manifest, url: str) -> dict[str, str]:
    """Return the environment variables of the worker: those for AWS, and every setting of the function."""
    model = manifest.model
    known = {
        "jobs_table": "jobs",
        "bucket": "bucket",
        "model_name": model.name,
        "model_version": model.version,
        "model_key": model.file,
        "model_sha256": model.sha256,
        "model_size": str(model.size),
    }
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "POWERTOOLS_SERVICE_NAME": "worker",
        **{name.upper(): get_setting(name, known, url) for name in WorkerSettings.model_fields},
    }


def get_setting(name: str, known: dict[str, str], url: str) -> str:
    """Return the value of a setting of the worker.

    Raises:
        RuntimeError: If this benchmark has no value for it.
    """
    if name in known:
        return known[name]
    if name.endswith("_queue_url"):
        return f"{url}/123456789012/{name.removesuffix('_queue_url')}"
    raise RuntimeError(f"The worker has a setting `{name}` without a value here: add one to bench/cold.py")


@contextmanager
def _run_services(manifest: Manifest) -> Iterator[str]:
    """Run an S3 with the model artifact and a DynamoDB with the table `jobs` inside the block. Yield their URL."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs a line per request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    session = boto3.Session(aws_access_key_id="testing", aws_secret_access_key="testing", region_name=REGION)  # noqa: S106
    _create_bucket(session.client("s3", endpoint_url=url), manifest)
    _create_table(session.client("dynamodb", endpoint_url=url))
    try:
        yield url
    finally:
        server.stop()


def _create_bucket(s3: Any, manifest: Manifest) -> None:
    s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.upload_file(str(BUILD / manifest.model.file), "bucket", manifest.model.file)


def _create_table(dynamodb: Any) -> None:
    key_types = {"id": "HASH", "part": "RANGE"}
    dynamodb.create_table(
        TableName="jobs",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in key_types],
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in key_types.items()],
    )


def _unzip(file: Path, folder: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder)


def _measure(kinds: list[Kind], rounds: int, discarded: int) -> dict[str, list[float]]:
    """Return the seconds of each run by kind, without the first `discarded` rounds."""
    runs: dict[str, list[float]] = {kind.name: [] for kind in kinds}
    for _ in range(rounds + discarded):
        for kind in kinds:
            runs[kind.name].append(kind.run())
    return {name: seconds[discarded:] for name, seconds in runs.items()}


def _report_ratios(runs: dict[str, list[float]], *, smallest: bool) -> int:
    medians = {name: statistics.median(seconds) for name, seconds in runs.items()}
    # The median of the ratios within each round, because a slow phase of the machine affects a whole round.
    ratios = {
        name: statistics.median(own / plain for own, plain in zip(seconds, runs["plain"], strict=True))
        for name, seconds in runs.items()
    }
    for name, median in medians.items():
        print(f"{name:10} {median:6.3f} s   {ratios[name]:5.2f} of plain")
    if smallest:
        print(f"target {TARGET}: not judged")
        return 0
    met = all(ratios[name] <= TARGET for name in ("pipeline", "layer"))
    print(f"target {TARGET}: {'met' if met else 'missed'}")
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    report = {"target": TARGET, "met": met, "medians": medians, "ratios": ratios, "seconds": runs}
    RESULT.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
