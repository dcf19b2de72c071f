"""Processes of functions die or hang at every step, and the work is taken up: no job is lost, none is done twice.

Nobody waits here for a lease to end or for the janitor's schedule: the tests say when that is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from shared.models import Job

from tests.e2e.backstage import BIG_TEXT, TEXT, Backstage
from tests.e2e.conftest import FOLDER
from tests.e2e.faults.control import Faults

CLAIM, INPUT, FINISH = "if_not_exists(#started_at", '"S": "input"', ":completed_at"


@dataclass(frozen=True)
class Step:
    """A call at which a worker dies, before it is sent or after, and how many attempts the job has had in the end."""

    when: Literal["before", "after"]
    operation: str
    has: str
    attempts: int


SMALL: dict[str, Step] = {
    "after the claim": Step("after", "UpdateItem", CLAIM, attempts=2),
    "after reading the input": Step("after", "GetItem", INPUT, attempts=2),
    "after the model's run": Step("before", "PutItem", "result#1.1", attempts=2),
    "between storing the result and finishing": Step("after", "PutItem", "result#1.1", attempts=2),
}
# A big job's attempts: to split it, to queue its shards again when none was done, to merge.
BIG: dict[str, Step] = {
    "splitter, between marking and queueing": Step("before", "SendMessageBatch", "", attempts=3),
    "shard, before its outcome is stored": Step("before", "PutObject", "shards/1/1", attempts=2),
    "merger, in the middle": Step("after", "GetObject", "shards/1/1", attempts=3),
    "merger, between storing the result and finishing": Step("after", "PutObject", "/1.2", attempts=3),
}
HANGS: dict[str, Step] = {
    "reading the input": Step("after", "GetItem", INPUT, attempts=2),
    "finishing": Step("before", "UpdateItem", FINISH, attempts=2),
}


def dies(faults: Faults, backstage: Backstage, step: Step, job: Job, *, name: str = "death") -> None:
    """Let a worker die at that step of that job."""
    faults.mark(name, job.id, step.has, act="kill", when=step.when, operation=step.operation)
    backstage.send(job)
    faults.happened(name)


@dataclass(frozen=True)
class Death:
    """A job on whose way somebody died: as it was left, as it ended, and where the janitor sent it meanwhile."""

    left: Job
    ended: Job
    queues: list[str]


@pytest.fixture(scope="module")
def deaths(backstage: Backstage) -> Iterator[Mapping[str, Death]]:
    """One death at each step. They are taken up together, which saves the time of as many cold starts."""
    faults, left = Faults(FOLDER), {}
    faults.clear()
    for name, step in (SMALL | BIG).items():
        job = backstage.job(BIG_TEXT if name in BIG else TEXT)
        dies(faults, backstage, step, job, name=f"death {name}")
        if name.startswith("shard"):
            wait_until(lambda job=job: backstage.progress(backstage.kept(job.id)) == 2)
        left[name] = backstage.kept(job.id)
        faults.mark(f"sent {name}", job.id, act="note", operation="SendMessage", function="janitor")
    backstage.take_up(*left.values())
    ended = {name: backstage.ended(job) for name, job in left.items()}
    queues = {name: [lane_of(line, backstage) for line in faults.log(f"sent {name}")] for name in left}
    yield {name: Death(left[name], ended[name], queues[name]) for name in left}
    faults.clear()


def lane_of(line: dict[str, Any], backstage: Backstage) -> str:
    """The queue that a message, noted when it was sent, was sent to."""
    (queue,) = (queue for queue, url in backstage.queue_urls.items() if f'"{url}"' in line["text"])
    return queue


def wait_until(is_so: Callable[[], bool], *, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, "It does not come to that"
        time.sleep(0.2)


@pytest.mark.parametrize("name", SMALL)
def test_job_of_a_worker_that_dies_is_taken_up(name: str, deaths: Mapping[str, Death], backstage: Backstage) -> None:
    """Once, alone on the queue `solo`, and pointing at the second attempt's result."""
    death = deaths[name]
    assert (death.left.status, death.left.attempt, death.left.result_part) == ("running", 1, None)
    assert death.queues == ["isolated"]
    assert (death.ended.status, death.ended.attempt) == ("succeeded", SMALL[name].attempts)
    assert backstage.documents(death.ended)[0]["ents"]


