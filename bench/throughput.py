"""The worker over an in-memory store against `nlp.pipe`: same pipes, same batches, one process, in turns.

The worker does all that it does on AWS Lambda, logging included, but for the services: it claims, reads the input, runs
the model, puts the result together and finishes.
"""

from __future__ import annotations

import logging
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from pydantic_core import to_json

from bench.big_model import installed
from bench.report import Figure, Measured
from bench.texts import texts
from functions.worker import pipeline
from functions.worker.jobs import Received, Worker
from functions.worker.pipeline import Pipeline
from functions.worker.shards import Merger, Piece
from local.steps import Steps
from shared.clock import now_ms
from shared.log import logger
from shared.models import DEFAULT_FEATURES, Feature, Job, Message, Model
from tests.fakes import MemoryJobs, MemoryLane

BATCH, WORDS = 10, 25
BATCHES = 20
ROUNDS = 10
ALL: tuple[Feature, ...] = ("ents", "sents", "tokens")
ENTS: tuple[Feature, ...] = ("ents",)
FOR_TOKENS_ALONE = ["tagger", "attribute_ruler", "lemmatizer"]  # what the default features do without

Prepare = Callable[[Sequence[str]], Callable[[], object]]  # for a batch: what is timed


def measure(steps: Steps, *, quick: bool) -> Measured:
    """Medians over batches."""
    with steps.step("Loading the model"):
        loaded = pipeline.load(installed())
    rounds = 1 if quick else ROUNDS
    with steps.step(f"{rounds} rounds of {BATCHES} batches") as step, _unseen_logs():
        seconds = _seconds(_kinds(loaded), rounds, step.say)
    return Measured(_figures(seconds), raw={"seconds": seconds})


def _kinds(loaded: Pipeline) -> dict[str, Prepare]:
    nlp = loaded._nlp
    return {
        "nlp.pipe": lambda batch: lambda: list(nlp.pipe(batch)),
        "worker": lambda batch: _run_of(loaded, batch, ALL),
        "serialising": lambda batch: _serialising(loaded, batch),
        "nlp.pipe for ents, sents": lambda batch: lambda: list(nlp.pipe(batch, disable=FOR_TOKENS_ALONE)),
        "worker for ents, sents": lambda batch: _run_of(loaded, batch, DEFAULT_FEATURES),
        "worker for ents": lambda batch: _run_of(loaded, batch, ENTS),
    }


def _run_of(loaded: Pipeline, batch: Sequence[str], features: tuple[Feature, ...]) -> Callable[[], object]:
    """The run of a batch of jobs, which lie in a store of their own."""
    store = MemoryJobs()
    for number, text in enumerate(batch):
        store.create(_job(f"job-{number}", text, features), stored_input(text))
    received = [Received(job.id, Message(job=job.id, run=1), _never) for job in store.jobs.values()]
    worker = Worker(store, MemoryLane(), lambda: (loaded, 0))
    worker._threads.submit(int).result()  # an environment's threads are there after its first batch

    def run() -> None:
        if worker.run(received) or any(job.status != "succeeded" for job in store.jobs.values()):
            raise RuntimeError("A job did not succeed")
        worker._threads.shutdown()

    return run


def stored_input(text: str) -> bytes:
    """The input of a job of one document, as `submit` stores it."""
    return to_json({"documents": [{"id": None, "text": text}]})


def _job(job_id: str, text: str, features: tuple[Feature, ...]) -> Job:
    now = now_ms()
    return Job(
        id=job_id,
        client_id="client",
        features=features,
        model=Model(name="model", version="1"),
        characters=len(text),
        created_at=now,
        queued_at=now,
        deadline=now + 3_600_000,
        expires_at=now // 1000 + 3_600,
    )


def _never(*, seconds: int) -> None:
    raise RuntimeError(f"A message was postponed by {seconds} s")


def _serialising(loaded: Pipeline, batch: Sequence[str]) -> Callable[[], object]:
    """From spaCy's documents to the bytes that are stored."""
    docs = list(loaded._nlp.pipe(batch))

    def run() -> None:
        for doc in docs:
            merger = Merger(BytesIO(), [None])
            merger.add(Piece(0, 0, ""), pipeline._analysis(doc, ALL).document)
            merger.finish()

    return run


def _seconds(kinds: Mapping[str, Prepare], rounds: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Of each kind for each batch; one after the other, so that a slow spell of the machine falls on all alike."""
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        say(f"round {number} of {rounds}")
        every = texts(BATCH * BATCHES, words=WORDS, seed=number)
        for start in range(0, len(every), BATCH):
            for kind, prepare in kinds.items():
                took = timed(prepare(every[start : start + BATCH]))
                if number:  # the first round warms up
                    seconds[kind].append(took)
    return seconds


def timed(run: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _figures(seconds: Mapping[str, Sequence[float]]) -> list[Figure]:
    def ratio(above: str, below: str) -> float:
        return statistics.median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))

    overhead = [ours - bare for ours, bare in zip(seconds["worker"], seconds["nlp.pipe"], strict=True)]
    return [
        Figure("worker / nlp.pipe, throughput, all pipes", ratio("nlp.pipe", "worker"), "x", least=0.90),
        Figure(
            "worker / nlp.pipe, throughput, ents and sents",
            ratio("nlp.pipe for ents, sents", "worker for ents, sents"),
            "x",
            least=0.90,
        ),
        Figure("worker for ents / worker for all", ratio("worker", "worker for ents"), "x", least=1.5),
        Figure("serialising with tokens, of the run", 100 * ratio("serialising", "worker"), "%", most=10),
        Figure("overhead of a job over nlp.pipe", statistics.median(overhead) / BATCH * 1000, "ms"),
        *(Figure(kind, BATCH * WORDS / statistics.median(took), "words/s") for kind, took in seconds.items()),
    ]


@contextmanager
def _unseen_logs() -> Iterator[None]:
    """Logs are made and written, as in earnest, but not shown."""
    handlers = [handler for handler in logger.handlers if isinstance(handler, logging.StreamHandler)]
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        streams = [handler.setStream(nowhere) for handler in handlers]
        try:
            yield
        finally:
            for handler, stream in zip(handlers, streams, strict=True):
                handler.setStream(stream)
