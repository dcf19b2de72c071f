"""The worker over in-memory stores with the real model: the outcome of every message of a batch."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from spacy.tokens import Doc

from functions.worker import pipeline
from functions.worker.heartbeat import Heartbeat
from functions.worker.outcome import backoff_seconds
from functions.worker.pipeline import Component, Pipeline
from shared.clock import now_ms
from shared.errors import ModelError
from shared.jobs.job import Job, Metrics, Status, WebhookEndpoint
from shared.webhooks.event import WebhookMessage
from tests.unit.worker_harness import NOW, Harness, raise_transient


@pytest.fixture
def harness(model_path: Path) -> Harness:
    return Harness(model_path)


def raise_model_error() -> tuple[Pipeline, int]:
    raise ModelError("the disk is full")


# Jobs that are not split


def test_all_jobs_of_a_batch_succeed(harness: Harness) -> None:
    jobs = [harness.add(f"Angela Merkel went to Paris {count} times.") for count in range(10)]
    assert harness.run(*jobs) == []
    for job in jobs:
        (document,) = harness.result(job)
        text = "Angela Merkel went to Paris"
        labels = {text[ent["start"] : ent["end"]]: ent["label"] for ent in document["ents"]}
        assert labels["Angela Merkel"] == "PERSON"
        assert harness.stored(job).metrics.words


def test_three_copies_of_a_message_run_the_job_once(harness: Harness) -> None:
    job = harness.add("Tim Cook met Ada.")
    assert harness.worker.run([harness.item(job, str(copy)) for copy in range(3)]) == []
    assert harness.stored(job).attempt == 1
    assert len(harness.jobs.results) == 1


def test_offsets_count_characters_around_emoji_and_nul(harness: Harness) -> None:
    text = "👩‍🚀\x00 Ada Lovelace lived in London. 🦄"
    job = harness.add(text)
    harness.run(job)
    (document,) = harness.result(job)
    assert "Ada Lovelace" in [text[ent["start"] : ent["end"]] for ent in document["ents"]]


def test_tokens_equal_doc_to_json(harness: Harness) -> None:
    """The feature `tokens` returns spaCy's own document, and `Doc.from_json` accepts it."""
    text = "Tim Cook met Angela in Paris. It rained."
    job = harness.add(text, features=("ents", "sents", "tokens"))
    harness.run(job)
    (document,) = harness.result(job)
    assert document == harness.loaded.nlp(text).to_json()
    doc = Doc(harness.loaded.nlp.vocab).from_json(document)
    assert [ent.text for ent in doc.ents] == ["Tim Cook", "Angela", "Paris"]


def test_each_job_gets_its_own_features(harness: Harness) -> None:
    """Jobs of different features share a batch, and neither gets more than it asked for."""
    ents = harness.add("Ada lived in London.", features=("ents",))
    everything = harness.add("Ada lived in London.", features=("ents", "sents", "tokens", "noun_chunks"))
    harness.run(ents, everything)
    assert set(harness.result(ents)[0]) == {"ents"}
    assert set(harness.result(everything)[0]) == {"text", "ents", "sents", "tokens", "noun_chunks"}


def test_stats_count_characters_words_sentences_and_entities(harness: Harness) -> None:
    text = "Tim Cook met Angela Merkel in Paris. It rained."
    job = harness.add(text, features=("ents", "sents", "tokens", "stats"))
    harness.run(job)
    (document,) = harness.result(job)
    assert document["stats"] == {
        "characters": len(text),
        "words": len(document["tokens"]),
        "sentences": len(document["sents"]),
        "ents": Counter(ent["label"] for ent in document["ents"]),
    }
    assert document["stats"]["sentences"] == 2
    assert document["stats"]["ents"]["PERSON"] == 2


