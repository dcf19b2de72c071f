"""The time from an empty folder to the first result of a model of 220 MB: the worker against the naive way.

The naive way imports spaCy, downloads a .tar.gz, unpacks it, loads the model, and analyzes one text. A second naive way
uses a plain .tar. Each run is a fresh process. The ways take turns and use one S3 on this machine. The benchmark prints
the median of each phase.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from bench import command
from bench.report import Figure, report
from bench.throughput import find_model
from local.connection import build_aws_environment
from local.emulators import emulator
from local.package.model import make_model
from local.paths import GENERATED, ROOT
from local.stack import Stack

FOLDER = GENERATED / "bench" / "model"
BUCKET = "models"
TARGET = 0.60


@dataclass(frozen=True)
class Size:
    """The shape of the model's random vectors, the number of rounds, and of first rounds that do not count."""

    vectors: tuple[int, int]
    rounds: int
    discarded: int


FULL = Size(vectors=(180_000, 300), rounds=5, discarded=1)  # 216 MB; the first round warms the disk's cache
SMALLEST = Size(vectors=(100, 300), rounds=1, discarded=0)

_CLOCK = """
import json, sys, time
began = last = time.perf_counter()
phases = {}
def phase(name):
    global last
    now = time.perf_counter()
    phases[name], last = now - last, now
"""
_NAIVE = (
    _CLOCK
    + """
import boto3, spacy, tarfile
phase("import")
file, folder = sys.argv[2] + "/model", sys.argv[2] + "/unpacked"
boto3.client("s3").download_file("models", sys.argv[1], file)
phase("download")
with tarfile.open(file) as tar:
    tar.extractall(folder, filter="data")
phase("unpack")
nlp = spacy.load(folder)
phase("load")
assert nlp("Ada Lovelace lived in London.").ents
phase("run")
print(json.dumps({**phases, "all": time.perf_counter() - began}))
"""
)
_WORKER = (
    _CLOCK
    + """
from pathlib import Path
from functions.worker.model import Artifact, ModelCache
from shared.aws.blobs import Blobs
phase("import")
key, sha256, size = sys.argv[1].split()
cache = ModelCache(Blobs("models"), Artifact(key=key, sha256=sha256, size=int(size)), folder=Path(sys.argv[2]))
pipeline = cache.pipeline()
phase("fetch and load")
(analysis,) = pipeline.run([("Ada Lovelace lived in London.", ("ents", "sents"))])
assert analysis.document["ents"]
phase("run")
print(json.dumps({**phases, "all": time.perf_counter() - began}))
"""
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report. Return 1 if the target is missed."""
    parser = command.build_parser("model", __doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, help=f"runs of each way (default: {FULL.rounds})")
    options = parser.parse_args(arguments)
    size = SMALLEST if options.smallest else FULL
    with _open_folder(smallest=options.smallest) as folder, _run_emulator(options.folder) as aws_environment:
        environment = {**os.environ, **aws_environment, "OMP_NUM_THREADS": "1"}
        with _upload(_make_big(folder, size.vectors), folder, environment) as arguments_by_kind:
            runs = _measure(arguments_by_kind, environment, folder, options.rounds or size.rounds, size.discarded)
    return report("model", _compute_figures(runs), smallest=options.smallest)


@contextmanager
def _open_folder(*, smallest: bool) -> Iterator[Path]:
    """Yield the folder of the model and its archives. It is a temporary one for the smallest size."""
    if smallest:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    yield FOLDER


@contextmanager
def _run_emulator(borrowed: Path | None) -> Iterator[dict[str, str]]:
    """Yield the AWS variables of the emulator in the folder `borrowed`, or of one that runs inside the block."""
    if borrowed is not None:
        yield Stack.load(borrowed.resolve()).aws_environment
        return
    chosen = emulator()
    chosen.install()
    try:
        yield build_aws_environment(chosen, chosen.start(FOLDER / "cloud", port=None).url)
    finally:
        chosen.stop(FOLDER / "cloud")


def make_big_model() -> Path:
    """Return the folder of the model of 220 MB. Make it if it does not exist."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    return _make_big(FOLDER, FULL.vectors)


def _make_big(folder: Path, vectors: tuple[int, int]) -> Path:
    """Return the folder of the small pipeline with random vectors below `folder`. Make it if it does not exist."""
    path = folder / "big"
    if path.is_dir():
        return path
    print("  … making the model", flush=True)
    import numpy as np
    import spacy
    from spacy.vectors import Vectors

    nlp = spacy.load(find_model())
    data = np.random.default_rng(7).standard_normal(vectors, dtype="float32")
    nlp.vocab.vectors = Vectors(data=data, keys=[f"word{number}" for number in range(vectors[0])])
    nlp.to_disk(folder / "big.part")
    (folder / "big.part").rename(path)
    return path


@contextmanager
def _upload(model: Path, folder: Path, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Put the artifact and the two naive archives into S3 inside the block. Yield the argument of each process."""
    print("  … packing and uploading the model", flush=True)
    built = make_model(model, folder, work=folder)
    _pack(model, folder / "model.tar.gz")
    _pack(model, folder / "model.tar")
    names = (built.file, "model.tar.gz", "model.tar")
    s3 = _open_s3(environment)
    s3.create_bucket(Bucket=BUCKET)
    try:
        for name in names:
            s3.upload_file(str(folder / name), BUCKET, name)
        artifact = f"{built.file} {built.sha256} {built.size}"
        yield {"naive": "model.tar.gz", "naive, plain tar": "model.tar", "worker": artifact}
    finally:
        s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": name} for name in names]})
        s3.delete_bucket(Bucket=BUCKET)


def _pack(model: Path, file: Path) -> None:
    """Make the archive of a model, unless it exists."""
    if file.is_file():
        return
    with tarfile.open(file, "w:gz", compresslevel=6) if file.suffix == ".gz" else tarfile.open(file, "w") as tar:
        tar.add(model, arcname=".")


def _open_s3(environment: dict[str, str]) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )


def _measure(
    arguments_by_kind: dict[str, str], environment: dict[str, str], folder: Path, rounds: int, discarded: int
) -> dict[str, list[dict[str, float]]]:
    """Return the seconds of the phases of each run by kind, without the first `discarded` rounds."""
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in arguments_by_kind}
    for number in range(rounds + discarded):
        print(f"  … round {number + 1} of {rounds + discarded}", flush=True)
        for kind, argument in arguments_by_kind.items():
            program = _WORKER if kind == "worker" else _NAIVE
            with tempfile.TemporaryDirectory(dir=folder) as empty:
                arguments = [sys.executable, "-c", program, argument, empty]
                ran = subprocess.run(arguments, env=environment, cwd=ROOT, stdout=subprocess.PIPE, check=True)
            seconds = json.loads(ran.stdout.splitlines()[-1])
            print(f"    {kind}: {seconds['all']:.2f} s, load {os.getloadavg()[0]:.1f}", flush=True)
            runs[kind].append(seconds)
    return {kind: of_kind[discarded:] for kind, of_kind in runs.items()}


def _compute_figures(runs: dict[str, list[dict[str, float]]]) -> list[Figure]:
    medians = {
        kind: {phase: statistics.median(run[phase] for run in of_kind) for phase in of_kind[0]}
        for kind, of_kind in runs.items()
    }
    naive, plain, worker = (medians[kind]["all"] for kind in ("naive", "naive, plain tar", "worker"))
    phases = [
        Figure(f"{kind}: {phase}", seconds, "s")
        for kind, median in medians.items()
        for phase, seconds in median.items()
    ]
    return [
        Figure("worker / naive, .tar.gz", worker / naive, "x", most=TARGET),
        Figure("worker / naive, plain .tar", worker / plain, "x"),
        *phases,
    ]


if __name__ == "__main__":
    sys.exit(main())
