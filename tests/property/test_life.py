"""The life of jobs under anything that can happen to them, in any order: a state machine over the real store.

Workers claim, beat, finish, crash and come back as zombies; clients cancel, retry and delete; messages are doubled and
lost; the janitor ticks; time passes. What must hold is checked after every step.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID
from moto.dynamodb import dynamodb_backends

from functions.janitor.due import Janitor
from shared.blobs import Blobs
from shared.deliveries import DeliveryStore
from shared.due import DueJobs
from shared.errors import ModelFailed
from shared.models import TERMINAL, Job, Message, Metrics, Model, Webhook, announced_part, new_job_id
from shared.queues import DeadLetterQueue, Lane
from shared.store import DEADLINE_MS, LIFETIME_SECONDS, MERGE_ATTEMPTS_LIMIT
from tests.conftest import REGION, made_up_credentials, provision

START = 1_800_000_000_000
SHARDS = 3
ENOUGH_TICKS = 40
EXAMPLES, STEPS = 30, 30


class Lives(RuleBasedStateMachine):
    """One table, some jobs, any number of workers."""

    cloud: ClassVar[Any]  # one for all examples, which leave no open job behind

    jobs = Bundle("jobs")
    claims = Bundle("claims")
    merges = Bundle("merges")
    reads = Bundle("reads")  # what clients' requests have read of jobs, some time ago

    def __init__(self) -> None:
        super().__init__()
        self.sqs, self.urls, self.store, self.lanes, self.dead, self.deliveries, self.webhooks_url = self.cloud
        self.now = START
        self.names: list[str] = []
        self.owners = 0
        # What has been seen of each run: its attempts only grow, and its end is final.
        self.attempts: dict[tuple[str, int], int] = {}
        self.ends: dict[tuple[str, int], tuple[Any, ...]] = {}
        self.runs: dict[str, int] = {}
        self.claimants: dict[tuple[str, int, int], str | None] = {}
        self.deleted: set[str] = set()
        self.touched: set[str] = set()

    def teardown(self) -> None:
        if self.names:
            self._until_nothing_is_open()
        # moto sorts all that there ever was, at each query.
        dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].tables["jobs"].items.clear()

    # What happens

    @rule(target=jobs, characters=st.sampled_from([10, 10, 200_000]), has_webhook=st.booleans())
    def submit(self, characters: int, has_webhook: bool) -> str:
        job_id = new_job_id(self.now)
        job = Job(
            id=job_id, client_id="c", model=Model(name="m", version="1"), characters=characters, created_at=self.now,
            queued_at=self.now, deadline=self.now + DEADLINE_MS, expires_at=self.now // 1000 + LIFETIME_SECONDS,
            webhook=Webhook(url="https://receiver.example/") if has_webhook else None,
        )  # fmt: skip
        self.store.create(job, b"{}")
        self.names.append(job_id)
        return job_id

    @rule(target=claims, job_id=jobs, stale=st.booleans())
    def claim(self, job_id: str, stale: bool) -> Any:
        """By a message of this run, or by one of the run before that came late or twice."""
        run = self.kept(job_id).run - (1 if stale else 0)
        claimed = self.store.claim(Message(job=job_id, run=max(run, 1)), owner=self.owner(), now=self.now)
        return multiple(self.new_claim(claimed)) if claimed else multiple()

    def new_claim(self, claimed: Job) -> Job:
        """No other claim has its number; nobody gets a job that is over."""
        number = (claimed.id, claimed.run, claimed.attempt)
        assert number not in self.claimants
        self.claimants[number] = claimed.owner
        assert claimed.id not in self.deleted
        assert (claimed.id, claimed.run) not in self.ends
        return claimed

    @rule(claimed=claims)
    def claim_whose_answer_was_lost(self, claimed: Job) -> None:
        """It is repeated: the same attempt while it is still this claim's, else none."""
        if self.is_held(claimed) and not claimed_too_long(self.kept(claimed.id), self.now):
            again = self.store.claim(Message(job=claimed.id, run=claimed.run), owner=claimed.owner or "", now=self.now)
            assert again is not None
            assert again.attempt == claimed.attempt

    @rule(claimed=claims)
    def beat(self, claimed: Job) -> None:
        held = self.is_held(claimed)
        assert self.store.extend(claimed, now=self.now) == held

    @rule(claimed=claims)
    def succeed(self, claimed: Job) -> None:
        if claimed.characters < 100_000:
            self.end_as(claimed, "succeeded")

    @rule(claimed=claims)
    def fail(self, claimed: Job) -> None:
        self.end_as(claimed, "failed")

    def end_as(self, claimed: Job, status: str) -> None:
        """Only who holds a job may end it; and whoever is told so did, now or by this very write before."""
        held = self.is_held(claimed)
        if status == "failed":
            ended = self.store.fail(claimed, ModelFailed("x"), metrics=Metrics(), now=self.now)
        else:
            name = f"{claimed.run}.{claimed.attempt}".encode()
            ended = self.store.succeed(claimed, name, metrics=Metrics(), now=self.now)
        kept = self.kept(claimed.id)
        assert ended or not held
        if ended:
            assert (kept.status, kept.run, kept.attempt) == (status, claimed.run, claimed.attempt)

    @rule(claimed=claims)
    def release(self, claimed: Job) -> None:
        self.touched.add(claimed.id)
        self.store.release(claimed)

    @rule(claimed=consumes(claims))
    def crash(self, claimed: Job) -> None:
        """The worker is gone and does nothing more."""

    @rule(claimed=claims)
    def split(self, claimed: Job) -> None:
        self.touched.add(claimed.id)
        if claimed.characters > 100_000:
            self.store.split(claimed, SHARDS, now=self.now)

    @rule(job_id=jobs, shard=st.integers(min_value=0, max_value=SHARDS - 1))
    def run_shard(self, job_id: str, shard: int) -> None:
        job = self.kept(job_id)
        if job.status == "running" and self.store.progress(job):
            self.store.shard_done(job, shard, b"{}")

    @rule(target=merges, job_id=jobs)
    def claim_merge(self, job_id: str) -> Any:
        job = self.kept(job_id)
        split = self.store.progress(job)
        if split is None or not split.is_complete:
            return multiple()
        claimed = self.store.claim_merge(Message(job=job_id, run=job.run), owner=self.owner(), now=self.now)
        return multiple(self.new_claim(claimed)) if claimed else multiple()

    @rule(claimed=merges)
    def merge(self, claimed: Job) -> None:
        self.end_as(claimed, "succeeded")

    @rule(claimed=consumes(merges))
    def crash_merging(self, claimed: Job) -> None:
        """The merger is gone and does nothing more."""

    @rule(target=reads, job_id=jobs)
    def read(self, job_id: str) -> Job:
        """A client's request reads a job, and goes on later."""
        return self.kept(job_id)

    @rule(read=reads)
    def cancel(self, read: Job) -> None:
        self.touched.add(read.id)
        if self.store.cancel(read, now=self.now):
            kept = self.kept(read.id)
            assert (kept.status, kept.run) == ("canceled", read.run)

    @rule(read=reads)
    def retry(self, read: Job) -> None:
        before = self.kept(read.id)
        again = self.store.retry(read, now=self.now)
        if again is None:
            assert (
                before.status not in {"failed", "canceled", "expired"}
                or read.id in self.deleted
                or stale(read, before)
                or before.is_unannounced
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
        self.touched.update(self.names)
        webhooks = Lane(self.webhooks_url)
        Janitor(self.store, self.lanes, self.dead, lambda: self.now, self.deliveries, webhooks, self.dead[0]).tick()

    @rule(job_id=jobs)
    def announce(self, job_id: str) -> None:
        """Whoever handles the message first: the function, or a retry. Messages come late and twice."""
        job = self.kept(job_id)
        if job.is_unannounced:
            self.deliveries.announce(job, b"{}", now=self.now)

    @rule(read=reads)
    def announce_late(self, read: Job) -> None:
        """By a copy that read the job some time ago; it must not touch the run that follows."""
        if read.is_unannounced and read.run == self.kept(read.id).run:
            self.deliveries.announce(read, b"{}", now=self.now)

    @rule()
    def lose_messages(self) -> None:
        self.received()

    @rule(seconds=st.sampled_from([1, 30, 61, 600, 25 * 3600]))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds * 1000

    # What must hold

    @invariant()
    def jobs_keep_their_promises(self) -> None:
        while self.touched:
            job_id = self.touched.pop()
            self.check(self.kept(job_id))
            self.touched.discard(job_id)

    def check(self, job: Job) -> None:
        run = (job.id, job.run)
        if job.id in self.deleted:
            assert job.deleted_at is not None, "a deleted job stays so"
            assert job.is_terminal, "and nothing happens to it"
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
            announced = self.deliveries.get(job.id, announced_part(job.run, job.status)) is not None
            assert announced or job.is_unannounced == job.announces(job.status), "an end is announced, or due for it"
            assert job.due_at is None or job.is_unannounced, "nobody need look at a job that ended else"
            assert job.owner is None, "nobody holds a job that ended"
        else:
            assert run not in self.ends, "what ended does not go on"
            assert job.due_at is not None, "an open job is due at some time"
        if job.status == "succeeded" and job.id not in self.deleted:
            assert self.store.result(job) == f"{job.run}.{job.attempt}".encode(), "the result is the winner's own"
        else:
            assert job.result_part is None or job.id in self.deleted

    def _until_nothing_is_open(self) -> None:
        """Workers that do their work, and ticks: every job comes to an end, without anybody's help."""
        for _ in range(ENOUGH_TICKS):
            self.tick()
            for message in self.received():
                self.work(message)
            self.touched.update(self.names)
            self.jobs_keep_their_promises()
            for job_id in self.names:
                self.announce(job_id)
            if all(self.kept(job_id).is_terminal for job_id in self.names):
                self.check_announcements()
                return
            self.now += 61_000
        left = Counter(self.kept(job_id).status for job_id in self.names)
        pytest.fail(f"Jobs stay open: {left}")

    def check_announcements(self) -> None:
        """Every end of a run that a client wants to know of is announced, whatever came after it."""
        for (job_id, run), (status, _) in self.ends.items():
            if self.kept(job_id).announces(status):
                assert self.deliveries.get(job_id, announced_part(run, status)) is not None, "no end is lost"

    def work(self, message: Message) -> None:
        """What a worker does with a message."""
        job = self.store.get(message.job, now=self.now)
        if job is None or job.run != message.run:
            return
        if message.shard is not None:
            self.run_shard(job.id, message.shard)
            self.merge_if_complete(job)
            return
        claimed = self.store.claim(message, owner=self.owner(), now=self.now)
        if claimed is None:
            self.merge_if_complete(job)
        elif claimed.characters < 100_000:
            self.succeed(claimed)
        elif self.store.split(claimed, SHARDS, now=self.now):
            shards = [Message(job=job.id, run=job.run, shard=shard) for shard in range(SHARDS)]
            self.lanes["solo"].send_all(shards, client_id="c")

    def merge_if_complete(self, job: Job) -> None:
        split = self.store.progress(self.kept(job.id))
        if split is not None and split.is_complete:
            claimed = self.store.claim_merge(Message(job=job.id, run=job.run), owner=self.owner(), now=self.now)
            if claimed is not None:
                self.merge(claimed)

    # Helpers

    def is_held(self, claimed: Job) -> bool:
        """Whether a job is still this claim's."""
        kept = self.kept(claimed.id)
        of = (kept.status, kept.run, kept.attempt, kept.owner)
        return of == ("running", claimed.run, claimed.attempt, claimed.owner)

    def kept(self, job_id: str) -> Job:
        self.touched.add(job_id)
        item = self.store._items.get(job_id, "job")
        assert item is not None
        return Job.model_validate(item)

    def owner(self) -> str:
        self.owners += 1
        return f"w{self.owners}"

    def received(self) -> list[Message]:
        messages = []
        for url in self.urls.values():
            while got := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
                for one in got:
                    self.sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
                    messages.append(Message.model_validate(json.loads(one["Body"])))
        return messages


def claimed_too_long(job: Job, now: int) -> bool:
    return job.lease is None or job.lease < now


def stale(read: Job, kept: Job) -> bool:
    return read.run != kept.run


def provisioned() -> Any:
    services = provision(signing=False)
    urls = {"jobs": services.jobs_queue_url, "solo": services.solo_queue_url}
    dead = services.sqs.create_queue(QueueName="dead")["QueueUrl"]
    lanes = {name: Lane(url) for name, url in urls.items()}
    store, deliveries = DueJobs("jobs", Blobs("bucket")), DeliveryStore("jobs")
    return services.sqs, urls, store, lanes, [DeadLetterQueue(dead)], deliveries, services.webhooks_queue_url


def test_whatever_happens_to_jobs_each_comes_to_one_end(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up_credentials(monkeypatch)
    with mock_aws():
        monkeypatch.setattr(Lives, "cloud", provisioned(), raising=False)
        run_state_machine_as_test(
            Lives,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                derandomize=True,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