def test_components_that_no_feature_needs_do_not_run(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    run_component = pipeline.run_component

    def spy(component: Component, docs: Sequence[Doc]) -> Iterable[Doc]:
        if docs:
            ran.append(next(name for name, one in harness.loaded.nlp.pipeline if one is component))
        return run_component(component, docs)

    monkeypatch.setattr(pipeline, "run_component", spy)
    harness.run(harness.add("Ada.", features=("ents",)))
    assert ran == ["ner"]
    ran.clear()
    harness.run(harness.add("Ada.", features=("sents",)))
    assert ran == ["tok2vec", "parser"]
    ran.clear()
    harness.run(harness.add("Ada.", features=("stats",)))
    assert ran == ["tok2vec", "parser", "ner"]


def test_document_on_which_the_model_fails_does_not_fail_its_neighbours(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_doc = harness.loaded.nlp.make_doc

    def explode(text: str) -> Doc:
        if "boom" in text:
            raise ValueError("boom")
        return make_doc(text)

    monkeypatch.setattr(harness.loaded.nlp, "make_doc", explode)
    mixed, lost, fine = harness.add("Ada.", "boom"), harness.add("boom"), harness.add("Ada lived in London.")
    assert harness.run(mixed, lost, fine) == []
    good, bad = harness.result(mixed)
    assert "ents" in good
    assert bad["error"]["code"] == "model_failed"
    assert harness.stored(lost).status == "failed"
    assert harness.stored(fine).status == "succeeded"


@pytest.mark.parametrize("character", ["$", "🚀"])
def test_long_run_without_a_space_takes_little_time(harness: Harness, character: str) -> None:
    """The tokenizer's time grows with the square of such a run: 10,000 times `$` took half a minute."""
    text = f"Ada Lovelace lived in London. {character * 10_000} Tim Cook lives in Paris."
    job = harness.add(text, features=("ents", "tokens"))
    started = time.process_time()
    assert harness.run(job) == []
    assert time.process_time() - started < 25
    (document,) = harness.result(job)
    assert document["text"] == text
    assert "Ada Lovelace" in [text[ent["start"] : ent["end"]] for ent in document["ents"]]
    tokens = [text[token["start"] : token["end"]] for token in document["tokens"]]
    assert "".join(tokens) == text.replace(" ", "")


# Failures and retries


def test_job_without_input_fails(harness: Harness) -> None:
    job = harness.add("Ada.")
    del harness.jobs.payloads[job.id]
    assert harness.run(job) == []
    failure = harness.stored(job).failure
    assert failure is not None
    assert failure.code == "input_missing"


def test_all_jobs_are_released_if_there_is_no_model(harness: Harness) -> None:
    """The jobs are queued again, and their messages come again after the backoff."""
    harness.load = raise_model_error
    jobs = [harness.add("Ada."), harness.add("Bob.")]
    assert sorted(harness.run(*jobs)) == sorted(job.id for job in jobs)
    assert {harness.stored(job).status for job in jobs} == {"queued"}
    assert all(1 <= seconds <= 5 for seconds in harness.hidden.values())
    assert len(harness.hidden) == 2


def test_job_fails_at_the_fifth_failed_attempt(harness: Harness) -> None:
    harness.load = raise_model_error
    job = harness.add("Ada.")
    retried = [harness.run(job) for _ in range(5)]
    assert retried == [[job.id]] * 4 + [[]]
    failure = harness.stored(job).failure
    assert failure is not None
    assert failure.code == "attempts_exhausted"
    assert "the disk is full" in failure.detail


def test_message_is_retried_if_the_result_cannot_be_stored(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    job = harness.add("Ada.")
    monkeypatch.setattr(harness.jobs, "succeed", raise_transient)
    assert harness.run(job) == [job.id]
    assert harness.stored(job).status == "queued"
    monkeypatch.undo()
    assert harness.run(job) == []
    assert harness.stored(job).attempt == 2


def test_message_is_retried_if_the_claim_cannot_be_written(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """No attempt is counted, and the message waits as after a first attempt."""
    job = harness.add("Ada.")
    monkeypatch.setattr(harness.jobs, "claim", raise_transient)
    assert harness.run(job) == [job.id]
    assert harness.stored(job).attempt == 0
    assert 1 <= harness.hidden[job.id] <= 5


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_backoff_grows_and_has_a_limit(jitter: float) -> None:
    waits = [backoff_seconds(attempt, jitter=jitter) for attempt in range(1, 9)]
    assert waits == sorted(waits)
    assert 1 <= waits[0] <= 5
    assert waits[-1] <= 300


# Queue latency, heartbeat and webhooks


def test_queue_latency_is_recorded_from_the_job_that_was_queued_last(harness: Harness) -> None:
    """It is not recorded for every batch, because many environments write the same item."""
    old, new = harness.add("Ada."), harness.add("Ada.")
    for job, waited in ((old, 9_000), (new, 5_000)):
        harness.change(job, queued_at=now_ms() - waited)
    harness.run(old, new)
    recorded = harness.latencies.recorded["jobs"]
    assert 5_000 <= recorded.wait_ms < 9_000
    harness.run(harness.add("Ada."))
    assert harness.latencies.recorded["jobs"] == recorded


def test_heartbeat_extends_the_lease_of_a_long_job(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    extended: list[int] = []
    extend = harness.jobs.extend

    def spy(job: Job, *, now: int) -> bool:
        extended.append(now)
        return extend(job, now=now)

    monkeypatch.setattr(harness.jobs, "extend", spy)

    def load_slowly() -> tuple[Pipeline, int]:
        time.sleep(0.5)
        return harness.loaded, 0

    harness.load = load_slowly
    job = harness.add("Ada.")
    assert harness.make_worker(beat_seconds=0.1).run([harness.item(job)]) == []
    assert len(extended) >= 3
    assert not [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


def test_canceled_job_does_not_run_on(harness: Harness) -> None:
    """A beat finds that the job was canceled while the model was loading."""
    job = harness.add("Ada.")

    def cancel_and_load() -> tuple[Pipeline, int]:
        harness.change(job, status="canceled")
        time.sleep(0.5)
        return harness.loaded, 0

    harness.load = cancel_and_load
    assert harness.make_worker(beat_seconds=0.1).run([harness.item(job)]) == []
    assert harness.jobs.results == {}


def test_worker_that_hangs_lets_its_leases_expire(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.worker.heartbeat.STALL_SECONDS", 0.2)
    beats: list[float] = []

    class Leases:
        def extend(self, job: Job, *, now: int) -> bool:
            beats.append(time.monotonic())
            return True

    with Heartbeat(Leases(), lambda: NOW, beat_seconds=0.05) as heartbeat:
        heartbeat.start(harness.add("Ada."))
        started = time.monotonic()
        time.sleep(0.6)
    assert beats
    assert beats[-1] - started < 0.3


@pytest.mark.parametrize(("has_input", "status"), [(True, "succeeded"), (False, "failed")])
def test_webhook_message_is_sent_when_the_end_is_stored(harness: Harness, has_input: bool, status: Status) -> None:
    job = harness.add("Ada lived in London.")
    harness.change(job, webhook=WebhookEndpoint(url="https://receiver.example/"))
    if not has_input:
        del harness.jobs.payloads[job.id]
    assert harness.run(job) == []
    assert harness.stored(job).awaits_delivery
    assert harness.webhooks.sent == [(WebhookMessage(job=job.id, run=1, status=status), "c_1")]


def test_no_webhook_message_is_sent_for_an_end_that_another_worker_stored(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = harness.add("Ada.")
    harness.change(job, webhook=WebhookEndpoint(url="https://receiver.example/"))

    def lose(job: Job, result: bytes, *, metrics: Metrics, now: int) -> bool:
        return False

    monkeypatch.setattr(harness.jobs, "succeed", lose)
    harness.run(job)
    assert harness.webhooks.sent == []