@pytest.mark.parametrize("name", BIG)
def test_big_job_on_whose_way_somebody_dies_is_merged_once(
    name: str, deaths: Mapping[str, Death], backstage: Backstage
) -> None:
    death = deaths[name]
    assert death.left.status == "running"
    assert (death.ended.status, death.ended.attempt) == ("succeeded", BIG[name].attempts)
    (document,) = backstage.documents(death.ended)
    assert document["sents"][-1]["end"] == len(BIG_TEXT)
    found = [BIG_TEXT[ent["start"] : ent["end"]] for ent in document["ents"]]
    assert found.count("Ada Lovelace") > 1400


def test_job_of_a_worker_that_dies_while_the_model_runs_is_taken_up(backstage: Backstage, faults: Faults) -> None:
    """The text takes about a second; the worker is warm, so that it is not the model's loading that is met."""
    warm = backstage.job()
    backstage.send(warm)
    backstage.ended(warm)
    job = backstage.job(BIG_TEXT[:49_000])
    faults.mark("death", job.id, INPUT, act="kill", when="after", operation="GetItem", delay=0.3)
    backstage.send(job)
    pid = faults.happened("death")["pid"]
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    left = backstage.kept(job.id)
    assert (left.status, left.attempt) == ("running", 1)
    assert not {part for part in backstage.parts(job) if part.startswith("result#")}
    backstage.take_up(backstage.kept(job.id))
    ended = backstage.ended(job)
    assert (ended.status, ended.attempt) == ("succeeded", 2)


def test_message_of_a_worker_that_dies_before_the_claim_is_sent_again(backstage: Backstage, faults: Faults) -> None:
    """It costs no attempt: nobody had any."""
    job = backstage.job()
    dies(faults, backstage, Step("before", "UpdateItem", CLAIM, attempts=1), job)
    assert backstage.kept(job.id).attempt == 0
    backstage.emptied("jobs")
    backstage.take_up(backstage.kept(job.id))
    ended = backstage.ended(job)
    assert (ended.status, ended.attempt) == ("succeeded", 1)


def test_job_of_a_worker_that_dies_between_finishing_and_acknowledging_is_done(
    backstage: Backstage, faults: Faults
) -> None:
    """Nobody looks at it again, and its message, when it comes again, changes nothing."""
    job = backstage.job()
    dies(faults, backstage, Step("after", "UpdateItem", FINISH, attempts=1), job)
    ended = backstage.kept(job.id)
    assert (ended.status, ended.attempt, ended.next_check_at) == ("succeeded", 1, None)
    assert backstage.tick()
    faults.mark("claim", job.id, act="note", operation="UpdateItem", when="before")
    backstage.send(job)
    faults.happened("claim")
    backstage.emptied("jobs")
    time.sleep(1)
    assert backstage.kept(job.id) == ended
    assert {part for part in backstage.parts(job) if part.startswith("result#")} == {"result#1.1"}


def test_janitor_that_dies_in_the_middle_of_a_tick_loses_nothing(backstage: Backstage, faults: Faults) -> None:
    """It dies between its write about one job and that job's message; the next tick does what it left."""
    jobs = [backstage.job() for _ in range(3)]
    ids = [job.id for job in jobs]
    faults.mark("janitor", jobs[1].id, act="kill", operation="SendMessage", function="janitor")
    for job in jobs:
        assert backstage.overdue(backstage.kept(job.id))
    assert not backstage.tick()
    faults.happened("janitor")
    unsent = backstage.kept(jobs[1].id)
    assert (unsent.status, unsent.attempt) == ("queued", 0)
    backstage.emptied("jobs")
    # Others of that tick may have met the same.
    backstage.take_up(*(job for job in map(backstage.kept, ids) if job.attempt == 0))
    for job in jobs:
        ended = backstage.ended(job)
        assert (ended.status, ended.attempt) == ("succeeded", 1)


