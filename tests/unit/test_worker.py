"""The worker over an in-memory store with the real model: what becomes of each message of a batch."""

from __future__ import annotations

import functools
import itertools
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from functions.worker import jobs as jobs_module
from functions.worker import pipeline
from functions.worker.jobs import Worker, backoff_seconds
from functions.worker.leases import Leases
from functions.worker.pipeline import Pipeline
from functions.worker.shards import slices as slices_of
from functions.worker.work import Received
from shared.clock import now_ms
from shared.errors import ModelError, Transient
from shared.models import Job, Message, Model, Webhook, WebhookMessage, new_job_id
from tests.fakes import MemoryJobs, MemoryLane, MemoryPaces

NOW = 1_800_000_000_000


@pytest.fixture(scope="session")
def loaded(model_path: Path) -> Pipeline:
    return pipeline.load(model_path)


class Bench:
    """A store, a worker, and the messages that were postponed."""

    def __init__(self, loaded: Pipeline) -> None:
        self.jobs = MemoryJobs()
        self.postponed: dict[str, int] = {}
        self.loaded = loaded
        self.solo = MemoryLane()
        self.paces = MemoryPaces()
        self.webhooks = MemoryLane()
        self.worker = self.worker_with(self.load)

    def worker_with(self, load: Callable[[], tuple[Pipeline, int]], **options: float) -> Worker:
        return Worker(self.jobs, self.solo, load, paces=self.paces, webhooks=self.webhooks, **options)

    def load(self) -> tuple[Pipeline, int]:
        return self.loaded, 0

    def add(self, *texts: str, features: tuple[str, ...] = ("ents", "sents")) -> Job:
        job = Job(
            id=new_job_id(NOW), client_id="c_1", model=Model(name="m", version="1"), characters=sum(map(len, texts)),
            features=features, created_at=NOW, queued_at=NOW, deadline=NOW + 10**9, expires_at=NOW // 1000 + 10**9,
        )  # fmt: skip
        self.jobs.create(job, json.dumps({"documents": [{"text": text} for text in texts]}).encode())
        return job

    def received(self, job: Job, item_id: str = "") -> Received:
        name = item_id or job.id
        return Received(name, Message(job=job.id, run=1), lambda *, seconds: self.postponed.update({name: seconds}))

    def run(self, *jobs: Job) -> list[str]:
        return self.worker.run([self.received(job) for job in jobs])

    def result(self, job: Job) -> list[dict]:
        documents: list[dict] = json.loads(self.jobs.result(self.jobs.jobs[job.id]))["documents"]
        return documents


@pytest.fixture
def bench(loaded: Pipeline) -> Bench:
    return Bench(loaded)


def test_batch_succeeds(bench: Bench) -> None:
    jobs = [bench.add(f"Angela Merkel went to Paris {count} times.") for count in range(10)]
    assert bench.run(*jobs) == []
    for job in jobs:
        (document,) = bench.result(job)
        text = "Angela Merkel went to Paris"
        labels = {text[ent["start"] : ent["end"]]: ent["label"] for ent in document["ents"]}
        assert labels["Angela Merkel"] == "PERSON"
        assert bench.jobs.jobs[job.id].metrics.words


def test_same_message_three_times_runs_once(bench: Bench) -> None:
    job = bench.add("Tim Cook met Ada.")
    assert bench.worker.run([bench.received(job, str(copy)) for copy in range(3)]) == []
    assert bench.jobs.jobs[job.id].attempt == 1
    assert len(bench.jobs.results) == 1


def test_offsets_count_characters_around_emoji_and_nul(bench: Bench) -> None:
    text = "👩‍🚀\x00 Ada Lovelace lived in London. 🦄"
    job = bench.add(text)
    bench.run(job)
    (document,) = bench.result(job)
    assert "Ada Lovelace" in [text[ent["start"] : ent["end"]] for ent in document["ents"]]


