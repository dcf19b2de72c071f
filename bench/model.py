"""A model of 220 MB, from an empty folder to its first result: the worker's way against the naive one.

Fresh processes run in turns against one S3 on this machine, so that whatever else the machine does falls on all alike:

- naive:       import spaCy and boto3, `download_file` of a .tar.gz, unpack, `spacy.load`, one text;
- naive, tar:  the same with a plain .tar, so without the time of gunzip;
- ours:        `functions.worker.model.ModelCache` over the packaged artifact, and one text.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence

from bench import big_model
from bench.report import RESULTS, ROOT, Figure, Measured
from local import emulator
from local.package import ModelArtifact
from local.package.model import make_model
from local.stack import aws_client
from local.steps import Steps

FOLDER = RESULTS / "model"
BUCKET = "models"
ROUNDS = 9
TARGET = 0.60
Say = Callable[[str], None]
RUN_SECONDS = 120

_CLOCK = """
import json, sys, time
began = last = time.perf_counter()
phases = {}
def phase(name):
    global last
    now = time.perf_counter()
    phases[name], last = now - last, now
"""
_NAIVE = """
import spacy
phase("import spacy")
import boto3
phase("import boto3")
name, work = sys.argv[1:]
boto3.client("s3").download_file("models", name, work + "/archive")
phase("download")
import tarfile
with tarfile.open(work + "/archive") as archive:
    archive.extractall(work + "/model", filter="data")
phase("unpack")
nlp = spacy.load(work + "/model")
phase("load")
assert nlp("Ada Lovelace lived in London.").ents
phase("first text")
"""
_OURS = """
from pathlib import Path
from functions.worker.model import Artifact, ModelCache
from shared.blobs import Blobs
phase("import model.py")
key, sha256, size, work = sys.argv[1:]
cache = ModelCache(Blobs("models"), Artifact(key=key, sha256=sha256, size=int(size)), folder=Path(work))
pipeline = cache.pipeline()
phase("fetch while importing, load")
(analysis,) = pipeline.run([("Ada Lovelace lived in London.", ("ents", "sents"))])
assert analysis.document["ents"]
phase("first text")
"""
_TELL = """
print(json.dumps({**phases, "all": time.perf_counter() - began}))
"""


def measure(steps: Steps, *, quick: bool) -> Measured:
    """Medians of fresh processes."""
    rounds = 2 if quick else ROUNDS
    FOLDER.mkdir(parents=True, exist_ok=True)
    with steps.step("Making a model of 220 MB and its archives") as step:
        artifact = _archives(step.say)
    cloud = FOLDER / "cloud"
    try:
        with steps.step("Starting an S3 with them"):
            emulator.make_environment()
            running = emulator.start(cloud, port=None)
            _upload(running, artifact)
        with steps.step(f"{rounds} rounds of three processes") as step:
            runs = _runs(running, artifact, rounds, step.say)
    finally:
        emulator.stop(cloud)
        shutil.rmtree(cloud, ignore_errors=True)
    return Measured(_figures(runs), raw={"seconds": runs})


def _archives(say: Say) -> ModelArtifact:
    say("building the model")
    folder = big_model.make(FOLDER / "pipeline")
    say("packaging it")
    artifact = make_model(folder, FOLDER, work=FOLDER)
    for name, options in (("naive.tar.gz", "-czf"), ("naive.tar", "-cf")):
        say(name)
        if not (FOLDER / name).is_file():
            part = FOLDER / f"{name}.part"
            subprocess.run(["tar", options, part, "-C", folder, "."], check=True, timeout=RUN_SECONDS)
            part.rename(FOLDER / name)
    return artifact


def _upload(running: emulator.Emulator, artifact: ModelArtifact) -> None:
    s3 = aws_client("s3", url=running.url)
    s3.create_bucket(Bucket=BUCKET)
    for name in (artifact.file, "naive.tar.gz", "naive.tar"):
        s3.upload_file(str(FOLDER / name), BUCKET, name)


def _runs(
    running: emulator.Emulator, artifact: ModelArtifact, rounds: int, say: Say
) -> dict[str, list[dict[str, float]]]:
    ours = [artifact.file, artifact.sha256, str(artifact.size)]
    kinds = {
        "naive": (_NAIVE, ["naive.tar.gz"]),
        "naive, tar": (_NAIVE, ["naive.tar"]),
        "ours": (_OURS, ours),
    }
    environment = {**os.environ, **emulator.access(running.url), "OMP_NUM_THREADS": "1"}
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        say(f"round {number} of {rounds}")
        for kind, (code, arguments) in kinds.items():
            took = _run(code, arguments, environment)
            if number:  # the first round warms the disk cache
                runs[kind].append(took)
    return runs


def _run(code: str, arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, float]:
    """Seconds of each phase, and of all."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as work:
        done = subprocess.run(
            [sys.executable, "-c", _CLOCK + code + _TELL, *arguments, work],
            env=dict(environment),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            check=True,
            timeout=RUN_SECONDS,
        )
    took: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return took


def _figures(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Figure]:
    def ratio(kind: str) -> float:
        # Of each round's own, so that a slow spell of the machine falls on both sides of it.
        return statistics.median(
            ours["all"] / naive["all"] for ours, naive in zip(runs["ours"], runs[kind], strict=True)
        )

    return [
        Figure("ours / naive with .tar.gz, empty folder to first result", ratio("naive"), "x", most=TARGET),
        Figure("ours / naive with plain .tar", ratio("naive, tar"), "x"),
        *(
            Figure(f"{kind}: {phase}", statistics.median(run[phase] for run in of_kind), "s")
            for kind, of_kind in runs.items()
            for phase in of_kind[0]
        ),
    ]