@pytest.mark.parametrize("name", HANGS)
def test_job_of_a_worker_that_hangs_is_taken_up_and_its_late_write_changes_nothing(
    name: str, backstage: Backstage, faults: Faults
) -> None:
    job, step = backstage.job(), HANGS[name]
    faults.mark("hang", job.id, step.has, act="hang", when=step.when, operation=step.operation)
    faults.mark("late", job.id, FINISH, act="note", operation="UpdateItem")
    faults.mark("sent", job.id, act="note", operation="SendMessage", function="janitor")
    backstage.send(job)
    faults.happened("hang")
    backstage.take_up(backstage.kept(job.id))
    ended = backstage.ended(job)
    assert (ended.status, ended.attempt) == ("succeeded", step.attempts)
    assert [lane_of(line, backstage) for line in faults.log("sent")] == ["isolated"]
    faults.release("hang")
    late = faults.happened("hang", act="went on")
    if name == "finishing":
        assert late["status"] == 400, "its condition does not hold"
    else:
        wait_until(lambda: len(faults.log("late")) == 2)  # the second one's, then the first one's
        time.sleep(0.5)
    assert backstage.kept(job.id) == ended
    assert backstage.documents(ended)[0]["ents"]


def test_batch_whose_third_member_kills_costs_its_neighbours_one_attempt(backstage: Backstage, faults: Faults) -> None:
    """All five are taken up alone: the killer, which kills once more, then kills nobody else."""
    jobs = [backstage.job() for _ in range(5)]
    ids, killer = [job.id for job in jobs], jobs[2]
    for attempt in (1, 2):
        has = (killer.id, f"result#1.{attempt}")
        faults.mark(f"death {attempt}", *has, act="kill", operation="PutItem")
    for job in jobs:
        faults.mark(f"claimed {job.id}", job.id, CLAIM, act="note", operation="UpdateItem")
    with backstage.paused("jobs"):
        backstage.send(*jobs)
    faults.happened("death 1")
    claimed = {line["pid"] for job in jobs for line in faults.log(f"claimed {job.id}")}
    assert claimed == {faults.happened("death 1")["pid"]}, "they were one batch"
    # Results are stored while the model runs on: a neighbour may have been done already.
    backstage.take_up(*(job for job in map(backstage.kept, ids) if not job.is_terminal))
    faults.happened("death 2")
    for neighbour in (job for job in jobs if job is not killer):
        ended = backstage.ended(neighbour)
        assert (ended.status, ended.attempt <= 2) == ("succeeded", True)
    backstage.take_up(backstage.kept(killer.id))
    ended = backstage.ended(killer)
    assert (ended.status, ended.attempt) == ("succeeded", 3)


def test_twenty_copies_of_a_message_run_the_work_once(backstage: Backstage, faults: Faults) -> None:
    job = backstage.job()
    faults.mark("read", job.id, INPUT, act="note", operation="GetItem")
    before = backstage.emptied("jobs")
    backstage.send(*[job] * 20)
    ended = backstage.ended(job)
    wait_until(lambda: backstage.emptied("jobs") <= before)
    assert backstage.kept(job.id) == ended
    assert (ended.status, ended.attempt) == ("succeeded", 1)
    assert {part for part in backstage.parts(job) if part.startswith("result#")} == {"result#1.1"}
    assert len(faults.log("read")) == 1
    assert backstage.documents(ended)[0]["sents"][-1]["end"] == len(TEXT)