def test_tokens_are_what_doc_to_json_gives(bench: Bench, loaded: Pipeline) -> None:
    """With the feature `tokens` the document is spaCy's own, and `Doc.from_json` takes it as it is."""
    from spacy.tokens import Doc

    text = "Tim Cook met Angela in Paris. It rained."
    job = bench.add(text, features=("ents", "sents", "tokens"))
    bench.run(job)
    (document,) = bench.result(job)
    assert document == loaded._nlp(text).to_json()
    doc = Doc(loaded._nlp.vocab).from_json(document)
    assert [ent.text for ent in doc.ents] == ["Tim Cook", "Angela", "Paris"]


def test_each_job_gets_its_own_features(bench: Bench) -> None:
    """Jobs of different features share a batch, and neither gets more than it asked for."""
    ents = bench.add("Ada lived in London.", features=("ents",))
    everything = bench.add("Ada lived in London.", features=("ents", "sents", "tokens", "noun_chunks"))
    bench.run(ents, everything)
    assert set(bench.result(ents)[0]) == {"ents"}
    assert set(bench.result(everything)[0]) == {"text", "ents", "sents", "tokens", "noun_chunks"}


def test_components_that_no_feature_needs_do_not_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    through = pipeline._through

    def spy(component, docs):
        if docs:
            ran.append(next(name for name, one in bench.loaded._nlp.pipeline if one is component))
        return through(component, docs)

    monkeypatch.setattr(pipeline, "_through", spy)
    bench.run(bench.add("Ada.", features=("ents",)))
    assert ran == ["ner"]
    ran.clear()
    bench.run(bench.add("Ada.", features=("sents",)))
    assert ran == ["tok2vec", "parser"]


