"""The store's contract, held by the fake of the unit tests and by the real one on moto alike."""

from __future__ import annotations

import secrets
from types import SimpleNamespace

import pytest

from shared import aws
from shared.blobs import Blobs
from shared.errors import AttemptsExhausted, InputMissing
from shared.models import Job, Message, Metrics, Model, Webhook, new_job_id
from shared.store import DEADLINE_MS, LEASE_MS, LIFETIME_SECONDS, JobStore
from tests.fakes import MemoryJobs

NOW = 1_800_000_000_000


def new_job(**changes: object) -> Job:
    job = Job(
        id=new_job_id(NOW),
        client_id="c_1",
        model=Model(name="m", version="1"),
        characters=5,
        created_at=NOW,
        queued_at=NOW,
        deadline=NOW + DEADLINE_MS,
        expires_at=NOW // 1000 + LIFETIME_SECONDS,
    )
    return job.model_copy(update=changes)


def message(job: Job, run: int = 1) -> Message:
    return Message(job=job.id, run=run)


@pytest.fixture(params=["memory", "dynamodb"])
def jobs(request: pytest.FixtureRequest) -> MemoryJobs | JobStore:
    if request.param == "memory":
        return MemoryJobs()
    request.getfixturevalue("aws_services")
    return JobStore("jobs", Blobs("bucket"))


def claimed(jobs: MemoryJobs | JobStore, job: Job, owner: str = "a", now: int = NOW) -> Job:
    taken = jobs.claim(message(job), owner=owner, now=now)
    assert taken is not None
    return taken


