"""The janitor's tick, row by row of its list, over moto; and two ticks at once, and one that dies half-way."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from functions.janitor.due import Janitor
from shared import aws
from shared.blobs import Blobs
from shared.deliveries import DeliveryStore
from shared.due import DueJobs
from shared.errors import Transient
from shared.models import Job, Message, Metrics
from shared.queues import DeadLetterQueue, Lane
from shared.store import ATTEMPTS_LIMIT, FIRST_LOOK_MS, LEASE_MS
from tests.integration.test_store import NOW, claimed, message, new_job

DUE = NOW + FIRST_LOOK_MS  # when a new job is looked at first


class Cloud:
    """The store and the queues, and a janitor at any time."""

    def __init__(self, services: SimpleNamespace) -> None:
        self.sqs = services.sqs
        self.store = DueJobs("jobs", Blobs("bucket"))
        self.urls = {"jobs": services.jobs_queue_url, "solo": services.solo_queue_url}
        self.dead = self.sqs.create_queue(QueueName="dead", Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
        self.lanes = {name: Lane(url) for name, url in self.urls.items()}
        self.urls["webhooks"] = services.webhooks_queue_url
        self.webhooks_dead = services.webhooks_dead_letter_queue_url

    def janitor(self, now: int, **options: Any) -> Janitor:
        return Janitor(
            self.store,
            self.lanes,
            [DeadLetterQueue(self.dead)],
            lambda: now,
            DeliveryStore("jobs"),
            Lane(self.urls["webhooks"]),
            DeadLetterQueue(self.webhooks_dead),
            **options,
        )

    def tick(self, now: int) -> Counter[str]:
        return self.janitor(now).tick()

    def job(self, **changes: Any) -> Job:
        job = new_job(**changes)
        self.store.create(job, b'{"documents": [{"text": "Ada."}]}')
        return job

    def kept(self, job: Job) -> Job:
        kept = self.store.get(job.id, now=NOW)
        assert kept is not None
        return kept

    def sent(self, lane: str) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        while received := self.sqs.receive_message(QueueUrl=self.urls[lane], MaxNumberOfMessages=10).get("Messages"):
            for one in received:
                self.sqs.delete_message(QueueUrl=self.urls[lane], ReceiptHandle=one["ReceiptHandle"])
                messages.append(json.loads(one["Body"]))
        return messages


@pytest.fixture
def cloud(aws_services: SimpleNamespace) -> Cloud:
    return Cloud(aws_services)


def test_nothing_due_nothing_done(cloud: Cloud) -> None:
    cloud.job()
    assert cloud.tick(DUE - 1) == {}


def test_queued_job_whose_message_was_lost_is_sent_again(cloud: Cloud) -> None:
    job = cloud.job()
    assert cloud.tick(DUE) == {"sent again": 1}
    assert cloud.sent("jobs") == [{"job": job.id, "run": 1}]
    assert cloud.kept(job).due_at == DUE + FIRST_LOOK_MS


def test_queued_job_that_only_waits_is_looked_at_again_after_as_long(cloud: Cloud) -> None:
    jobs = [cloud.job() for _ in range(20)]
    cloud.lanes["jobs"].send(message(jobs[0]), client_id="c_1")
    now = DUE
    for _ in range(4):
        assert cloud.tick(now) == {"waiting": 20}
        assert cloud.kept(jobs[0]).due_at == now + (now - NOW)
        now += now - NOW
    assert len(cloud.sent("jobs")) == 1


def test_live_lease_is_looked_at_when_it_ends(cloud: Cloud) -> None:
    job = cloud.job()
    claimed(cloud.store, job, now=DUE - 1)
    assert cloud.tick(DUE) == {"at work": 1}
    assert cloud.kept(job).due_at == DUE + LEASE_MS
    assert cloud.sent("jobs") == cloud.sent("solo") == []


def test_dead_lease_is_sent_to_solo(cloud: Cloud) -> None:
    job = cloud.job()
    claimed(cloud.store, job, now=NOW)
    now = NOW + LEASE_MS + 1
    assert cloud.tick(now) == {"sent again": 1}
    assert cloud.sent("solo") == [{"job": job.id, "run": 1}]
    assert claimed(cloud.store, job, owner="b", now=now).attempt == 2


def test_job_whose_worker_always_dies_fails_after_its_attempts(cloud: Cloud) -> None:
    job = cloud.job()
    now = NOW
    for attempt in range(ATTEMPTS_LIMIT):
        claimed(cloud.store, job, owner=str(attempt), now=now)
        now += 10 * LEASE_MS
        outcome = cloud.tick(now)
    assert outcome == {"failed": 1}
    kept = cloud.kept(job)
    assert kept.failure is not None
    assert (kept.status, kept.failure.code, kept.due_at) == ("failed", "attempts_exhausted", None)


@pytest.mark.parametrize("is_running", [False, True])
def test_job_past_its_deadline_expires(cloud: Cloud, is_running: bool) -> None:
    job = cloud.job(deadline=DUE)
    if is_running:
        claimed(cloud.store, job, now=DUE - 1)
    assert cloud.tick(DUE) == {"expired": 1}
    assert cloud.kept(job).status == "expired"
    assert cloud.tick(DUE + 10**7) == {}


def test_worker_that_finishes_after_the_deadline_changes_nothing(cloud: Cloud) -> None:
    job = cloud.job(deadline=DUE)
    late = claimed(cloud.store, job, now=DUE - 1)
    cloud.tick(DUE)
    assert not cloud.store.succeed(late, b"{}", metrics=Metrics(), now=DUE + 1)
    assert cloud.kept(job).status == "expired"


def split(cloud: Cloud, total: int = 3) -> Job:
    job = cloud.job(characters=10**6)
    assert cloud.store.split(claimed(cloud.store, job), total, now=NOW)
    return cloud.kept(job)


def test_split_with_progress_gets_its_missing_shards_again_at_no_attempt(cloud: Cloud) -> None:
    """Nobody waits for the last shard at work to learn that the first one's worker died."""
    job = split(cloud)
    cloud.store.shard_done(job, 0, b"{}")
    assert cloud.tick(DUE) == {"sent again": 1}
    assert sorted(sent["shard"] for sent in cloud.sent("solo")) == [1, 2]
    assert cloud.kept(job).attempt == 1


