"""Big jobs over in-memory stores with the real model: they are split into shards, and the shards are merged."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from functions.worker import big_jobs
from functions.worker.pipeline import Analysis, Pipeline, Task
from functions.worker.shards import cut_text, pack_shards
from shared.jobs import job as job_module
from shared.jobs.job import Job
from shared.jobs.message import JobMessage
from shared.jobs.store import ATTEMPTS_LIMIT, MERGE_ATTEMPTS_LIMIT
from tests.unit.worker_harness import Harness, raise_transient

SMALL_SHARD = 250
LONG = "\n\n".join(f"Paragraph {number}. Ada Lovelace lived in London." for number in range(3000))


@pytest.fixture
def harness(model_path: Path) -> Harness:
    return Harness(model_path)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> str:
    """Make shards of 250 characters, and return a text of several shards whose parts end between paragraphs."""
    monkeypatch.setattr(job_module, "SHARD_CHARACTERS", SMALL_SHARD)
    monkeypatch.setattr(big_jobs, "pack_shards", functools.partial(pack_shards, limit=SMALL_SHARD))
    return "\n\n".join(["Ada Lovelace lived in London. She wrote programs."] * 20)


def test_big_job_is_split_and_merged(harness: Harness) -> None:
    job = harness.add("Short, about Tim Cook.", LONG, features=("ents", "tokens"))
    assert harness.run(job) == []
    assert harness.stored(job).status == "running"
    assert harness.stored(job).lease_expires_at is None
    assert harness.run_shards() == harness.stored(job).shards
    stored = harness.stored(job)
    assert (stored.shards or 0) > 2
    assert (stored.status, stored.progress.done) == ("succeeded", stored.shards)
    short, document = harness.result(job)
    assert short["text"] == "Short, about Tim Cook."
    found = [LONG[ent["start"] : ent["end"]] for ent in document["ents"]]
    assert found.count("Ada Lovelace") > 2000
    assert document["text"] == LONG
    assert [token["id"] for token in document["tokens"]] == list(range(len(document["tokens"])))
    last = document["tokens"][-1]
    assert LONG[last["start"] : last["end"]] == "."
    assert last["head"] > last["id"] - 10


def test_result_of_a_split_job_equals_the_analysis_of_its_parts(harness: Harness, small_shards: str) -> None:
    job = harness.add(small_shards, features=("ents", "sents", "tokens", "noun_chunks"))
    harness.run(job)
    assert harness.run_shards() > 3
    (document,) = harness.result(job)
    parts = [(offset, harness.loaded.nlp(part)) for offset, part in cut_text(small_shards, limit=SMALL_SHARD)]
    assert len(parts) > 3
    assert document["ents"] == [
        {"start": ent.start_char + offset, "end": ent.end_char + offset, "label": ent.label_}
        for offset, doc in parts
        for ent in doc.ents
    ]


def test_stats_of_a_split_job_are_the_sums_over_its_parts(harness: Harness, small_shards: str) -> None:
    job = harness.add("Tim Cook.", small_shards, features=("ents", "sents", "tokens", "stats"))
    harness.run(job)
    assert harness.run_shards() > 3
    for document in harness.result(job):
        assert document["stats"] == {
            "characters": len(document["text"]),
            "words": len(document["tokens"]),
            "sentences": len(document["sents"]),
            "ents": Counter(ent["label"] for ent in document["ents"]),
        }
    assert harness.result(job)[1]["stats"]["ents"]["PERSON"] > 10


def test_shard_that_runs_twice_is_merged_once(harness: Harness, small_shards: str) -> None:
    job = harness.add(small_shards)
    harness.run(job)
    harness.isolated.sent += harness.isolated.sent
    harness.run_shards()
    assert harness.stored(job).status == "succeeded"
    assert len(harness.jobs.results) == 1


def test_message_about_a_job_whose_shards_are_done_merges_them(
    harness: Harness, small_shards: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker died after it claimed the merge. The janitor sends the job's own message."""
    job = harness.add(small_shards)
    harness.run(job)
    claim_merge = harness.jobs.claim_merge

    def claim_and_die(message: JobMessage, *, claim_token: str, now: int) -> Job | None:
        claim_merge(message, claim_token=claim_token, now=now)
        return None

    with monkeypatch.context() as patch:
        patch.setattr(harness.jobs, "claim_merge", claim_and_die)
        harness.run_shards()
    assert harness.stored(job).status == "running"
    harness.change(job, lease_expires_at=1)
    assert harness.run(job) == []
    assert harness.stored(job).status == "succeeded"


