"""The janitor over moto: each outcome of a check, dead letters, concurrent ticks, and ticks that die."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from functions.janitor.app import JanitorApp, build
from functions.janitor.checks import Janitor
from functions.janitor.dead_letters import DeadLetters
from shared.aws.blobs import Blobs
from shared.aws.items import expression
from shared.aws.queue import Queue
from shared.aws.table import Table
from shared.errors import Transient
from shared.jobs.checks import CHECK_PARTITIONS, JobChecks, ScheduledCheck
from shared.jobs.job import Job, Metrics, QueueName
from shared.jobs.message import JobMessage
from shared.jobs.shards import ShardStore
from shared.jobs.store import ATTEMPTS_LIMIT, LEASE_MS, JobStore
from shared.jobs.writes import FIRST_CHECK_MS
from shared.settings import JanitorSettings
from shared.webhooks.store import DeliveryStore
from tests.conftest import AwsServices
from tests.events import CONTEXT
from tests.integration.jobs import NOW, claim, message_for, new_job

FIRST_CHECK = NOW + FIRST_CHECK_MS  # time of the first check of a new job


class Cloud:
    """The table and the queues, and a janitor at any time."""

    def __init__(self, services: AwsServices) -> None:
        self.sqs = services.sqs
        table, blobs = Table("jobs"), Blobs("bucket")
        self.jobs, self.shards = JobStore(table, blobs), ShardStore(table, blobs)
        self.checks, self.deliveries = JobChecks(table), DeliveryStore(table)
        self.urls: dict[QueueName, str] = {"jobs": services.jobs_queue_url, "isolated": services.isolated_queue_url}
        self.queues: dict[QueueName, Queue] = {name: Queue(url) for name, url in self.urls.items()}
        self.webhooks_url = services.webhooks_queue_url
        self.letters_url = self.sqs.create_queue(
            QueueName="dead-letters", Attributes={"VisibilityTimeout": "0"}
        )["QueueUrl"]  # fmt: skip
        self.webhook_letters_url = services.webhooks_dead_letter_queue_url

    def janitor(self, now: int) -> Janitor:
        dead_letters = DeadLetters(
            jobs=self.jobs,
            isolated=self.queues["isolated"],
            job_letters=[Queue(self.letters_url)],
            webhook_letters=Queue(self.webhook_letters_url),
            now=lambda: now,
        )
        return Janitor(
            checks=self.checks,
            jobs=self.jobs,
            shards=self.shards,
            deliveries=self.deliveries,
            queues=self.queues,
            webhooks=Queue(self.webhooks_url),
            dead_letters=dead_letters,
            now=lambda: now,
        )

    def tick(self, now: int) -> dict[str, int]:
        return dict[str, int](self.janitor(now).tick().items())

    def create(self, **changes: Any) -> Job:
        job = new_job(**changes)
        self.jobs.create(job, b'{"documents": [{"text": "Ada."}]}')
        return job

    def get(self, job: Job) -> Job:
        found = self.jobs.get(job.id, now=NOW)
        assert found is not None
        return found

    def split(self, total: int = 3) -> Job:
        """Create a big job that a worker has split into `total` shards."""
        job = self.create(characters=10**6)
        assert self.shards.split(claim(self.jobs, job), total, now=NOW)
        return self.get(job)

    def take_messages(self, queue: QueueName) -> list[dict[str, Any]]:
        """Return the messages of a queue and delete them, as if a worker had received them and died."""
        url, messages = self.urls[queue], []
        while received := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for one in received:
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
                messages.append(json.loads(one["Body"]))
        return messages


@pytest.fixture
def cloud(aws_services: AwsServices) -> Cloud:
    return Cloud(aws_services)


def test_job_is_not_checked_before_its_time(cloud: Cloud) -> None:
    cloud.create()
    assert cloud.tick(FIRST_CHECK - 1) == {}


def test_lost_message_of_a_queued_job_is_sent_again(cloud: Cloud) -> None:
    job = cloud.create()
    assert cloud.tick(FIRST_CHECK) == {"resent": 1}
    assert cloud.take_messages("jobs") == [{"job": job.id, "run": 1}]
    assert cloud.get(job).next_check_at == FIRST_CHECK + FIRST_CHECK_MS


def test_interval_between_checks_doubles_while_a_job_waits_in_its_queue(cloud: Cloud) -> None:
    jobs = [cloud.create() for _ in range(20)]
    cloud.queues["jobs"].send(message_for(jobs[0]), client_id="c_1")
    now = FIRST_CHECK
    for _ in range(4):
        assert cloud.tick(now) == {"waiting": 20}
        assert cloud.get(jobs[0]).next_check_at == now + (now - NOW)
        now += now - NOW
    assert len(cloud.take_messages("jobs")) == 1


def test_claimed_job_is_checked_again_when_its_lease_expires(cloud: Cloud) -> None:
    job = cloud.create()
    claim(cloud.jobs, job, now=FIRST_CHECK - 1)
    assert cloud.tick(FIRST_CHECK) == {"at_work": 1}
    assert cloud.get(job).next_check_at == FIRST_CHECK + LEASE_MS
    assert cloud.take_messages("jobs") == cloud.take_messages("isolated") == []


def test_job_with_an_expired_lease_is_sent_to_the_isolated_queue(cloud: Cloud) -> None:
    job = cloud.create()
    claim(cloud.jobs, job, now=NOW)
    now = NOW + LEASE_MS + 1
    assert cloud.tick(now) == {"resent": 1}
    assert cloud.take_messages("isolated") == [{"job": job.id, "run": 1}]
    assert claim(cloud.jobs, job, claim_token="b", now=now).attempt == 2


def test_job_fails_if_every_worker_dies(cloud: Cloud) -> None:
    job = cloud.create()
    now = NOW
    for attempt in range(ATTEMPTS_LIMIT):
        claim(cloud.jobs, job, claim_token=str(attempt), now=now)
        now += 10 * LEASE_MS
        outcomes = cloud.tick(now)
    assert outcomes == {"failed": 1}
    failed = cloud.get(job)
    assert failed.failure is not None
    assert (failed.status, failed.failure.code, failed.next_check_at) == ("failed", "attempts_exhausted", None)


@pytest.mark.parametrize("is_running", [False, True])
def test_job_expires_at_its_deadline(cloud: Cloud, is_running: bool) -> None:
    job = cloud.create(deadline=FIRST_CHECK)
    if is_running:
        claim(cloud.jobs, job, now=FIRST_CHECK - 1)
    assert cloud.tick(FIRST_CHECK) == {"expired": 1}
    assert cloud.get(job).status == "expired"
    assert cloud.tick(FIRST_CHECK + 10**7) == {}


def test_worker_that_finishes_after_the_deadline_changes_nothing(cloud: Cloud) -> None:
    job = cloud.create(deadline=FIRST_CHECK)
    late = claim(cloud.jobs, job, now=FIRST_CHECK - 1)
    cloud.tick(FIRST_CHECK)
    assert not cloud.jobs.succeed(late, b"{}", metrics=Metrics(), now=FIRST_CHECK + 1)
    assert cloud.get(job).status == "expired"


def test_missing_shards_are_sent_again_and_cost_no_attempt_after_progress(cloud: Cloud) -> None:
    """If the worker of one shard died, its message is sent again before the other shards are done."""
    job = cloud.split()
    cloud.shards.record_done(job, 0, b"{}")
    assert cloud.tick(FIRST_CHECK) == {"resent": 1}
    assert sorted(message["shard"] for message in cloud.take_messages("isolated")) == [1, 2]
    assert cloud.get(job).attempt == 1


def test_missing_shards_are_sent_again_and_cost_an_attempt_without_progress(cloud: Cloud) -> None:
    job = cloud.split()
    cloud.shards.record_done(job, 1, b"{}")
    cloud.tick(FIRST_CHECK)
    cloud.take_messages("isolated")
    assert cloud.tick(FIRST_CHECK + FIRST_CHECK_MS) == {"resent": 1}
    assert sorted(message["shard"] for message in cloud.take_messages("isolated")) == [0, 2]
    assert cloud.get(job).attempt == 2


def test_split_job_waits_behind_a_backlog(cloud: Cloud) -> None:
    job = cloud.split()
    cloud.queues["isolated"].send(JobMessage(job="another", run=1), client_id="c_2")
    assert cloud.tick(FIRST_CHECK) == {"waiting": 1}
    assert cloud.get(job).attempt == 1


def test_complete_split_is_sent_to_be_merged(cloud: Cloud) -> None:
    job = cloud.split(total=1)
    cloud.shards.record_done(job, 0, b"{}")
    assert cloud.tick(FIRST_CHECK) == {"resent": 1}
    assert cloud.take_messages("isolated") == [{"job": job.id, "run": 1}]
    assert cloud.jobs.claim_merge(message_for(job), claim_token="m", now=FIRST_CHECK) is not None


def test_merge_whose_worker_died_is_sent_again(cloud: Cloud) -> None:
    job = cloud.split(total=1)
    cloud.shards.record_done(job, 0, b"{}")
    assert cloud.jobs.claim_merge(message_for(job), claim_token="m", now=FIRST_CHECK) is not None
    assert cloud.tick(FIRST_CHECK + 1) == {"at_work": 1}
    later = FIRST_CHECK + LEASE_MS + 2
    assert cloud.tick(later) == {"resent": 1}
    assert cloud.jobs.claim_merge(message_for(job), claim_token="n", now=later) is not None


def test_job_fails_if_its_shards_never_make_progress(cloud: Cloud) -> None:
    job = cloud.split()
    outcomes = []
    for step in range(5):
        outcomes.append(cloud.tick(FIRST_CHECK + step * FIRST_CHECK_MS))
        cloud.take_messages("isolated")
    assert outcomes[:4] == [{"resent": 1}] * 4
    assert outcomes[4] == {"failed": 1}
    assert cloud.get(job).status == "failed"


def test_scheduled_check_of_an_ended_job_is_removed(cloud: Cloud) -> None:
    job = cloud.create(status="succeeded")
    assert cloud.tick(FIRST_CHECK) == {"unscheduled": 1}
    assert cloud.get(job).next_check_at is None
    assert cloud.tick(FIRST_CHECK) == {}


class TestDeadLetters:
    def send(self, cloud: Cloud, body: Any) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        cloud.sqs.send_message(QueueUrl=cloud.letters_url, MessageBody=text)

    def count(self, cloud: Cloud) -> int:
        received = cloud.sqs.receive_message(QueueUrl=cloud.letters_url, MaxNumberOfMessages=10)
        return len(received.get("Messages", []))

    def test_dead_letter_of_an_open_job_is_sent_to_the_isolated_queue(self, cloud: Cloud) -> None:
        job = cloud.create()
        self.send(cloud, {"job": job.id, "run": 1})
        assert cloud.tick(NOW) == {"requeued": 1}
        assert cloud.take_messages("isolated") == [{"job": job.id, "run": 1}]
        assert self.count(cloud) == 0

    def test_dead_letter_of_a_shard_keeps_its_shard(self, cloud: Cloud) -> None:
        job = cloud.split()
        self.send(cloud, {"job": job.id, "run": 1, "shard": 2})
        cloud.tick(NOW)
        assert cloud.take_messages("isolated") == [{"job": job.id, "run": 1, "shard": 2}]

    @pytest.mark.parametrize("run", [1, 2])
    def test_dead_letter_of_an_ended_or_unknown_run_is_dropped(self, cloud: Cloud, run: int) -> None:
        job = cloud.create(status="succeeded", next_check_at=None)
        self.send(cloud, {"job": job.id, "run": run})
        self.send(cloud, {"job": "unknown", "run": 1})
        assert cloud.tick(NOW) == {"dropped": 2}
        assert self.count(cloud) == 0

    @pytest.mark.parametrize("body", ["{", "[]", '{"job": 1, "run": 1}', '{"job": "x", "run": 0}', '{"job": "x"}'])
    def test_malformed_dead_letter_stays(self, cloud: Cloud, body: str) -> None:
        self.send(cloud, body)
        assert cloud.tick(NOW)["unreadable"] >= 1
        assert self.count(cloud) == 1


@pytest.mark.usefixtures("one_call_at_a_time")
def test_concurrent_ticks_send_each_message_once(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [cloud.create() for _ in range(40)]
    # Otherwise the second tick would see the messages of the first as a backlog.
    monkeypatch.setattr(cloud.queues["jobs"], "has_visible_messages", lambda: False)
    with ThreadPoolExecutor(max_workers=2) as threads:
        both = list(threads.map(lambda _: cloud.tick(FIRST_CHECK), range(2)))
    assert sum(outcomes.get("resent", 0) for outcomes in both) == 40
    assert Counter(message["job"] for message in cloud.take_messages("jobs")) == {job.id: 1 for job in jobs}


def test_jobs_of_a_tick_that_died_are_checked_again(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """This includes the jobs whose write succeeded, but whose message was not sent."""
    jobs = [cloud.create() for _ in range(6)]
    sent: list[str] = []

    def send(message: JobMessage, *, client_id: str) -> None:
        if len(sent) == 2:
            raise SystemExit
        sent.append(message.job)

    monkeypatch.setattr(cloud.queues["jobs"], "send", send)
    with pytest.raises(SystemExit):
        cloud.tick(FIRST_CHECK)
    monkeypatch.undo()
    resent = set()
    for now in (FIRST_CHECK, FIRST_CHECK + 3 * FIRST_CHECK_MS):
        cloud.tick(now)
        resent |= {message["job"] for message in cloud.take_messages("jobs")}
    assert resent | set(sent) == {job.id for job in jobs}


def test_check_that_a_throttled_table_refused_is_done_at_the_next_tick(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = cloud.create()

    def throttle(*_: Any, **__: Any) -> bool:
        raise Transient("throttled")

    monkeypatch.setattr(cloud.checks, "reschedule", throttle)
    assert cloud.tick(FIRST_CHECK) == {"failed_to_check": 1}
    monkeypatch.undo()
    assert cloud.tick(FIRST_CHECK) == {"resent": 1}
    assert cloud.take_messages("jobs") == [{"job": job.id, "run": 1}]


def test_tick_without_time_checks_nothing(cloud: Cloud) -> None:
    cloud.create()
    assert cloud.janitor(FIRST_CHECK).tick(lambda: False) == {}


def test_stale_index_entries_are_skipped(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a stale entry differs from the time in the job's item."""
    cloud.create()
    stale = [
        check
        for partition in range(CHECK_PARTITIONS)
        for check in cloud.checks.list_due(partition, now=FIRST_CHECK, limit=10)
    ]
    cloud.tick(FIRST_CHECK)

    def list_stale(partition: int, *, now: int, limit: int) -> list[ScheduledCheck]:
        return stale if partition == 0 else []

    monkeypatch.setattr(cloud.checks, "list_due", list_stale)
    cloud.take_messages("jobs")
    assert cloud.tick(FIRST_CHECK + 1) == {}
    assert cloud.take_messages("jobs") == []


