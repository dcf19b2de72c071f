"""Processes of functions die or hang at every step of a job. The job is recovered: none is lost, none is done twice.

No test waits for a lease to expire or for the janitor's schedule. The tests let the leases expire and run the janitor.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.jobs.job import Job
from tests.e2e.cloud_admin import BIG_TEXT, TEXT, CloudAdmin
from tests.e2e.conftest import FOLDER
from tests.e2e.faults.control import Faults
from tests.e2e.polling import poll
from tests.e2e.steps import BIG, CLAIM, FINISH, HANGS, INPUT, RUNNING_A_SHARD, SMALL, Step, kill_worker


@dataclass(frozen=True)
class Death:
    """A job whose worker died: after the death, and at its end. The janitor sent its messages to `queues`."""

    left: Job
    ended: Job
    queues: list[str]


@pytest.fixture(scope="module")
def deaths(cloud_admin: CloudAdmin) -> Iterator[Mapping[str, Death]]:
    """Kill a worker at each step. Recover all jobs together, which saves the time of as many cold starts."""
    faults = Faults(FOLDER)
    faults.clear()
    left = {name: leave_job(faults, cloud_admin, name, step) for name, step in (SMALL | BIG).items()}
    cloud_admin.recover(*left.values())
    ended = {name: cloud_admin.wait_for_end(job) for name, job in left.items()}
    queues = {name: find_queues(faults, cloud_admin, f"sent {name}") for name in left}
    yield {name: Death(left[name], ended[name], queues[name]) for name in left}
    faults.clear()


def leave_job(faults: Faults, cloud_admin: CloudAdmin, name: str, step: Step) -> Job:
    """Create a job and kill its worker at a step. Return the job as the worker left it.

    From then on, the messages that the janitor sends about the job are recorded.
    """
    job = cloud_admin.create_job(BIG_TEXT if name in BIG else TEXT)
    kill_worker(faults, cloud_admin, step, job, name=f"death {name}")
    if name == RUNNING_A_SHARD:
        poll(lambda: cloud_admin.count_done_shards(cloud_admin.get_job(job.id)), lambda done: done == 2)
    faults.record_calls(f"sent {name}", job.id, operation="SendMessage", function="janitor")
    return cloud_admin.get_job(job.id)


def find_queues(faults: Faults, cloud_admin: CloudAdmin, name: str) -> list[str]:
    """Return the queues to which the recorded calls sent their messages."""
    return [cloud_admin.find_queue(line["text"]) for line in faults.log(name)]


@pytest.mark.parametrize("name", SMALL)
def test_job_whose_worker_dies_is_recovered(name: str, deaths: Mapping[str, Death], cloud_admin: CloudAdmin) -> None:
    """The janitor sends it once, to the queue `isolated`. The job points to the result of its second attempt."""
    death = deaths[name]
    assert (death.left.status, death.left.attempt, death.left.result_part) == ("running", 1, None)
    assert death.queues == ["isolated"]
    assert (death.ended.status, death.ended.attempt) == ("succeeded", SMALL[name].attempts)
    assert cloud_admin.read_documents(death.ended)[0]["ents"]


@pytest.mark.parametrize("name", BIG)
def test_big_job_whose_worker_dies_is_merged_once(
    name: str, deaths: Mapping[str, Death], cloud_admin: CloudAdmin
) -> None:
    death = deaths[name]
    assert death.left.status == "running"
    assert (death.ended.status, death.ended.attempt) == ("succeeded", BIG[name].attempts)
    (document,) = cloud_admin.read_documents(death.ended)
    assert document["sents"][-1]["end"] == len(BIG_TEXT)
    found = [BIG_TEXT[ent["start"] : ent["end"]] for ent in document["ents"]]
    assert found.count("Ada Lovelace") > 1400


def test_job_whose_worker_dies_while_the_model_runs_is_recovered(cloud_admin: CloudAdmin, faults: Faults) -> None:
    """The model needs about a second for the text. The worker is warm, so it does not die while it loads the model."""
    warm = cloud_admin.create_job()
    cloud_admin.send(warm)
    cloud_admin.wait_for_end(warm)
    job = cloud_admin.create_job(BIG_TEXT[:49_000])
    faults.inject("death", job.id, INPUT, act="kill", when="after", operation="GetItem", delay=0.3)
    cloud_admin.send(job)
    process = Path(f"/proc/{faults.wait_for('death')['pid']}")
    poll(process.exists, lambda exists: not exists)
    left = cloud_admin.get_job(job.id)
    assert (left.status, left.attempt) == ("running", 1)
    assert not cloud_admin.list_results(job)
    cloud_admin.recover(left)
    ended = cloud_admin.wait_for_end(job)
    assert (ended.status, ended.attempt) == ("succeeded", 2)


def test_message_of_a_worker_that_dies_before_the_claim_is_sent_again(cloud_admin: CloudAdmin, faults: Faults) -> None:
    """It costs no attempt, because no worker claimed the job."""
    job = cloud_admin.create_job()
    kill_worker(faults, cloud_admin, Step("before", "UpdateItem", CLAIM, attempts=1), job)
    assert cloud_admin.get_job(job.id).attempt == 0
    cloud_admin.wait_until_empty("jobs")
    cloud_admin.recover(cloud_admin.get_job(job.id))
    ended = cloud_admin.wait_for_end(job)
    assert (ended.status, ended.attempt) == ("succeeded", 1)


def test_job_whose_worker_dies_between_finishing_and_acknowledging_is_done(
    cloud_admin: CloudAdmin, faults: Faults
) -> None:
    """It has no further check. When its message is delivered again, nothing changes."""
    job = cloud_admin.create_job()
    kill_worker(faults, cloud_admin, Step("after", "UpdateItem", FINISH, attempts=1), job)
    ended = cloud_admin.get_job(job.id)
    assert (ended.status, ended.attempt, ended.next_check_at) == ("succeeded", 1, None)
    assert cloud_admin.tick()
    faults.record_calls("claim", job.id, operation="UpdateItem")
    cloud_admin.send(job)
    faults.wait_for("claim")
    cloud_admin.wait_until_empty("jobs")
    time.sleep(1)  # for the answer to the claim
    assert cloud_admin.get_job(job.id) == ended
    assert cloud_admin.list_results(job) == {"result#1.1"}


def test_janitor_that_dies_during_a_tick_loses_nothing(cloud_admin: CloudAdmin, faults: Faults) -> None:
    """It dies between its write about a job and the job's message. The next tick sends the message."""
    jobs = [cloud_admin.create_job() for _ in range(3)]
    ids = [job.id for job in jobs]
    faults.inject("janitor", jobs[1].id, act="kill", operation="SendMessage", function="janitor")
    for job in jobs:
        assert cloud_admin.expire_lease(cloud_admin.get_job(job.id))
    assert not cloud_admin.tick()
    faults.wait_for("janitor")
    unsent = cloud_admin.get_job(jobs[1].id)
    assert (unsent.status, unsent.attempt) == ("queued", 0)
    cloud_admin.wait_until_empty("jobs")
    # Other messages of that tick may be lost, too.
    cloud_admin.recover(*(job for job in map(cloud_admin.get_job, ids) if job.attempt == 0))
    for job in jobs:
        ended = cloud_admin.wait_for_end(job)
        assert (ended.status, ended.attempt) == ("succeeded", 1)


