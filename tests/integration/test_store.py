"""The contract of the stores of jobs and shards. The in-memory fake and the real stores over moto must hold it."""

from __future__ import annotations

import secrets
from typing import NamedTuple

import pytest

from shared.aws.blobs import Blobs
from shared.aws.items import serialize
from shared.aws.table import Table
from shared.errors import AttemptsExhausted, InputMissing
from shared.jobs.job import Job, Metrics, WebhookEndpoint, job_key
from shared.jobs.message import JobMessage
from shared.jobs.shards import ShardStore
from shared.jobs.store import LEASE_MS, JobStore
from tests.conftest import AwsServices
from tests.fakes import MemoryJobs
from tests.integration.jobs import NOW, claim, message_for, new_job


class Stores(NamedTuple):
    jobs: MemoryJobs | JobStore
    shards: MemoryJobs | ShardStore


@pytest.fixture(params=["memory", "dynamodb"])
def stores(request: pytest.FixtureRequest) -> Stores:
    if request.param == "memory":
        memory = MemoryJobs()
        return Stores(memory, memory)
    request.getfixturevalue("aws_services")
    return real_stores()


def real_stores() -> Stores:
    table, blobs = Table("jobs"), Blobs("bucket")
    return Stores(JobStore(table, blobs), ShardStore(table, blobs))


@pytest.fixture
def jobs(stores: Stores) -> MemoryJobs | JobStore:
    return stores.jobs


def get(jobs: MemoryJobs | JobStore, job: Job, now: int = NOW) -> Job:
    stored = jobs.get(job.id, now=now)
    assert stored is not None
    return stored