def test_split_without_progress_gets_its_missing_shards_again(cloud: Cloud) -> None:
    job = split(cloud)
    cloud.store.shard_done(job, 1, b"{}")
    cloud.tick(DUE)
    cloud.sent("solo")  # received, and lost with their workers
    assert cloud.tick(DUE + FIRST_LOOK_MS) == {"sent again": 1}
    assert sorted(sent["shard"] for sent in cloud.sent("solo")) == [0, 2]
    assert cloud.kept(job).attempt == 2


def test_split_behind_a_long_lane_only_waits(cloud: Cloud) -> None:
    job = split(cloud)
    cloud.lanes["solo"].send(Message(job="another", run=1), client_id="c_2")
    assert cloud.tick(DUE) == {"waiting": 1}
    assert cloud.kept(job).attempt == 1


def test_complete_split_without_a_merger_gets_one(cloud: Cloud) -> None:
    job = split(cloud, total=1)
    cloud.store.shard_done(job, 0, b"{}")
    assert cloud.tick(DUE) == {"sent again": 1}
    assert cloud.sent("solo") == [{"job": job.id, "run": 1}]
    assert cloud.store.claim_merge(message(job), owner="m", now=DUE) is not None


def test_dead_merger_is_replaced(cloud: Cloud) -> None:
    job = split(cloud, total=1)
    cloud.store.shard_done(job, 0, b"{}")
    assert cloud.store.claim_merge(message(job), owner="m", now=DUE) is not None
    assert cloud.tick(DUE + 1) == {"at work": 1}
    later = DUE + LEASE_MS + 2
    assert cloud.tick(later) == {"sent again": 1}
    assert cloud.store.claim_merge(message(job), owner="n", now=later) is not None


def test_shards_that_never_progress_fail_the_job(cloud: Cloud) -> None:
    job = split(cloud)
    outcomes = []
    for step in range(5):
        outcomes.append(cloud.tick(DUE + step * FIRST_LOOK_MS))
        cloud.sent("solo")  # received, and lost with their workers
    assert outcomes[:4] == [{"sent again": 1}] * 4
    assert outcomes[4] == {"failed": 1}
    assert cloud.kept(job).status == "failed"


def test_due_item_of_a_finished_job_is_cleared(cloud: Cloud, aws_services: SimpleNamespace) -> None:
    job = cloud.job(status="succeeded")
    assert cloud.tick(DUE) == {"done with": 1}
    assert cloud.kept(job).due_at is None
    assert cloud.tick(DUE) == {}