class TestApp:
    """The events of the schedules."""

    @pytest.fixture
    def app(self, cloud: Cloud) -> Callable[[int], JanitorApp]:
        """Provide a function that builds the application for a time (ms)."""
        settings = JanitorSettings(
            jobs_table="jobs",
            bucket="bucket",
            jobs_queue_url=cloud.urls["jobs"],
            isolated_queue_url=cloud.urls["isolated"],
            worker_alias_arn="arn:aws:lambda:eu-west-2:123456789012:function:worker:live",
            worker_version="1",
            webhooks_queue_url=cloud.webhooks_url,
            jobs_dead_letter_queue_url=cloud.letters_url,
            isolated_dead_letter_queue_url=cloud.letters_url,
            webhooks_dead_letter_queue_url=cloud.webhook_letters_url,
        )
        return lambda now: build(settings, lambda: now)

    def test_tick_returns_the_count_of_each_outcome(self, cloud: Cloud, app: Callable[[int], JanitorApp]) -> None:
        cloud.create()
        assert app(FIRST_CHECK).handle({}, CONTEXT) == {"resent": 1}

    def test_failed_warm_up_does_not_fail_the_invocation(self, app: Callable[[int], JanitorApp]) -> None:
        """There is no worker function here."""
        assert app(NOW).handle({"warm_up": 2}, CONTEXT) == {"pings": 0}


def test_expression_derives_its_tables_of_names_and_values() -> None:
    """Reserved words get an alias, too."""
    built = expression({"status": "x", "unused": 1}, UpdateExpression="SET #status = :status REMOVE #lease")
    assert built["ExpressionAttributeNames"] == {"#status": "status", "#lease": "lease"}
    assert built["ExpressionAttributeValues"] == {":status": {"S": "x"}}
