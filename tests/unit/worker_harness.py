"""A worker over in-memory stores with the real model, for tests."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from functions.worker import pipeline
from functions.worker.heartbeat import BEAT_SECONDS
from functions.worker.pipeline import Pipeline
from functions.worker.work import BatchItem
from functions.worker.worker import Worker
from shared.errors import Transient
from shared.jobs.features import FeatureName
from shared.jobs.job import Job, Model, new_job_id
from shared.jobs.message import JobMessage
from tests.fakes import MemoryJobs, MemoryQueue, MemoryQueueLatencies

NOW = 1_800_000_000_000

load_once = cache(pipeline.load)  # the model takes a second to load


class Harness:
    """A worker over in-memory stores, and the seconds for which it hid messages."""

    def __init__(self, model_path: Path) -> None:
        self.jobs = MemoryJobs()
        self.hidden: dict[str, int] = {}
        self.loaded = load_once(model_path)
        self.isolated = MemoryQueue()
        self.latencies = MemoryQueueLatencies()
        self.webhooks = MemoryQueue()
        self.load: Callable[[], tuple[Pipeline, int]] = lambda: (self.loaded, 0)
        self.worker = self.make_worker()

    def make_worker(self, *, beat_seconds: float = BEAT_SECONDS) -> Worker:
        return Worker(
            self.jobs,
            self.jobs,
            self.isolated,
            lambda: self.load(),
            latencies=self.latencies,
            webhooks=self.webhooks,
            beat_seconds=beat_seconds,
        )

    def add(self, *texts: str, features: tuple[FeatureName, ...] = ("ents", "sents")) -> Job:
        job = Job(
            id=new_job_id(NOW), client_id="c_1", model=Model(name="m", version="1"), characters=sum(map(len, texts)),
            features=features, created_at=NOW, queued_at=NOW, deadline=NOW + 10**9, expires_at=NOW // 1000 + 10**9,
        )  # fmt: skip
        self.jobs.create(job, json.dumps({"documents": [{"text": text} for text in texts]}).encode())
        return job

    def change(self, job: Job, **changes: object) -> None:
        self.jobs.jobs[job.id] = self.jobs.jobs[job.id].model_copy(update=changes)

    def stored(self, job: Job) -> Job:
        return self.jobs.jobs[job.id]

    def item(self, job: Job, message_id: str = "", *, shard: int | None = None) -> BatchItem:
        name = message_id or job.id

        def change_visibility(*, seconds: int) -> None:
            self.hidden[name] = seconds

        return BatchItem(name, JobMessage(job=job.id, run=1, shard=shard), change_visibility)

    def run(self, *jobs: Job) -> list[str]:
        return self.worker.run([self.item(job) for job in jobs])

    def run_shards(self) -> int:
        """Run the shards whose messages were sent, one at a time. Return the number of messages."""
        for count in itertools.count():
            if not self.isolated.sent:
                return count
            message, _ = self.isolated.sent.pop(0)
            assert isinstance(message, JobMessage)
            assert self.worker.run([BatchItem("s", message, _never_hide)]) == []
        raise AssertionError

    def result(self, job: Job) -> list[dict[str, Any]]:
        documents: list[dict[str, Any]] = json.loads(self.jobs.read_result(self.stored(job)))["documents"]
        return documents


def _never_hide(*, seconds: int) -> None:
    raise AssertionError(f"A message was hidden for {seconds} s")


def raise_transient(*_: object, **__: object) -> NoReturn:
    raise Transient("throttled")