class TestContract:
    def test_stored_job_and_input_come_back(self, jobs: JobStore) -> None:
        job = new_job()
        jobs.create(job, b"\x00 some input")
        kept = jobs.get(job.id, now=NOW)
        assert kept is not None
        assert (kept.status, kept.attempt, kept.due_at) == ("queued", 0, NOW + 60_000)
        assert jobs.payload(kept) == b"\x00 some input"

    def test_unknown_job_is_none(self, jobs: JobStore) -> None:
        assert jobs.get("nobody", now=NOW) is None
        assert jobs.claim(Message(job="nobody", run=1), owner="a", now=NOW) is None

    def test_job_past_its_time_is_gone_before_ttl_removes_it(self, jobs: JobStore) -> None:
        job = new_job(expires_at=NOW // 1000)
        jobs.create(job, b"")
        assert jobs.get(job.id, now=NOW) is None

    def test_claim_is_exclusive(self, jobs: JobStore) -> None:
        job = new_job()
        jobs.create(job, b"")
        taken = claimed(jobs, job)
        assert (taken.status, taken.attempt, taken.started_at) == ("running", 1, NOW)
        assert jobs.claim(message(job), owner="b", now=NOW + LEASE_MS) is None

    def test_claim_again_by_its_owner_is_the_same_claim(self, jobs: JobStore) -> None:
        """A claim that was executed and then timed out is repeated by the SDK: it must not lock out its owner."""
        job = new_job()
        jobs.create(job, b"")
        assert claimed(jobs, job) == claimed(jobs, job)

    def test_claim_after_the_lease_is_the_next_attempt(self, jobs: JobStore) -> None:
        job = new_job()
        jobs.create(job, b"")
        claimed(jobs, job)
        second = claimed(jobs, job, owner="b", now=NOW + LEASE_MS + 1)
        assert (second.attempt, second.started_at) == (2, NOW)

    def test_claim_of_another_run_is_refused(self, jobs: JobStore) -> None:
        job = new_job()
        jobs.create(job, b"")
        assert jobs.claim(message(job, run=2), owner="a", now=NOW) is None

    def test_fifth_attempt_is_the_last(self, jobs: JobStore) -> None:
        job = new_job()
        jobs.create(job, b"")
        for attempt in range(5):
            assert jobs.release(claimed(jobs, job, owner=str(attempt)))
        assert jobs.claim(message(job), owner="x", now=NOW) is None

    @pytest.mark.parametrize("event", ["job.succeeded", "job.failed"])
    def test_end_that_is_to_be_announced_stays_due(self, jobs: JobStore, event: str) -> None:
        webhook = Webhook(url="https://receiver.example/", events=frozenset({event}))
        succeeding, failing = new_job(webhook=webhook), new_job(webhook=webhook)
        for job in (succeeding, failing):
            jobs.create(job, b"")
        assert jobs.succeed(claimed(jobs, succeeding), b"{}", metrics=Metrics(), now=NOW + 5)
        assert jobs.fail(claimed(jobs, failing), InputMissing("gone"), metrics=Metrics(), now=NOW + 5)
        ended = {f"job.{job.status}": job for job in (jobs.get(succeeding.id, now=NOW), jobs.get(failing.id, now=NOW))}
        announced = ended.pop(event)
        (other,) = ended.values()
        assert (announced.due_at, announced.is_unannounced) == (NOW + 5 + 60_000, True)
        assert (other.due_at, other.due_slot, other.is_unannounced) == (None, None, False)

    def test_success_points_at_the_result(self, jobs: JobStore) -> None:
        job = new_job()
        jobs.create(job, b"")
        assert jobs.succeed(claimed(jobs, job), b'{"documents": []}', metrics=Metrics(words=3), now=NOW + 5)
        kept = jobs.get(job.id, now=NOW)
        assert kept is not None
        assert (kept.status, kept.completed_at, kept.metrics.words, kept.due_at) == ("succeeded", NOW + 5, 3, None)
        assert kept.progress.done == kept.progress.total
        assert jobs.result(kept) == b'{"documents": []}'

    def test_zombie_changes_nothing(self, jobs: JobStore) -> None:
        """Who lost the lease can neither finish, fail nor release what another holds now."""
        job = new_job()
        jobs.create(job, b"")
        zombie = claimed(jobs, job)
        owner = claimed(jobs, job, owner="b", now=NOW + LEASE_MS + 1)
        assert not jobs.succeed(zombie, b"old", metrics=Metrics(), now=NOW)
        assert not jobs.fail(zombie, AttemptsExhausted("x"), metrics=Metrics(), now=NOW)
        assert not jobs.release(zombie)
        assert jobs.succeed(owner, b"new", metrics=Metrics(), now=NOW)
        kept = jobs.get(job.id, now=NOW)
        assert kept is not None
        assert jobs.result(kept) == b"new"

    def test_shards_are_merged_after_a_split_on_the_last_attempt(self, jobs: JobStore) -> None:
        """Merging is not refused because running took all its attempts."""
        job = new_job()
        jobs.create(job, b"")
        for attempt in range(4):
            jobs.release(claimed(jobs, job, owner=str(attempt)))
        assert jobs.split(claimed(jobs, job, owner="last"), 1, now=NOW)
        kept = jobs.get(job.id, now=NOW)
        assert kept is not None
        split = jobs.shard_done(kept, 0, b"{}")
        assert split is not None
        assert split.is_complete
        merger = jobs.claim_merge(message(job), owner="m", now=NOW)
        assert merger is not None
        assert jobs.succeed(merger, b"{}", metrics=Metrics(), now=NOW)

    def test_split_job_is_not_claimed_again(self, jobs: JobStore) -> None:
        job = new_job()
        jobs.create(job, b"")
        jobs.split(claimed(jobs, job), 2, now=NOW)
        assert jobs.claim(message(job), owner="b", now=NOW + 10 * LEASE_MS) is None

    def test_terminal_is_final(self, jobs: JobStore) -> None:
        job = new_job()
        jobs.create(job, b"")
        taken = claimed(jobs, job)
        assert jobs.fail(taken, AttemptsExhausted("gone"), metrics=Metrics(), now=NOW)
        assert not jobs.succeed(taken, b"late", metrics=Metrics(), now=NOW + 1)
        kept = jobs.get(job.id, now=NOW)
        assert kept is not None
        assert kept.status == "failed"
        assert kept.failure is not None
        assert (kept.failure.code, kept.failure.detail) == ("attempts_exhausted", "gone")
        assert jobs.claim(message(job), owner="b", now=NOW + LEASE_MS + 1) is None


class TestDynamoDB:
    @pytest.fixture
    def store(self, aws_services: SimpleNamespace) -> JobStore:
        return JobStore("jobs", Blobs("bucket"))

    def test_big_input_and_result_are_objects(self, store: JobStore) -> None:
        """What does not compress to 32 KB is in S3, and comes back the same."""
        body = secrets.token_bytes(40_000)
        job = new_job()
        store.create(job, body)
        taken = claimed(store, job)
        assert taken.input_key == f"inputs/{job.id}"
        assert store.payload(taken) == body
        assert store.succeed(taken, body, metrics=Metrics(), now=NOW)
        kept = store.get(job.id, now=NOW)
        assert kept is not None
        assert kept.result_key == f"results/{job.id}/1.1"
        assert Blobs("bucket").get(kept.result_key) == body

    def test_input_that_is_gone_is_a_permanent_error(self, store: JobStore, aws_services: SimpleNamespace) -> None:
        job = new_job()
        store.create(job, b"x")
        aws_services.dynamodb.delete_item(TableName="jobs", Key=aws.to_item({"id": job.id, "part": "input"}))
        with pytest.raises(InputMissing):
            store.payload(job)

    def test_shard_of_a_deleted_job_leaves_nothing(self, store: JobStore, aws_services: SimpleNamespace) -> None:
        job = new_job()
        store.create(job, b"")
        store.split(claimed(store, job), 2, now=NOW)
        kept = store.get(job.id, now=NOW)
        assert kept is not None
        store.delete(kept, now=NOW)
        assert store.shard_done(kept, 0, b"{}") is None
        items = aws_services.dynamodb.scan(TableName="jobs")["Items"]
        assert [item["part"]["S"] for item in items] == ["job"]

    def test_long_detail_of_a_failure_is_cut(self, store: JobStore) -> None:
        """The job's item stays small, and can be written at all."""
        job = new_job()
        store.create(job, b"")
        assert store.fail(claimed(store, job), AttemptsExhausted("x" * 500_000), metrics=Metrics(), now=NOW)
        kept = store.get(job.id, now=NOW)
        assert kept is not None
        assert kept.failure is not None
        assert len(kept.failure.detail) == 1_000

    def test_finish_again_is_the_same_finish(self, store: JobStore) -> None:
        """A finish that was executed and then timed out is repeated by the SDK: it is no loss."""
        job = new_job()
        store.create(job, b"")
        taken = claimed(store, job)
        for _ in range(2):
            assert store.succeed(taken, b"{}", metrics=Metrics(), now=NOW + 7)

    def test_retry_again_is_the_same_retry(self, store: JobStore) -> None:
        """As when its answer was lost; a later one is another's, and refused."""
        store.create(new := new_job(), b"")
        job = claimed(store, new)
        store.fail(job, InputMissing("gone"), metrics=Metrics(), now=NOW)
        first, again = store.retry(job, now=NOW + 1), store.retry(job, now=NOW + 1)
        assert first is not None
        assert again == first
        assert store.retry(job, now=NOW + 2) is None

    def test_delete_of_a_job_that_another_has_begun_again_ends_that_run_too(self, store: JobStore) -> None:
        store.create(new := new_job(), b"")
        read = claimed(store, new)
        store.fail(read, InputMissing("gone"), metrics=Metrics(), now=NOW)
        failed = store.get(read.id, now=NOW)
        assert failed is not None
        store.retry(failed, now=NOW + 1)
        store.delete(failed, now=NOW + 2)
        left = store.get(read.id, now=NOW + 2)
        assert left is not None
        assert (left.status, left.run, left.deleted_at) == ("canceled", 2, NOW + 2)

    def test_open_jobs_are_due_and_finished_ones_are_not(self, store: JobStore, aws_services: SimpleNamespace) -> None:
        job = new_job()
        store.create(job, b"")

        def due() -> int:
            return int(aws_services.dynamodb.scan(TableName="jobs", IndexName="due")["Count"])

        taken = claimed(store, job)
        assert due() == 1
        store.succeed(taken, b"{}", metrics=Metrics(), now=NOW)
        assert due() == 0