@pytest.mark.parametrize("name", HANGS)
def test_job_whose_worker_hangs_is_recovered_and_the_late_write_changes_nothing(
    name: str, cloud_admin: CloudAdmin, faults: Faults
) -> None:
    job, step = cloud_admin.create_job(), HANGS[name]
    faults.inject("hang", job.id, step.text, act="hang", when=step.when, operation=step.operation)
    faults.record_calls("finish", job.id, FINISH, operation="UpdateItem")
    faults.record_calls("sent", job.id, operation="SendMessage", function="janitor")
    cloud_admin.send(job)
    faults.wait_for("hang")
    cloud_admin.recover(cloud_admin.get_job(job.id))
    ended = cloud_admin.wait_for_end(job)
    assert (ended.status, ended.attempt) == ("succeeded", step.attempts)
    assert find_queues(faults, cloud_admin, "sent") == ["isolated"]
    faults.release("hang")
    late = faults.wait_for("hang", act="continue")
    if name == "finishing":
        assert late["status"] == 400, "the condition of the late write does not hold"
    else:
        poll(lambda: faults.log("finish"), lambda calls: len(calls) == 2)  # the second worker's, then the first one's
        time.sleep(0.5)  # for the answer to the late write
    assert cloud_admin.get_job(job.id) == ended
    assert cloud_admin.read_documents(ended)[0]["ents"]


def test_batch_with_a_job_that_kills_its_worker_costs_the_other_jobs_one_attempt(
    cloud_admin: CloudAdmin, faults: Faults
) -> None:
    """All five jobs are recovered in the queue `isolated`. The third kills a worker once more, but no other job's."""
    jobs = [cloud_admin.create_job() for _ in range(5)]
    ids, killer = [job.id for job in jobs], jobs[2]
    for attempt in (1, 2):
        faults.inject(f"death {attempt}", killer.id, f"result#1.{attempt}", act="kill", operation="PutItem")
    for job in jobs:
        faults.record_calls(f"claimed {job.id}", job.id, CLAIM, operation="UpdateItem")
    with cloud_admin.pause("jobs"):
        cloud_admin.send(*jobs)
    pid = faults.wait_for("death 1")["pid"]
    claimed = {line["pid"] for job in jobs for line in faults.log(f"claimed {job.id}")}
    assert claimed == {pid}, "the jobs were one batch"
    # Results are stored while the model runs on, so another job may have ended already.
    cloud_admin.recover(*(job for job in map(cloud_admin.get_job, ids) if not job.is_terminal))
    faults.wait_for("death 2")
    for other in (job for job in jobs if job is not killer):
        ended = cloud_admin.wait_for_end(other)
        assert (ended.status, ended.attempt <= 2) == ("succeeded", True)
    cloud_admin.recover(cloud_admin.get_job(killer.id))
    ended = cloud_admin.wait_for_end(killer)
    assert (ended.status, ended.attempt) == ("succeeded", 3)


def test_twenty_copies_of_a_message_run_the_job_once(cloud_admin: CloudAdmin, faults: Faults) -> None:
    job = cloud_admin.create_job()
    faults.record_calls("read", job.id, INPUT, operation="GetItem")
    before = cloud_admin.wait_until_empty("jobs")
    cloud_admin.send(*[job] * 20)
    ended = cloud_admin.wait_for_end(job)
    poll(lambda: cloud_admin.wait_until_empty("jobs"), lambda unacknowledged: unacknowledged <= before)
    assert cloud_admin.get_job(job.id) == ended
    assert (ended.status, ended.attempt) == ("succeeded", 1)
    assert cloud_admin.list_results(job) == {"result#1.1"}
    assert len(faults.log("read")) == 1
    assert cloud_admin.read_documents(ended)[0]["sents"][-1]["end"] == len(TEXT)
