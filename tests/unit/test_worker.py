"""The worker over an in-memory store with the real model: what becomes of each message of a batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from functions.worker import pipeline
from functions.worker.jobs import Received, Worker, backoff_seconds
from functions.worker.pipeline import Pipeline
from shared.errors import ModelError, Transient
from shared.models import Job, Message, Model, new_job_id
from tests.fakes import MemoryJobs

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
        self.worker = Worker(self.jobs, self.load)

    def load(self) -> tuple[Pipeline, int]:
        return self.loaded, 0

    def add(self, *texts: str, features: tuple[str, ...] = ("ents", "sents")) -> Job:
        job = Job(
            id=new_job_id(NOW), client_id="c_1", model=Model(name="m", version="1"), characters=sum(map(len, texts)),
            features=features, created_at=NOW, deadline=NOW + 10**9, expires_at=NOW // 1000 + 10**9,
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


def test_long_text_is_sliced_and_its_offsets_count_in_the_whole(bench: Bench) -> None:
    text = "\n\n".join(f"Paragraph {number}. Ada Lovelace lived in London." for number in range(1500))
    job = bench.add(text, features=("ents", "tokens"))
    bench.run(job)
    (document,) = bench.result(job)
    found = [text[ent["start"] : ent["end"]] for ent in document["ents"]]
    assert found.count("Ada Lovelace") > 1000
    assert document["text"] == text
    assert [token["id"] for token in document["tokens"]] == list(range(len(document["tokens"])))
    assert text[document["tokens"][-1]["start"] : document["tokens"][-1]["end"]] == "."


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_backoff_grows_and_ends(jitter: float) -> None:
    waits = [backoff_seconds(attempt, jitter=jitter) for attempt in range(1, 9)]
    assert waits == sorted(waits)
    assert 1 <= waits[0] <= 5
    assert waits[-1] <= 300
