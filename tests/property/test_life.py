"""A state machine of jobs over the real stores: all events of a job's life, in random order.

Workers claim jobs, extend leases, finish, crash, and go on after they lost a claim. Clients cancel, retry and delete.
Messages are duplicated and lost, the janitor ticks, and time passes. The invariants are checked after every step.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends

from functions.janitor.checks import Janitor
from functions.janitor.dead_letters import DeadLetters
from shared.aws.blobs import Blobs
from shared.aws.queue import Queue
from shared.aws.table import Table
from shared.errors import ModelFailed
from shared.jobs.checks import JobChecks
from shared.jobs.job import (
    DEADLINE_MS,
    LIFETIME_SECONDS,
    TERMINAL,
    Job,
    Metrics,
    Model,
    QueueName,
    Status,
    WebhookEndpoint,
    job_key,
    new_job_id,
)
from shared.jobs.message import JobMessage
from shared.jobs.shards import ShardStore
from shared.jobs.store import MERGE_ATTEMPTS_LIMIT, JobStore
from shared.webhooks.event import delivery_part
from shared.webhooks.store import DeliveryStore
from tests.conftest import REGION, provision, set_fake_credentials

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

START = 1_800_000_000_000
SHARDS = 3
TICKS_LIMIT = 40
EXAMPLES, STEPS = 30, 30


@dataclass(frozen=True)
class Services:
    """The stores and queues over moto."""

    sqs: SQSClient
    table: Table
    jobs: JobStore
    shards: ShardStore
    deliveries: DeliveryStore
    queues: dict[QueueName, Queue]
    queue_urls: list[str]
    webhooks: Queue
    dead_letters: Queue


class JobLife(RuleBasedStateMachine):
    """One table, some jobs, any number of workers."""

    services: ClassVar[Services]  # shared by all examples, which leave no open job behind

    jobs = Bundle("jobs")
    claims = Bundle("claims")
    merges = Bundle("merges")
    reads = Bundle("reads")  # jobs as requests of clients read them some time ago

    def __init__(self) -> None:
        super().__init__()
        self.store, self.shards, self.deliveries = self.services.jobs, self.services.shards, self.services.deliveries
        self.now = START
        self.job_ids: list[str] = []
        self.claims_made = 0
        # The attempts and the end of each run, as far as they were seen.
        self.attempts: dict[tuple[str, int], int] = {}
        self.ends: dict[tuple[str, int], tuple[Status, int | None]] = {}
        self.runs: dict[str, int] = {}
        self.claim_tokens: dict[tuple[str, int, int], str | None] = {}
        self.deleted: set[str] = set()
        self.touched: set[str] = set()

    def teardown(self) -> None:
        if self.job_ids:
            self.finish_all_jobs()
        # Each query of moto sorts all items, so remove those of earlier examples.
        dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].tables["jobs"].items.clear()

    # Rules

    @rule(target=jobs, characters=st.sampled_from([10, 10, 200_000]), has_webhook=st.booleans())
    def submit(self, characters: int, has_webhook: bool) -> str:
        job_id = new_job_id(self.now)
        job = Job(
            id=job_id, client_id="c", model=Model(name="m", version="1"), characters=characters, created_at=self.now,
            queued_at=self.now, deadline=self.now + DEADLINE_MS, expires_at=self.now // 1000 + LIFETIME_SECONDS,
            webhook=WebhookEndpoint(url="https://receiver.example/") if has_webhook else None,
        )  # fmt: skip
        self.store.create(job, b"{}")
        self.job_ids.append(job_id)
        return job_id

    @rule(target=claims, job_id=jobs, stale=st.booleans())
    def claim(self, job_id: str, stale: bool) -> MultipleResults[Job]:
        """Claim by a message of this run, or by a late message of the run before."""
        run = self.get(job_id).run - (1 if stale else 0)
        claimed = self.store.claim(
            JobMessage(job=job_id, run=max(run, 1)), claim_token=self.new_claim_token(), now=self.now
        )
        return multiple(self.check_claim(claimed)) if claimed else multiple()

    def check_claim(self, claimed: Job) -> Job:
        """Check that no other claim has the same number, and that the job was open."""
        number = (claimed.id, claimed.run, claimed.attempt)
        assert number not in self.claim_tokens
        self.claim_tokens[number] = claimed.claim_token
        assert claimed.id not in self.deleted
        assert (claimed.id, claimed.run) not in self.ends
        return claimed

    @rule(claimed=claims)
    def claim_whose_answer_was_lost(self, claimed: Job) -> None:
        """Repeat a claim, as the SDK does. It is the same attempt while the claim holds."""
        if self.is_held(claimed) and not has_expired_lease(self.get(claimed.id), self.now):
            again = self.store.claim(
                JobMessage(job=claimed.id, run=claimed.run), claim_token=claimed.claim_token or "", now=self.now
            )
            assert again is not None
            assert again.attempt == claimed.attempt

    @rule(claimed=claims)
    def extend(self, claimed: Job) -> None:
        held = self.is_held(claimed)
        assert self.store.extend(claimed, now=self.now) == held

    @rule(claimed=claims)
    def succeed(self, claimed: Job) -> None:
        if claimed.characters < 100_000:
            self.end_as(claimed, "succeeded")

    @rule(claimed=claims)
    def fail(self, claimed: Job) -> None:
        self.end_as(claimed, "failed")

    def end_as(self, claimed: Job, status: Status) -> None:
        """End a job. Only a claim that holds may do so. A repeated call may succeed, too."""
        held = self.is_held(claimed)
        if status == "failed":
            ended = self.store.fail(claimed, ModelFailed("x"), metrics=Metrics(), now=self.now)
        else:
            name = f"{claimed.run}.{claimed.attempt}".encode()
            ended = self.store.succeed(claimed, name, metrics=Metrics(), now=self.now)
        kept = self.get(claimed.id)
        assert ended or not held
        if ended:
            assert (kept.status, kept.run, kept.attempt) == (status, claimed.run, claimed.attempt)

    @rule(claimed=claims)
    def release(self, claimed: Job) -> None:
        self.touched.add(claimed.id)
        self.store.release(claimed)

    @rule(claimed=consumes(claims))
    def crash(self, claimed: Job) -> None:
        """Drop the claim: the worker is dead."""

    @rule(claimed=claims)
    def split(self, claimed: Job) -> None:
        self.touched.add(claimed.id)
        if claimed.characters > 100_000:
            self.shards.split(claimed, SHARDS, now=self.now)

    @rule(job_id=jobs, shard=st.integers(min_value=0, max_value=SHARDS - 1))
    def run_shard(self, job_id: str, shard: int) -> None:
        job = self.get(job_id)
        if job.status == "running" and self.shards.get_split(job):
            self.shards.record_done(job, shard, b"{}")

    @rule(target=merges, job_id=jobs)
    def claim_merge(self, job_id: str) -> MultipleResults[Job]:
        job = self.get(job_id)
        split = self.shards.get_split(job)
        if split is None or not split.is_complete:
            return multiple()
        claimed = self.store.claim_merge(
            JobMessage(job=job_id, run=job.run), claim_token=self.new_claim_token(), now=self.now
        )
        return multiple(self.check_claim(claimed)) if claimed else multiple()

    @rule(claimed=merges)
    def merge(self, claimed: Job) -> None:
        self.end_as(claimed, "succeeded")

    @rule(claimed=consumes(merges))
    def crash_merging(self, claimed: Job) -> None:
        """Drop the claim: the worker is dead."""

    @rule(target=reads, job_id=jobs)
    def read(self, job_id: str) -> Job:
        """Read a job for a request that continues later."""
        return self.get(job_id)

    @rule(read=reads)
    def cancel(self, read: Job) -> None:
        self.touched.add(read.id)
        if self.store.cancel(read, now=self.now):
            kept = self.get(read.id)
            assert (kept.status, kept.run) == ("canceled", read.run)

    @rule(read=reads)
    def retry(self, read: Job) -> None:
        before = self.get(read.id)
        again = self.store.retry(read, now=self.now)
        if again is None:
            assert (
                before.status not in {"failed", "canceled", "expired"}
                or read.id in self.deleted
                or read.run != before.run
                or before.awaits_delivery
            )
        else:
            assert (again.run, again.attempt, again.status) == (read.run + 1, 0, "queued")

    @rule(read=reads)
    def delete(self, read: Job) -> None:
        self.touched.add(read.id)
        self.store.delete(read, now=self.now)
        self.deleted.add(read.id)

    @rule()
    def tick(self) -> None:
        self.touched.update(self.job_ids)
        self.janitor().tick()

    def janitor(self) -> Janitor:
        services = self.services
        return Janitor(
            jobs=services.jobs,
            shards=services.shards,
            checks=JobChecks(services.table),
            deliveries=services.deliveries,
            queues=services.queues,
            webhooks=services.webhooks,
            dead_letters=DeadLetters(
                jobs=services.jobs,
                isolated=services.queues["isolated"],
                job_letters=[services.dead_letters],
                webhook_letters=services.dead_letters,
                now=lambda: self.now,
            ),
            now=lambda: self.now,
        )

    @rule(job_id=jobs)
    def create_delivery(self, job_id: str) -> None:
        """Create the delivery, as the function `webhook` or a retry does. Messages come late and twice."""
        job = self.get(job_id)
        if job.awaits_delivery:
            self.deliveries.create(job, b"{}", now=self.now)

    @rule(read=reads)
    def create_delivery_late(self, read: Job) -> None:
        """Create the delivery from a job that was read some time ago. It must not touch the next run."""
        if read.awaits_delivery and read.run == self.get(read.id).run:
            self.deliveries.create(read, b"{}", now=self.now)

    @rule()
    def lose_messages(self) -> None:
        self.receive_all()

    @rule(seconds=st.sampled_from([1, 30, 61, 600, 25 * 3600]))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds * 1000

    # Invariants

    @invariant()
    def check_touched_jobs(self) -> None:
        while self.touched:
            job_id = self.touched.pop()
            self.check(self.get(job_id))
            self.touched.discard(job_id)

    def check(self, job: Job) -> None:
        run = (job.id, job.run)
        if job.id in self.deleted:
            assert job.deleted_at is not None, "a deleted job stays deleted"
            assert job.is_terminal, "a deleted job is not open"
            assert (job.result_part, job.result_key) == (None, None)
        assert job.run >= self.runs.get(job.id, 1), "runs only grow"
        self.runs[job.id] = job.run
        assert MERGE_ATTEMPTS_LIMIT >= job.attempt >= self.attempts.get(run, 0), (
            "attempts only grow, within their limit"
        )
        self.attempts[run] = job.attempt
        if job.status in TERMINAL:
            end = (job.status, job.completed_at)
            assert self.ends.setdefault(run, end) == end, "an end is final within its run"
            has_delivery = self.deliveries.get(job.id, delivery_part(job.run, job.status)) is not None
            assert has_delivery or job.awaits_delivery == job.has_webhook_for(job.status), (
                "an ended run has its delivery, or awaits it"
            )
            assert job.next_check_at is None or job.awaits_delivery, (
                "an ended job is scheduled only if it awaits its delivery"
            )
            assert job.claim_token is None, "an ended job has no claim"
        else:
            assert run not in self.ends, "an ended run does not go on"
            assert job.next_check_at is not None, "an open job is scheduled for a check"
        if job.status == "succeeded" and job.id not in self.deleted:
            assert self.store.read_result(job) == f"{job.run}.{job.attempt}".encode(), (
                "the result is that of the successful attempt"
            )
        else:
            assert job.result_part is None or job.id in self.deleted

    def finish_all_jobs(self) -> None:
        """Let workers work and the janitor tick until every job has ended."""
        for _ in range(TICKS_LIMIT):
            self.tick()
            for message in self.receive_all():
                self.work(message)
            self.touched.update(self.job_ids)
            self.check_touched_jobs()
            for job_id in self.job_ids:
                self.create_delivery(job_id)
            if all(self.get(job_id).is_terminal for job_id in self.job_ids):
                self.check_deliveries()
                return
            self.now += 61_000
        left = Counter(self.get(job_id).status for job_id in self.job_ids)
        pytest.fail(f"Jobs stay open: {left}")

    def check_deliveries(self) -> None:
        """Check that every end of a run with a webhook event has its delivery."""
        for (job_id, run), (status, _) in self.ends.items():
            if self.get(job_id).has_webhook_for(status):
                assert self.deliveries.get(job_id, delivery_part(run, status)) is not None, (
                    "every webhook event has a delivery"
                )

    def work(self, message: JobMessage) -> None:
        """Handle a message as a worker does."""
        job = self.store.get(message.job, now=self.now)
        if job is None or job.run != message.run:
            return
        if message.shard is not None:
            self.run_shard(job.id, message.shard)
            self.merge_if_complete(job)
            return
        claimed = self.store.claim(message, claim_token=self.new_claim_token(), now=self.now)
        if claimed is None:
            self.merge_if_complete(job)
        elif claimed.characters < 100_000:
            self.succeed(claimed)
        elif self.shards.split(claimed, SHARDS, now=self.now):
            shards = [JobMessage(job=job.id, run=job.run, shard=shard) for shard in range(SHARDS)]
            self.services.queues["isolated"].send_many(shards, client_id="c")

    def merge_if_complete(self, job: Job) -> None:
        split = self.shards.get_split(self.get(job.id))
        if split is not None and split.is_complete:
            claimed = self.store.claim_merge(
                JobMessage(job=job.id, run=job.run), claim_token=self.new_claim_token(), now=self.now
            )
            if claimed is not None:
                self.merge(claimed)

    # Helpers

    def is_held(self, claimed: Job) -> bool:
        """Return whether the claim holds."""
        kept = self.get(claimed.id)
        current = (kept.status, kept.run, kept.attempt, kept.claim_token)
        return current == ("running", claimed.run, claimed.attempt, claimed.claim_token)

    def get(self, job_id: str) -> Job:
        self.touched.add(job_id)
        item = self.services.table.get(job_key(job_id))
        assert item is not None
        return Job.model_validate(item)

    def new_claim_token(self) -> str:
        self.claims_made += 1
        return f"w{self.claims_made}"

    def receive_all(self) -> list[JobMessage]:
        messages = []
        for url in self.services.queue_urls:
            while got := self.services.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
                for one in got:
                    self.services.sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
                    messages.append(JobMessage.model_validate(json.loads(one["Body"])))
        return messages


def has_expired_lease(job: Job, now: int) -> bool:
    return job.lease_expires_at is None or job.lease_expires_at < now


def provide_services() -> Services:
    provided = provision(signing=False)
    urls: dict[QueueName, str] = {"jobs": provided.jobs_queue_url, "isolated": provided.isolated_queue_url}
    table, blobs = Table("jobs"), Blobs("bucket")
    return Services(
        sqs=provided.sqs,
        table=table,
        jobs=JobStore(table, blobs),
        shards=ShardStore(table, blobs),
        deliveries=DeliveryStore(table),
        queues={name: Queue(url) for name, url in urls.items()},
        queue_urls=list(urls.values()),
        webhooks=Queue(provided.webhooks_queue_url),
        dead_letters=Queue(provided.sqs.create_queue(QueueName="dead")["QueueUrl"]),
    )


def test_every_job_ends_exactly_once(monkeypatch: pytest.MonkeyPatch) -> None:
    set_fake_credentials(monkeypatch)
    with mock_aws():
        monkeypatch.setattr(JobLife, "services", provide_services(), raising=False)
        run_state_machine_as_test(
            JobLife,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                derandomize=True,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
