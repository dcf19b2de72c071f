"""A model of 220 MB, from an empty folder to its first result: Samovar's way against the naive one.

The naive way: import spaCy, then `download_file` of a .tar.gz, then unpack, then `spacy.load`, then one text. Beside it
the same with a plain .tar. Fresh processes in turns, one S3 on this machine for all. Prints medians and each phase.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import boto3

from bench.report import Figure, report
from bench.throughput import model_path
from local import emulator
from local.package.model import make_model

FOLDER = emulator.ROOT / ".samovar" / "bench" / "model"
BUCKET = "models"
VECTORS = (180_000, 300)  # 216 MB of them
ROUNDS = 5
TARGET = 0.60

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
_OURS = (
    _CLOCK
    + """
from pathlib import Path
from functions.worker.model import Artifact, ModelCache
from shared.blobs import Blobs
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


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m bench.model", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="fresh processes of each kind (default: %(default)s)"
    )
    rounds = parser.parse_args().rounds
    FOLDER.mkdir(parents=True, exist_ok=True)
    model = big_model()
    emulator.make_environment()
    running = emulator.start(FOLDER / "cloud", port=None)
    try:
        environment = {**os.environ, **emulator.access(running.url), "OMP_NUM_THREADS": "1"}
        arguments = _upload(model, environment)
        runs = _measured(arguments, environment, rounds)
    finally:
        emulator.stop(FOLDER / "cloud")
    return report("model", _figures(runs))


def big_model() -> Path:
    """The small pipeline with random vectors, made once."""
    path = FOLDER / "big"
    if path.is_dir():
        return path
    print("  … making a model of 220 MB", flush=True)
    import numpy as np
    import spacy
    from spacy.vectors import Vectors

    nlp = spacy.load(model_path())
    data = np.random.default_rng(7).standard_normal(VECTORS, dtype="float32")
    nlp.vocab.vectors = Vectors(data=data, keys=[f"word{number}" for number in range(VECTORS[0])])
    FOLDER.mkdir(parents=True, exist_ok=True)
    nlp.to_disk(FOLDER / "big.part")
    (FOLDER / "big.part").rename(path)
    return path


def _upload(model: Path, environment: dict[str, str]) -> dict[str, str]:
    """Put the artifact and the two naive archives into S3; for each kind what its process is told."""
    print("  … packing and uploading it", flush=True)
    built = make_model(model, FOLDER, work=FOLDER)
    for mode, name in (("w:gz", "model.tar.gz"), ("w", "model.tar")):
        if not (FOLDER / name).is_file():
            with tarfile.open(FOLDER / name, mode, **({"compresslevel": 6} if mode == "w:gz" else {})) as tar:
                tar.add(model, arcname=".")
    s3: Any = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    s3.create_bucket(Bucket=BUCKET)
    for name in (built.file, "model.tar.gz", "model.tar"):
        s3.upload_file(str(FOLDER / name), BUCKET, name)
    ours = f"{built.file} {built.sha256} {built.size}"
    return {"naive": "model.tar.gz", "naive, plain tar": "model.tar", "ours": ours}


def _measured(arguments: dict[str, str], environment: dict[str, str], rounds: int) -> dict[str, list[dict[str, float]]]:
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in arguments}
    for number in range(rounds + 1):
        print(f"  … round {number} of {rounds}", flush=True)
        for kind, argument in arguments.items():
            program = _OURS if kind == "ours" else _NAIVE
            with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
                command = [sys.executable, "-c", program, argument, folder]
                ran = subprocess.run(command, env=environment, cwd=emulator.ROOT, capture_output=True, check=True)
            seconds = json.loads(ran.stdout.splitlines()[-1])
            print(f"    {kind}: {seconds['all']:.2f} s, load {os.getloadavg()[0]:.1f}", flush=True)
            if number:  # the first round warms the disk's cache
                runs[kind].append(seconds)
    return runs


def _figures(runs: dict[str, list[dict[str, float]]]) -> list[Figure]:
    medians = {
        kind: {phase: statistics.median(run[phase] for run in of_kind) for phase in of_kind[0]}
        for kind, of_kind in runs.items()
    }
    naive, plain, ours = (medians[kind]["all"] for kind in ("naive", "naive, plain tar", "ours"))
    phases = [
        Figure(f"{kind}: {phase}", seconds, "s")
        for kind, median in medians.items()
        for phase, seconds in median.items()
    ]
    return [
        Figure("ours / naive, .tar.gz", ours / naive, "x", most=TARGET),
        Figure("ours / naive, plain .tar", ours / plain, "x"),
        *phases,
    ]


if __name__ == "__main__":
    sys.exit(main())