class TestContract:
    def test_stored_job_and_its_input_are_read_back(self, jobs: MemoryJobs | JobStore) -> None:
        job = new_job()
        jobs.create(job, b"\x00 some input")
        stored = get(jobs, job)
        assert (stored.status, stored.attempt, stored.next_check_at) == ("queued", 0, NOW + 60_000)
        assert jobs.read_input(stored) == b"\x00 some input"

    def test_unknown_job_is_none(self, jobs: MemoryJobs | JobStore) -> None:
        assert jobs.get("nobody", now=NOW) is None
        assert jobs.claim(JobMessage(job="nobody", run=1), claim_token="a", now=NOW) is None

    def test_expired_job_is_gone_before_ttl_deletes_it(self, jobs: MemoryJobs | JobStore) -> None:
        job = new_job(expires_at=NOW // 1000)
        jobs.create(job, b"")
        assert jobs.get(job.id, now=NOW) is None

    def test_claim_is_exclusive(self, jobs: MemoryJobs | JobStore) -> None:
        job = new_job()
        jobs.create(job, b"")
        claimed = claim(jobs, job)
        assert (claimed.status, claimed.attempt, claimed.started_at) == ("running", 1, NOW)
        assert jobs.claim(message_for(job), claim_token="b", now=NOW + LEASE_MS) is None

    def test_repeated_claim_with_the_same_token_is_the_same_claim(self, jobs: MemoryJobs | JobStore) -> None:
        """The SDK repeats a claim whose answer was lost. The repetition must not lock out the worker."""
        job = new_job()
        jobs.create(job, b"")
        assert claim(jobs, job) == claim(jobs, job)

    def test_claim_after_the_lease_expired_is_the_next_attempt(self, jobs: MemoryJobs | JobStore) -> None:
        job = new_job()
        jobs.create(job, b"")
        claim(jobs, job)
        second = claim(jobs, job, claim_token="b", now=NOW + LEASE_MS + 1)
        assert (second.attempt, second.started_at) == (2, NOW)

    def test_claim_of_another_run_is_refused(self, jobs: MemoryJobs | JobStore) -> None:
        job = new_job()
        jobs.create(job, b"")
        assert jobs.claim(JobMessage(job=job.id, run=2), claim_token="a", now=NOW) is None

    def test_fifth_attempt_is_the_last(self, jobs: MemoryJobs | JobStore) -> None:
        job = new_job()
        jobs.create(job, b"")
        for attempt in range(5):
            assert jobs.release(claim(jobs, job, claim_token=str(attempt)))
        assert jobs.claim(message_for(job), claim_token="x", now=NOW) is None

    @pytest.mark.parametrize("event", ["job.succeeded", "job.failed"])
    def test_ended_job_with_a_webhook_event_stays_scheduled(self, jobs: MemoryJobs | JobStore, event: str) -> None:
        webhook = WebhookEndpoint(url="https://receiver.example/", events=frozenset({event}))
        succeeding, failing = new_job(webhook=webhook), new_job(webhook=webhook)
        for job in (succeeding, failing):
            jobs.create(job, b"")
        assert jobs.succeed(claim(jobs, succeeding), b"{}", metrics=Metrics(), now=NOW + 5)
        assert jobs.fail(claim(jobs, failing), InputMissing("gone"), metrics=Metrics(), now=NOW + 5)
        ended = {f"job.{job.status}": job for job in (get(jobs, succeeding), get(jobs, failing))}
        notified = ended.pop(event)
        (other,) = ended.values()
        assert (notified.next_check_at, notified.awaits_delivery) == (NOW + 5 + 60_000, True)
        assert (other.next_check_at, other.check_partition, other.awaits_delivery) == (None, None, False)

    def test_succeeded_job_points_to_its_result(self, jobs: MemoryJobs | JobStore) -> None:
        job = new_job()
        jobs.create(job, b"")
        assert jobs.succeed(claim(jobs, job), b'{"documents": []}', metrics=Metrics(words=3), now=NOW + 5)
        stored = get(jobs, job)
        assert (stored.status, stored.completed_at, stored.metrics.words, stored.next_check_at) == (
            "succeeded",
            NOW + 5,
            3,
            None,
        )
        assert stored.progress.done == stored.progress.total
        assert jobs.read_result(stored) == b'{"documents": []}'

    def test_worker_that_lost_its_claim_changes_nothing(self, jobs: MemoryJobs | JobStore) -> None:
        """It can neither finish, fail nor release a job that another worker has claimed since."""
        job = new_job()
        jobs.create(job, b"")
        stale = claim(jobs, job)
        current = claim(jobs, job, claim_token="b", now=NOW + LEASE_MS + 1)
        assert not jobs.succeed(stale, b"old", metrics=Metrics(), now=NOW)
        assert not jobs.fail(stale, AttemptsExhausted("x"), metrics=Metrics(), now=NOW)
        assert not jobs.release(stale)
        assert jobs.succeed(current, b"new", metrics=Metrics(), now=NOW)
        stored = get(jobs, job)
        assert jobs.read_result(stored) == b"new"

    def test_job_that_was_split_on_its_last_attempt_is_merged(self, stores: Stores) -> None:
        jobs, shards = stores
        job = new_job()
        jobs.create(job, b"")
        for attempt in range(4):
            jobs.release(claim(jobs, job, claim_token=str(attempt)))
        assert shards.split(claim(jobs, job, claim_token="last"), 1, now=NOW)
        stored = get(jobs, job)
        split = shards.record_done(stored, 0, b"{}")
        assert split is not None
        assert split.is_complete
        merger = jobs.claim_merge(message_for(job), claim_token="m", now=NOW)
        assert merger is not None
        assert jobs.succeed(merger, b"{}", metrics=Metrics(), now=NOW)

    def test_split_job_cannot_be_claimed_again(self, stores: Stores) -> None:
        jobs, shards = stores
        job = new_job()
        jobs.create(job, b"")
        shards.split(claim(jobs, job), 2, now=NOW)
        assert jobs.claim(message_for(job), claim_token="b", now=NOW + 10 * LEASE_MS) is None

    def test_ended_job_does_not_change_again(self, jobs: MemoryJobs | JobStore) -> None:
        job = new_job()
        jobs.create(job, b"")
        claimed = claim(jobs, job)
        assert jobs.fail(claimed, AttemptsExhausted("gone"), metrics=Metrics(), now=NOW)
        assert not jobs.succeed(claimed, b"late", metrics=Metrics(), now=NOW + 1)
        stored = get(jobs, job)
        assert stored.status == "failed"
        assert stored.failure is not None
        assert (stored.failure.code, stored.failure.detail) == ("attempts_exhausted", "gone")
        assert jobs.claim(message_for(job), claim_token="b", now=NOW + LEASE_MS + 1) is None


class TestDynamoDB:
    @pytest.fixture
    def store(self, aws_services: AwsServices) -> JobStore:
        return JobStore(Table("jobs"), Blobs("bucket"))

    @pytest.fixture
    def shards(self, aws_services: AwsServices) -> ShardStore:
        return ShardStore(Table("jobs"), Blobs("bucket"))

    def test_big_input_and_result_are_stored_in_s3(self, store: JobStore) -> None:
        """An input or result above 32 KB, compressed, is an S3 object and is read back unchanged."""
        body = secrets.token_bytes(40_000)
        job = new_job()
        store.create(job, body)
        claimed = claim(store, job)
        assert claimed.input_key == f"inputs/{job.id}"
        assert store.read_input(claimed) == body
        assert store.succeed(claimed, body, metrics=Metrics(), now=NOW)
        stored = get(store, job)
        assert stored.result_key == f"results/{job.id}/1.1"
        assert Blobs("bucket").get(stored.result_key) == body

    def test_missing_input_is_a_permanent_error(self, store: JobStore, aws_services: AwsServices) -> None:
        job = new_job()
        store.create(job, b"x")
        aws_services.dynamodb.delete_item(TableName="jobs", Key=serialize(job_key(job.id, "input")))
        with pytest.raises(InputMissing):
            store.read_input(job)

    def test_late_shard_of_a_deleted_job_stores_no_item(
        self, store: JobStore, shards: ShardStore, aws_services: AwsServices
    ) -> None:
        job = new_job()
        store.create(job, b"")
        shards.split(claim(store, job), 2, now=NOW)
        stored = get(store, job)
        store.delete(stored, now=NOW)
        assert shards.record_done(stored, 0, b"{}") is None
        items = aws_services.dynamodb.scan(TableName="jobs")["Items"]
        assert [item["part"]["S"] for item in items] == ["job"]

    def test_long_failure_detail_is_truncated(self, store: JobStore) -> None:
        """The job's item must stay small."""
        job = new_job()
        store.create(job, b"")
        assert store.fail(claim(store, job), AttemptsExhausted("x" * 500_000), metrics=Metrics(), now=NOW)
        stored = get(store, job)
        assert stored.failure is not None
        assert len(stored.failure.detail) == 1_000

    def test_repeated_finish_is_the_same_finish(self, store: JobStore) -> None:
        """The SDK repeats a finish whose answer was lost. The repetition must not look like a lost claim."""
        job = new_job()
        store.create(job, b"")
        claimed = claim(store, job)
        for _ in range(2):
            assert store.succeed(claimed, b"{}", metrics=Metrics(), now=NOW + 7)

    def test_repeated_retry_is_the_same_retry(self, store: JobStore) -> None:
        """The SDK repeats a retry whose answer was lost. A later retry is another one and is refused."""
        store.create(new := new_job(), b"")
        job = claim(store, new)
        store.fail(job, InputMissing("gone"), metrics=Metrics(), now=NOW)
        first, again = store.retry(job, now=NOW + 1), store.retry(job, now=NOW + 1)
        assert first is not None
        assert again == first
        assert store.retry(job, now=NOW + 2) is None

    def test_delete_after_a_concurrent_retry_ends_that_run_too(self, store: JobStore) -> None:
        store.create(new := new_job(), b"")
        read = claim(store, new)
        store.fail(read, InputMissing("gone"), metrics=Metrics(), now=NOW)
        failed = get(store, read)
        store.retry(failed, now=NOW + 1)
        store.delete(failed, now=NOW + 2)
        left = store.get(read.id, now=NOW + 2)
        assert left is not None
        assert (left.status, left.run, left.deleted_at) == ("canceled", 2, NOW + 2)

    def test_open_jobs_are_scheduled_and_finished_ones_are_not(
        self, store: JobStore, aws_services: AwsServices
    ) -> None:
        job = new_job()
        store.create(job, b"")

        def scheduled() -> int:
            return int(aws_services.dynamodb.scan(TableName="jobs", IndexName="checks")["Count"])

        claimed = claim(store, job)
        assert scheduled() == 1
        store.succeed(claimed, b"{}", metrics=Metrics(), now=NOW)
        assert scheduled() == 0