def test_document_the_model_fails_on_does_not_fail_its_neighbours(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_doc = bench.loaded._nlp.make_doc

    def explode(text: str):
        if "boom" in text:
            raise ValueError("boom")
        return make_doc(text)

    monkeypatch.setattr(bench.loaded._nlp, "make_doc", explode)
    mixed, lost, fine = bench.add("Ada.", "boom"), bench.add("boom"), bench.add("Ada lived in London.")
    assert bench.run(mixed, lost, fine) == []
    good, bad = bench.result(mixed)
    assert "ents" in good
    assert bad["error"]["code"] == "model_failed"
    assert bench.jobs.jobs[lost.id].status == "failed"
    assert bench.jobs.jobs[fine.id].status == "succeeded"


@pytest.mark.parametrize("character", ["$", "🚀"])
def test_long_run_without_a_space_takes_its_turn(bench: Bench, character: str) -> None:
    """The tokenizer's time grows with the square of such a run: 10,000 times `$` took half a minute."""
    text = f"Ada Lovelace lived in London. {character * 10_000} Tim Cook lives in Paris."
    job = bench.add(text, features=("ents", "tokens"))
    began = time.process_time()
    assert bench.run(job) == []
    assert time.process_time() - began < 25
    (document,) = bench.result(job)
    assert document["text"] == text
    assert "Ada Lovelace" in [text[ent["start"] : ent["end"]] for ent in document["ents"]]
    pieces = [text[token["start"] : token["end"]] for token in document["tokens"]]
    assert "".join(pieces) == text.replace(" ", "")


def test_job_without_input_fails_for_good(bench: Bench) -> None:
    job = bench.add("Ada.")
    del bench.jobs.payloads[job.id]
    assert bench.run(job) == []
    failure = bench.jobs.jobs[job.id].failure
    assert failure is not None
    assert failure.code == "input_missing"


def test_no_model_gives_every_job_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs are queued again and their messages come back after the backoff."""

    def no_model() -> tuple[Pipeline, int]:
        raise ModelError("the disk is full")

    monkeypatch.setattr(bench.worker, "_load", no_model)
    jobs = [bench.add("Ada."), bench.add("Bob.")]
    assert sorted(bench.run(*jobs)) == sorted(job.id for job in jobs)
    assert {bench.jobs.jobs[job.id].status for job in jobs} == {"queued"}
    assert all(1 <= seconds <= 5 for seconds in bench.postponed.values())
    assert len(bench.postponed) == 2


def test_fifth_failure_is_the_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_model() -> tuple[Pipeline, int]:
        raise ModelError("the disk is full")

    monkeypatch.setattr(bench.worker, "_load", no_model)
    job = bench.add("Ada.")
    outcomes = [bench.run(job) for _ in range(5)]
    assert outcomes == [[job.id]] * 4 + [[]]
    kept = bench.jobs.jobs[job.id]
    assert kept.failure is not None
    assert kept.failure.code == "attempts_exhausted"
    assert "the disk is full" in kept.failure.detail


def test_store_that_is_busy_at_the_finish_brings_the_message_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = bench.add("Ada.")
    succeed = bench.jobs.succeed

    def busy(*args, **kwargs):
        raise Transient("throttled")

    monkeypatch.setattr(bench.jobs, "succeed", busy)
    assert bench.run(job) == [job.id]
    assert bench.jobs.jobs[job.id].status == "queued"
    monkeypatch.setattr(bench.jobs, "succeed", succeed)
    assert bench.run(job) == []
    assert bench.jobs.jobs[job.id].attempt == 2


def drain(bench: Bench) -> int:
    """Run the shards that were queued, one message at a time; how many there were."""
    for count in itertools.count():
        if not bench.solo.sent:
            return count
        message, _ = bench.solo.sent.pop(0)
        assert bench.worker.run([Received("s", message, lambda *, seconds: None)]) == []
    raise AssertionError


LONG = "\n\n".join(f"Paragraph {number}. Ada Lovelace lived in London." for number in range(3000))


def test_big_job_is_split_and_merged(bench: Bench) -> None:
    job = bench.add("Short, about Tim Cook.", LONG, features=("ents", "tokens"))
    assert bench.run(job) == []
    assert bench.jobs.jobs[job.id].status == "running"
    assert bench.jobs.jobs[job.id].lease is None
    assert drain(bench) == bench.jobs.jobs[job.id].shards > 2
    kept = bench.jobs.jobs[job.id]
    assert (kept.status, kept.progress.done) == ("succeeded", kept.shards)
    short, document = bench.result(job)
    assert short["text"] == "Short, about Tim Cook."
    found = [LONG[ent["start"] : ent["end"]] for ent in document["ents"]]
    assert found.count("Ada Lovelace") > 2000
    assert document["text"] == LONG
    assert [token["id"] for token in document["tokens"]] == list(range(len(document["tokens"])))
    last = document["tokens"][-1]
    assert LONG[last["start"] : last["end"]] == "."
    assert last["head"] > last["id"] - 10


def test_sharded_result_is_the_unsharded_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """On text whose paragraphs are the shards' boundaries."""
    text = "\n\n".join(["Ada Lovelace lived in London. She wrote programs."] * 20)
    job = bench.add(text, features=("ents", "sents", "tokens", "noun_chunks"))
    limit = len(text) // 4
    monkeypatch.setattr(jobs_module, "SHARD_CHARACTERS", limit)
    monkeypatch.setattr(jobs_module, "shards", functools.partial(jobs_module.shards, limit=limit))
    bench.run(job)
    assert drain(bench) > 3
    (sharded,) = bench.result(job)
    (slices,) = {tuple(len(part) for _, part in slices_of(text, limit=limit))}
    parts = [(offset, bench.loaded._nlp(part)) for offset, part in slices_of(text, limit=limit)]
    assert len(slices) > 3
    assert sharded["ents"] == [
        {"start": ent.start_char + offset, "end": ent.end_char + offset, "label": ent.label_}
        for offset, doc in parts
        for ent in doc.ents
    ]


def test_shard_run_twice_is_merged_once(bench: Bench) -> None:
    job = bench.add(LONG)
    bench.run(job)
    bench.solo.sent += bench.solo.sent
    drain(bench)
    assert bench.jobs.jobs[job.id].status == "succeeded"
    assert len(bench.jobs.results) == 1


def test_message_about_a_job_whose_shards_are_done_merges_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a merger that died: the janitor sends the job's own message."""
    job = bench.add(LONG)
    bench.run(job)
    monkeypatch.setattr(bench.worker, "_merge", lambda *_: None)
    drain(bench)
    assert bench.jobs.jobs[job.id].status == "running"
    bench.jobs.jobs[job.id] = bench.jobs.jobs[job.id].model_copy(update={"lease": 1})
    monkeypatch.undo()
    assert bench.run(job) == []
    assert bench.jobs.jobs[job.id].status == "succeeded"


def test_shard_of_a_canceled_job_is_not_run(bench: Bench) -> None:
    job = bench.add(LONG)
    bench.run(job)
    bench.jobs.jobs[job.id] = bench.jobs.jobs[job.id].model_copy(update={"status": "canceled"})
    drain(bench)
    assert bench.jobs.outcomes == {}


def test_pace_is_noted_now_and_then(bench: Bench) -> None:
    """By the job that was queued last, and not for every batch: many environments write the same item."""
    old, new = bench.add("Ada."), bench.add("Ada.")
    for job, waited in ((old, 9_000), (new, 5_000)):
        bench.jobs.jobs[job.id] = job.model_copy(update={"queued_at": now_ms() - waited})
    bench.run(old, new)
    noted = bench.paces.noted["jobs"]
    assert 5_000 <= noted.wait_ms < 9_000
    bench.run(bench.add("Ada."))
    assert bench.paces.noted["jobs"] == noted


def test_heartbeat_extends_the_lease(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work longer than a lease keeps its job; here the clock's part is played by short beats."""
    leases = []
    extend = bench.jobs.extend
    monkeypatch.setattr(bench.jobs, "extend", lambda job, *, now: leases.append(now) or extend(job, now=now))
    worker = bench.worker_with(lambda: (time.sleep(0.5), bench.load())[1], beat_seconds=0.1)
    job = bench.add("Ada.")
    assert worker.run([bench.received(job)]) == []
    assert len(leases) >= 3
    assert not [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


def test_canceled_job_is_not_run_on(bench: Bench) -> None:
    """A heartbeat learns that the job was canceled while the model was loading."""
    job = bench.add("Ada.")

    def load() -> tuple[Pipeline, int]:
        bench.jobs.jobs[job.id] = bench.jobs.jobs[job.id].model_copy(update={"status": "canceled"})
        time.sleep(0.5)
        return bench.load()

    worker = bench.worker_with(load, beat_seconds=0.1)
    assert worker.run([bench.received(job)]) == []
    assert bench.jobs.results == {}


def test_worker_that_hangs_lets_its_leases_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.worker.leases.STALL_SECONDS", 0.2)
    beats = []

    class Jobs:
        def extend(self, job: Job, *, now: int) -> bool:
            beats.append(time.monotonic())
            return True

    with Leases(Jobs(), lambda: NOW, beat_seconds=0.05) as leases:
        leases.hold(
            Job(
                id="j",
                client_id="c",
                model=Model(name="m", version="1"),
                characters=1,
                created_at=1,
                queued_at=1,
                deadline=2,
                expires_at=3,
            )
        )
        began = time.monotonic()
        time.sleep(0.6)
    assert beats
    assert beats[-1] - began < 0.3


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_backoff_grows_and_ends(jitter: float) -> None:
    waits = [backoff_seconds(attempt, jitter=jitter) for attempt in range(1, 9)]
    assert waits == sorted(waits)
    assert 1 <= waits[0] <= 5
    assert waits[-1] <= 300


@pytest.mark.parametrize(("text", "status"), [("Ada lived in London.", "succeeded"), ("", "failed")])
def test_end_is_announced_as_soon_as_it_is_written(bench: Bench, text: str, status: str) -> None:
    webhook = Webhook(url="https://receiver.example/")
    job = bench.add("Ada.")
    bench.jobs.jobs[job.id] = bench.jobs.jobs[job.id].model_copy(update={"webhook": webhook})
    if not text:
        del bench.jobs.payloads[job.id]
    assert bench.run(job) == []
    assert bench.jobs.jobs[job.id].is_unannounced
    assert bench.webhooks.sent == [(WebhookMessage(job=job.id, run=1, status=status), "c_1")]


def test_end_that_another_wrote_is_not_announced(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job = bench.add("Ada.")
    webhook = Webhook(url="https://receiver.example/")
    bench.jobs.jobs[job.id] = bench.jobs.jobs[job.id].model_copy(update={"webhook": webhook})
    monkeypatch.setattr(bench.jobs, "succeed", lambda *_, **__: False)
    bench.run(job)
    assert bench.webhooks.sent == []