class TestDeadLetters:
    def put(self, cloud: Cloud, body: Any) -> None:
        cloud.sqs.send_message(QueueUrl=cloud.dead, MessageBody=body if isinstance(body, str) else json.dumps(body))

    def left(self, cloud: Cloud) -> int:
        return len(cloud.sqs.receive_message(QueueUrl=cloud.dead, MaxNumberOfMessages=10).get("Messages", []))

    def test_open_job_is_queued_again(self, cloud: Cloud) -> None:
        job = cloud.job()
        self.put(cloud, {"job": job.id, "run": 1})
        assert cloud.tick(NOW) == {"revived": 1}
        assert cloud.sent("solo") == [{"job": job.id, "run": 1}]
        assert self.left(cloud) == 0

    def test_shard_stays_a_shard(self, cloud: Cloud) -> None:
        job = split(cloud)
        self.put(cloud, {"job": job.id, "run": 1, "shard": 2})
        cloud.tick(NOW)
        assert cloud.sent("solo") == [{"job": job.id, "run": 1, "shard": 2}]

    @pytest.mark.parametrize("run", [1, 2])
    def test_finished_unknown_or_former_run_is_dropped(self, cloud: Cloud, run: int) -> None:
        job = cloud.job(status="succeeded", due_at=None)
        self.put(cloud, {"job": job.id, "run": run})
        self.put(cloud, {"job": "nobody", "run": 1})
        assert cloud.tick(NOW) == {"dropped": 2}
        assert self.left(cloud) == 0

    @pytest.mark.parametrize("body", ["{", "[]", '{"job": 1, "run": 1}', '{"job": "x", "run": 0}', '{"job": "x"}'])
    def test_what_cannot_be_read_stays(self, cloud: Cloud, body: str) -> None:
        self.put(cloud, body)
        assert cloud.tick(NOW)["unreadable"] >= 1
        assert self.left(cloud) == 1


@pytest.mark.usefixtures("one_call_at_a_time")
def test_of_two_ticks_at_once_each_job_is_sent_once(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [cloud.job() for _ in range(40)]
    monkeypatch.setattr(cloud.lanes["jobs"], "is_waiting", lambda: False)  # else the second sees what the first sent
    with ThreadPoolExecutor(max_workers=2) as threads:
        both = list(threads.map(lambda _: cloud.tick(DUE), range(2)))
    assert sum(outcome["sent again"] for outcome in both) == 40
    assert Counter(sent["job"] for sent in cloud.sent("jobs")) == {job.id: 1 for job in jobs}


def test_tick_that_dies_half_way_leaves_the_rest_due(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its write and its message, too: the job is due again."""
    jobs = [cloud.job() for _ in range(6)]
    sent = []

    def send(message: Message, *, client_id: str) -> None:
        if len(sent) == 2:
            raise SystemExit
        sent.append(message.job)

    monkeypatch.setattr(cloud.lanes["jobs"], "send", send)
    with pytest.raises(SystemExit):
        cloud.tick(DUE)
    monkeypatch.undo()
    again = set()
    for now in (DUE, DUE + 3 * FIRST_LOOK_MS):
        cloud.tick(now)
        again |= {message["job"] for message in cloud.sent("jobs")}
    assert again | set(sent) == {job.id for job in jobs}


def test_busy_store_leaves_the_rest_to_the_next_tick(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    job = cloud.job()

    def busy(*_: Any, **__: Any) -> bool:
        raise Transient("throttled")

    monkeypatch.setattr(cloud.store, "look_again", busy)
    assert cloud.tick(DUE) == {"not now": 1}
    monkeypatch.undo()
    assert cloud.tick(DUE) == {"sent again": 1}
    assert cloud.sent("jobs") == [{"job": job.id, "run": 1}]


def test_tick_without_time_begins_nothing(cloud: Cloud) -> None:
    cloud.job()
    assert cloud.janitor(DUE, has_time=lambda: False).tick() == {}


def test_index_that_lags_does_no_harm(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stale entry of the index says another time than the job does."""
    cloud.job()
    stale = [item for slot in range(16) for item in cloud.store.due(slot, now=DUE, limit=10)]
    cloud.tick(DUE)
    monkeypatch.setattr(cloud.store, "due", lambda slot, **_: stale if slot == 0 else [])
    cloud.sent("jobs")
    assert cloud.tick(DUE + 1) == {}
    assert cloud.sent("jobs") == []


def test_expressions_need_no_table_of_names() -> None:
    """Names and values of an expression are found in it, reserved words included."""
    built = aws.expression({"status": "x", "unused": 1}, UpdateExpression="SET #status = :status REMOVE #lease")
    assert built["ExpressionAttributeNames"] == {"#status": "status", "#lease": "lease"}
    assert built["ExpressionAttributeValues"] == {":status": {"S": "x"}}