def test_message_is_retried_if_the_merged_result_cannot_be_stored(
    harness: Harness, small_shards: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The merge claim is released, so that the retry can merge the shards at once."""
    job = harness.add(small_shards)
    harness.run(job)
    *first, (last, _) = harness.isolated.sent
    assert isinstance(last, JobMessage)
    harness.isolated.sent = first
    harness.run_shards()
    item = harness.item(job, "last", shard=last.shard)
    with monkeypatch.context() as patch:
        patch.setattr(harness.jobs, "succeed", raise_transient)
        assert harness.worker.run([item]) == ["last"]
    assert 1 <= harness.hidden["last"] <= 300
    stored = harness.stored(job)
    assert (stored.status, stored.claim_token, stored.lease_expires_at) == ("running", None, None)
    assert harness.worker.run([item]) == []
    assert harness.stored(job).status == "succeeded"


def test_job_fails_when_its_merge_attempts_are_exhausted(
    harness: Harness, small_shards: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that used up the attempts to run it can still be merged."""
    job = harness.add(small_shards)
    harness.run(job)
    with monkeypatch.context() as patch:
        patch.setattr(harness.jobs, "claim_merge", lambda *_, **__: None)
        harness.run_shards()
    monkeypatch.setattr(harness.jobs, "succeed", raise_transient)
    harness.change(job, attempt=ATTEMPTS_LIMIT)
    retried = [harness.run(job) for _ in range(ATTEMPTS_LIMIT, MERGE_ATTEMPTS_LIMIT)]
    assert retried == [[job.id]] * 4 + [[]]
    failure = harness.stored(job).failure
    assert failure is not None
    assert failure.code == "attempts_exhausted"


def test_result_that_does_not_fit_into_temporary_storage_fails_the_job(
    harness: Harness, small_shards: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = harness.add(small_shards)
    harness.run(job)

    def fill_disk(*_: object, **__: object) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(harness.jobs, "succeed", fill_disk)
    harness.run_shards()
    failure = harness.stored(job).failure
    assert failure is not None
    assert failure.code == "result_too_big"


@pytest.mark.parametrize("is_big", [False, True])
@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"ents": [1.5, 2.5]}, 'The member "ents" holds a list with float. Its merge rule "spans" needs'),
        ({"ents": {"PERSON": 1}}, 'The member "ents" holds dict. Its merge rule "spans" needs'),
        ({"text": None}, 'The member "text" holds NoneType. Its merge rule "text" needs'),
        ({"mood": "fine"}, 'The member "mood" belongs to no feature.'),
    ],
)
def test_job_fails_if_a_feature_extracts_a_value_that_cannot_be_merged(
    harness: Harness, small_shards: str, document: dict[str, Any], message: str, is_big: bool
) -> None:
    class FaultyModel:
        def run(self, tasks: Sequence[Task]) -> list[Analysis]:
            return [Analysis(document, words=1) for _ in tasks]

    harness.load = lambda: (cast("Pipeline", FaultyModel()), 0)
    job = harness.add(small_shards if is_big else "Ada.")
    assert harness.run(job) == []
    assert (harness.run_shards() > 3) == is_big
    failure = harness.stored(job).failure
    assert failure is not None
    assert failure.code == "model_failed"
    assert failure.detail.startswith(message)


def test_shard_of_a_canceled_job_does_not_run(harness: Harness, small_shards: str) -> None:
    job = harness.add(small_shards)
    harness.run(job)
    harness.change(job, status="canceled")
    harness.run_shards()
    assert harness.jobs.outcomes == {}
