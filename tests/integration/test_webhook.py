"""Announcements and deliveries over moto: each end of a run arrives at least once and always under one id.

The receiver is real and on a loopback port; time is the test's. What dies half-way is followed by the janitor's tick.
"""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from functions.janitor.due import Janitor
from functions.webhook.delivery import Deliverer
from functions.webhook.schedule import DELAYS_SECONDS, Schedule
from functions.webhook.signing import new_secret
from functions.webhook.transport import Transport
from shared import announcements, aws
from shared.blobs import Blobs
from shared.clients import ROTATION_MS, ClientTable, new_client
from shared.clock import now_ms
from shared.deliveries import ATTEMPT_MS, DeliveryStore, replay
from shared.due import DueJobs
from shared.errors import ModelFailed, Transient
from shared.models import Delivery, Job, Metrics, Status, Webhook, WebhookMessage
from shared.queues import DeadLetterQueue, Lane
from shared.store import FIRST_LOOK_MS
from shared.vault import Vault
from tests.conftest import made_up_credentials, provision
from tests.integration.test_store import claimed, new_job
from tests.receivers import Receiver, hangs, running, says

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Busy\r\nretry-after: 999999\r\ncontent-length: 0\r\n\r\n"
GONE = b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"
MOVED = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"


class Dies(BaseException):
    """The process is gone."""


class Cloud:
    """Store, queues, a client with a signing secret, and a clock that stands still unless it is moved."""

    def __init__(self, services: SimpleNamespace) -> None:
        self.services = services
        self.now = now_ms()  # receivers refuse what is old
        self.store = DueJobs("jobs", Blobs("bucket"))
        self.deliveries = DeliveryStore("jobs")
        self.queue = Lane(services.webhooks_queue_url)
        self.clients = ClientTable("clients")
        self.kms = boto3.client("kms")
        self.vault = Vault(self.kms.create_key()["KeyMetadata"]["Arn"])
        client, _ = new_client(name="tests", scope="jobs:write")
        self.clients.put(client)
        self.client_id = client.client_id
        self.secret = self.rotate()
        self.deliverer = Deliverer(
            deliveries=self.deliveries,
            clients=self.clients,
            vault=Vault(),
            transport=Transport(allow_loopback=True, deadline_seconds=2),
            webhooks=self.queue,
            base_url="https://api.example",
            schedule=Schedule(),
            now=lambda: self.now,
            chance=lambda: 0.5,
        )

    def rotate(self) -> str:
        secret = new_secret()
        assert self.clients.rotate_webhook_secret(self.client_id, self.vault.seal(self.client_id, secret), now=self.now)
        return secret

    def job(self, url: str, **changes: Any) -> Job:
        job = new_job(
            client_id=self.client_id, created_at=self.now, queued_at=self.now, deadline=self.now + 10**8,
            expires_at=self.now // 1000 + 7 * 86_400, webhook=Webhook(url=url), **changes,
        )  # fmt: skip
        self.store.create(job, b'{"documents": [{"text": "Ada."}]}')
        return job

    def ended(self, url: str, status: Status = "succeeded", **changes: Any) -> Job:
        """A job that a worker has finished, its message not sent yet."""
        job = self.job(url, **changes)
        mine = claimed(self.store, job, now=self.now)
        if status == "failed":
            assert self.store.fail(mine, ModelFailed("no"), metrics=Metrics(), now=self.now)
        else:
            assert self.store.succeed(mine, b"{}", metrics=Metrics(), now=self.now)
        return self.kept(job)

    def kept(self, job: Job) -> Job:
        kept = self.deliveries.job(job.id)
        assert kept is not None
        return kept

    def delivery(self, job: Job, part: str = "delivery#1.succeeded") -> Delivery:
        found = self.deliveries.get(job.id, part)
        assert found is not None
        return found

    def messages(self) -> list[WebhookMessage]:
        """Those that can be received, and are received."""
        url, found = self.services.webhooks_queue_url, []
        while received := self.services.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for one in received:
                self.services.sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
                found.append(WebhookMessage.model_validate_json(one["Body"]))
        return found

    def tick(self) -> Counter[str]:
        dead = DeadLetterQueue(self.services.webhooks_dead_letter_queue_url)
        lanes = {"jobs": Lane(self.services.jobs_queue_url), "solo": Lane(self.services.solo_queue_url)}
        return Janitor(self.store, lanes, [], lambda: self.now, self.deliveries, self.queue, dead).tick()

    def work(self) -> list[str]:
        """The function handles what there is."""
        return [self.deliverer.handle(message) for message in self.messages()]

    def pass_time(self, milliseconds: int) -> list[str]:
        """Time passes, the janitor ticks, the function handles what it sends."""
        self.now += milliseconds
        self.tick()
        return self.work()


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    made_up_credentials(monkeypatch)
    with mock_aws():
        yield Cloud(provision(signing=False))


@pytest.fixture
def start() -> Iterator[Callable[..., Receiver]]:
    """Starts receivers."""
    yield from running()


def url_of(receiver: Receiver) -> str:
    return f"http://127.0.0.1:{receiver.port}/hook"


def unheard() -> str:
    """The URL of a receiver that is down."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}/hook"


def parsed(request: bytes) -> tuple[dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    lines = (line.partition(": ") for line in head.decode().split("\r\n")[1:])
    return {name.lower(): value for name, _, value in lines}, body


def ids(receiver: Receiver) -> list[str]:
    return [parsed(request)[0]["webhook-id"] for request in receiver.requests]


class TestDelivering:
    def test_end_of_a_run_is_announced_once_and_verifies(self, cloud: Cloud, start: Any) -> None:
        receiver = start(says(OK))
        job = cloud.ended(url_of(receiver))
        announcements.announce(cloud.queue, job, "succeeded")
        assert cloud.work() == ["delivered"]
        headers, body = parsed(receiver.requests[0])
        payload = Verifier(cloud.secret).verify(body, headers)
        assert headers["webhook-id"] == f"{job.id}.1.succeeded"
        assert payload["type"] == "job.succeeded"
        assert payload["data"]["id"] == job.id
        assert payload["data"]["status"] == "succeeded"
        assert not {"result", "result_url"} & payload["data"].keys()
        assert payload["data"]["webhook"] == {"url": url_of(receiver), "state": "pending", "attempts": 0}
        assert len(body) < 20_000
        kept = cloud.delivery(job)
        assert (kept.state, kept.made, kept.due_at, kept.attempts[0].status) == ("delivered", 1, None, 200)
        assert kept.attempts[0].excerpt == "ok"
        assert cloud.kept(job).due_at is None
        assert cloud.secret not in repr(cloud.deliverer)
        assert cloud.pass_time(10**8) == []

    def test_end_that_arrives_at_once_costs_three_writes(self, cloud: Cloud, start: Any) -> None:
        """To the announcement, its attempt claimed; to the job, which is not due any more; and what came of it."""
        receiver = start(says(OK))
        announcements.announce(cloud.queue, cloud.ended(url_of(receiver)), "succeeded")
        calls: list[str] = []
        events = cloud.deliveries._items._dynamodb.meta.events
        events.register("before-call.dynamodb", lambda model, **_: calls.append(model.name))
        assert cloud.work() == ["delivered"]
        assert calls == ["GetItem", "PutItem", "UpdateItem", "UpdateItem"]

    @pytest.mark.parametrize("touched", ["body", "webhook-id", "webhook-timestamp"])
    def test_touched_delivery_is_rejected(self, cloud: Cloud, start: Any, touched: str) -> None:
        receiver = start(says(OK))
        announcements.announce(cloud.queue, cloud.ended(url_of(receiver)), "succeeded")
        cloud.work()
        headers, body = parsed(receiver.requests[0])
        changed = {**headers, "webhook-id": "x.1.succeeded"} if touched == "webhook-id" else dict(headers)
        if touched == "webhook-timestamp":
            changed[touched] = str(int(headers[touched]) + 1)
        with pytest.raises(WebhookVerificationError):
            Verifier(cloud.secret).verify(body + b" " if touched == "body" else body, changed)

    def test_both_secrets_sign_for_a_day(self, cloud: Cloud, start: Any) -> None:
        receiver = start(says(OK))
        former, current, began = cloud.secret, cloud.rotate(), cloud.now
        for later, verifying, signatures in ((0, (former, current), 2), (ROTATION_MS, (current,), 1)):
            cloud.now = began + later
            announcements.announce(cloud.queue, cloud.ended(url_of(receiver)), "succeeded")
            assert cloud.work() == ["delivered"]
            headers, body = parsed(receiver.requests[-1])
            assert len(headers["webhook-signature"].split(" ")) == signatures
            if not later:  # the library refuses tomorrow
                for secret in verifying:
                    assert Verifier(secret).verify(body, headers)

    def test_secrets_open_for_their_client_alone(self, cloud: Cloud) -> None:
        sealed = cloud.vault.seal(cloud.client_id, "whsec_x")
        assert "whsec_x" not in sealed
        assert cloud.vault.open(cloud.client_id, sealed) == "whsec_x"
        with pytest.raises(Transient):
            cloud.vault.open("c_another", sealed)

    def test_two_rotations_at_once_lose_neither_silently(self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
        client = cloud.clients.get(cloud.client_id)
        cloud.rotate()
        monkeypatch.setattr(cloud.clients, "get", lambda _: client)
        with pytest.raises(aws.ConditionFailed):
            cloud.rotate()

    def test_nothing_goes_out_unsigned(self, cloud: Cloud, start: Any) -> None:
        receiver = start(says(OK))
        other, _ = new_client(name="bare", scope="jobs:write")
        cloud.clients.put(other)
        cloud.client_id = other.client_id
        job = cloud.ended(url_of(receiver))
        announcements.announce(cloud.queue, job, "succeeded")
        assert cloud.work() == ["pending"]
        assert receiver.connections == 0
        assert cloud.delivery(job).attempts[0].error == "not_signed"

    def test_events_that_nobody_asked_for_are_not_announced(self, cloud: Cloud, start: Any) -> None:
        receiver = start(says(OK))
        webhook = Webhook(url=url_of(receiver), events=frozenset({"job.failed"}))
        job = cloud.job(url_of(receiver)).model_copy(update={"webhook": webhook})
        cloud.store.create(job, b"{}")
        assert cloud.store.succeed(claimed(cloud.store, job, now=cloud.now), b"{}", metrics=Metrics(), now=cloud.now)
        announcements.announce(cloud.queue, cloud.kept(job), "succeeded")
        assert (cloud.kept(job).due_at, cloud.messages()) == (None, [])


class TestSchedule:
    def test_receiver_that_is_down_for_four_attempts_gets_the_fifth(self, cloud: Cloud, start: Any) -> None:
        """The second attempt is a delayed message, the others are due items; all have one id."""
        url = unheard()
        job = cloud.ended(url)
        announcements.announce(cloud.queue, job, "succeeded")
        assert cloud.work() == ["pending"]
        assert cloud.delivery(job).next_at == cloud.now + 5_000
        assert cloud.messages() == []  # delayed
        assert cloud.pass_time(5_000) == []  # not the janitor's yet
        assert cloud.deliverer.handle(cloud.delivery(job).message) == "pending"
        for delay in DELAYS_SECONDS[2:4]:
            assert cloud.pass_time(delay * 1_000 - 1) == []
            assert cloud.pass_time(1) == ["pending"]
        receiver = start(says(OK), port=int(url.split(":")[2].split("/")[0]))
        assert cloud.pass_time(DELAYS_SECONDS[4] * 1_000) == ["delivered"]
        kept = cloud.delivery(job)
        assert (kept.state, kept.made, ids(receiver)) == ("delivered", 5, [f"{job.id}.1.succeeded"])
        assert [attempt.error for attempt in kept.attempts] == ["connection_failed"] * 4 + [None]

    def test_delivery_fails_after_eight_attempts_and_can_be_made_again(self, cloud: Cloud, start: Any) -> None:
        url = unheard()
        job = self.failed(cloud, url)
        assert (cloud.delivery(job).state, cloud.delivery(job).made) == ("failed", 8)
        assert cloud.pass_time(10**9) == []
        receiver = start(says(OK), port=int(url.split(":")[2].split("/")[0]))
        again = cloud.deliveries.redeliver(cloud.delivery(job), now=cloud.now)
        assert again is not None
        assert cloud.deliverer.handle(again.message) == "delivered"
        assert ids(receiver) == [f"{job.id}.1.succeeded"]
        assert (cloud.delivery(job).state, cloud.delivery(job).made) == ("delivered", 9)

    def failed(self, cloud: Cloud, url: str) -> Job:
        job = cloud.ended(url)
        announcements.announce(cloud.queue, job, "succeeded")
        cloud.work()
        while cloud.delivery(job).state == "pending":
            cloud.pass_time(36_000_000)
        return job

    def test_outage_is_replayed_for_its_time_only(self, cloud: Cloud, start: Any) -> None:
        before = self.failed(cloud, unheard())
        since = cloud.now + 1
        cloud.now += 2
        down = self.failed(cloud, unheard())
        receiver = start(says(OK))
        announcements.announce(cloud.queue, cloud.ended(url_of(receiver)), "succeeded")
        cloud.work()
        again = list(replay(cloud.deliveries, cloud.client_id, since=since, now=cloud.now))
        assert [delivery.id for delivery in again] == [down.id]
        assert list(replay(cloud.deliveries, cloud.client_id, since=since, now=cloud.now)) == []
        assert list(replay(cloud.deliveries, "c_another", since=0, now=cloud.now)) == []
        assert cloud.delivery(before).state == "failed"
        outcomes = cloud.pass_time(FIRST_LOOK_MS)
        # Without its message the janitor sends it. On a slow machine a delayed one of long ago comes, too.
        assert [outcome for outcome in outcomes if outcome != "nothing to do"] == ["pending"]

    def test_delivery_that_is_made_again_outlives_its_attempts(self, cloud: Cloud) -> None:
        """Begun in the last hours of its job, as after a long outage, it is not lost with it."""
        job = self.failed(cloud, unheard())
        cloud.now = job.expires_at * 1_000 - 3_600_000
        again = cloud.deliveries.redeliver(cloud.delivery(job), now=cloud.now)
        assert again is not None
        latest = cloud.now // 1_000 + 2 * 1.2 * sum(DELAYS_SECONDS)  # each delay at its longest, and stretched
        assert cloud.delivery(job).expires_at > latest

    @pytest.mark.parametrize(
        ("answer", "state", "status"), [(GONE, "disabled", 410), (MOVED, "pending", 302), (BUSY, "pending", 503)]
    )
    def test_answers_decide_what_is_next(
        self, cloud: Cloud, start: Any, answer: bytes, state: str, status: int
    ) -> None:
        receiver = start(says(answer))
        job = cloud.ended(url_of(receiver))
        announcements.announce(cloud.queue, job, "succeeded")
        assert cloud.work() == [state]
        kept = cloud.delivery(job)
        assert (kept.attempts[0].status, receiver.connections) == (status, 1)
        if status == 503:
            assert kept.next_at == cloud.now + 2 * DELAYS_SECONDS[1] * 1_000

    def test_receiver_that_hangs_ends_as_timed_out(self, cloud: Cloud, start: Any) -> None:
        receiver = start(hangs())
        job = cloud.ended(url_of(receiver))
        announcements.announce(cloud.queue, job, "succeeded")
        assert cloud.work() == ["pending"]
        assert cloud.delivery(job).attempts[0].error == "timed_out"

    def test_log_is_bounded(self, cloud: Cloud) -> None:
        job = self.failed(cloud, unheard())
        for _ in range(2):
            assert cloud.deliveries.redeliver(cloud.delivery(job), now=cloud.now)
            cloud.work()
            while cloud.delivery(job).state == "pending":
                cloud.pass_time(36_000_000)
        assert (cloud.delivery(job).made, len(cloud.delivery(job).attempts)) == (24, 16)


class TestCopies:
    def test_copies_of_a_message_make_one_attempt(self, cloud: Cloud, start: Any) -> None:
        receiver = start(says(OK))
        job = cloud.ended(url_of(receiver))
        for _ in range(3):
            announcements.announce(cloud.queue, job, "succeeded")
        assert sorted(cloud.work()) == ["delivered", "nothing to do", "nothing to do"]
        assert receiver.connections == 1

    def test_copies_at_once_make_one_attempt(self, cloud: Cloud, start: Any) -> None:
        """The second comes while the first is waiting for the receiver's answer."""
        asked, answered = threading.Event(), threading.Event()

        def answer(connection: socket.socket, wait: Any) -> None:
            asked.set()
            answered.wait(5)
            connection.sendall(OK)

        receiver = start(answer)
        job = cloud.ended(url_of(receiver))
        message = WebhookMessage(job=job.id, run=1, status="succeeded")
        outcomes: list[str] = []
        first = threading.Thread(target=lambda: outcomes.append(cloud.deliverer.handle(message)))
        first.start()
        assert asked.wait(5)
        outcomes.append(cloud.deliverer.handle(message))
        assert cloud.deliveries.redeliver(cloud.delivery(job), now=cloud.now) is None
        answered.set()
        first.join(5)
        assert outcomes == ["nothing to do", "delivered"]
        assert receiver.connections == 1

    def test_late_copy_of_a_former_attempt_makes_none(self, cloud: Cloud) -> None:
        job = cloud.ended(unheard())
        message = WebhookMessage(job=job.id, run=1, status="succeeded")
        assert cloud.deliverer.handle(message) == "pending"
        assert cloud.deliverer.handle(message) == "nothing to do"
        assert cloud.delivery(job).made == 1

    def test_copy_that_read_before_another_made_the_attempt_makes_none(self, cloud: Cloud) -> None:
        read = cloud.deliveries.announce(cloud.ended(unheard()), b"{}", now=cloud.now)
        mine = cloud.deliveries.claim(read, owner="a", now=cloud.now)
        assert mine is not None
        assert cloud.deliveries.record(mine, None, state="pending", next_at=cloud.now, due_at=cloud.now)
        assert cloud.deliveries.claim(read, owner="b", now=cloud.now) is None

    @pytest.mark.parametrize(
        "wrong",
        [{"job": "nobody"}, {"run": 2}, {"status": "failed"}, {"attempt": 3}],
        ids=lambda change: next(iter(change)),
    )
    def test_message_about_nothing_does_nothing(self, cloud: Cloud, wrong: dict[str, Any]) -> None:
        job = cloud.ended(unheard())
        message = WebhookMessage.model_validate({"job": job.id, "run": 1, "status": "succeeded", **wrong})
        assert cloud.deliverer.handle(message) == "nothing to do"


def dying(call: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    """The process dies just before `call`, or just after it."""

    def die(*arguments: Any, **options: Any) -> Any:
        if after:
            call(*arguments, **options)
        raise Dies

    return die


class TestCrashes:
    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("step", ["_put_or_find", "_settle", "claim", "record"])
    def test_death_around_each_write_loses_nothing_and_keeps_the_id(
        self, cloud: Cloud, start: Any, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
    ) -> None:
        receiver = start(says(OK))
        job = cloud.ended(url_of(receiver))
        announcements.announce(cloud.queue, job, "succeeded")
        if step == "claim":  # announced by another, as before the job's next run: else it is claimed as it is made
            cloud.deliveries.announce(job, b"{}", now=cloud.now)
        with monkeypatch.context() as patch:
            patch.setattr(cloud.deliveries, step, dying(getattr(cloud.deliveries, step), after=after))
            with pytest.raises(Dies):
                cloud.work()
        for _ in range(4):
            cloud.pass_time(ATTEMPT_MS + 1)
        assert set(ids(receiver)) == {f"{job.id}.1.succeeded"}
        assert len(receiver.requests) == (2 if (step, after) == ("record", False) else 1)
        assert (cloud.delivery(job).state, cloud.kept(job).due_at) == ("delivered", None)

    def test_death_of_the_last_attempt_is_not_waited_for_for_ever(
        self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = cloud.ended(unheard())
        announcements.announce(cloud.queue, job, "succeeded")
        cloud.work()
        while cloud.delivery(job).made < 7:
            cloud.pass_time(36_000_000)
        with monkeypatch.context() as patch:
            patch.setattr(cloud.deliveries, "record", dying(cloud.deliveries.record, after=False))
            with pytest.raises(Dies):
                cloud.pass_time(36_000_000)
        assert cloud.pass_time(ATTEMPT_MS + 1) == ["failed"]
        assert cloud.delivery(job).state == "failed"

    def test_zombie_that_answers_late_changes_nothing(self, cloud: Cloud) -> None:
        job = cloud.ended(unheard())
        cloud.deliverer.handle(WebhookMessage(job=job.id, run=1, status="succeeded"))
        zombie = cloud.deliveries.claim(cloud.delivery(job), owner="z", now=cloud.now)
        assert zombie is not None
        cloud.now += ATTEMPT_MS + 1
        assert cloud.deliveries.claim(cloud.delivery(job), owner="a", now=cloud.now) is not None
        assert not cloud.deliveries.record(zombie, None, state="delivered")
        assert cloud.delivery(job).state == "pending"

    def test_zombie_that_answers_after_a_redelivery_has_begun_does_not_end_it(self, cloud: Cloud, start: Any) -> None:
        receiver = start(says(OK))
        job = cloud.ended(url_of(receiver))
        zombie = cloud.deliveries.claim(cloud.deliveries.announce(job, b"{}", now=cloud.now), owner="z", now=cloud.now)
        assert zombie is not None
        cloud.now += ATTEMPT_MS + 1
        again = cloud.deliveries.redeliver(cloud.delivery(job), now=cloud.now)
        assert again is not None
        assert not cloud.deliveries.record(zombie, None, state="failed")
        assert cloud.deliverer.handle(again.message) == "delivered"

    def test_claim_whose_answer_was_lost_is_the_same_claim(self, cloud: Cloud) -> None:
        job = cloud.ended(unheard())
        delivery = cloud.deliveries.announce(job, b"{}", now=cloud.now)
        first = cloud.deliveries.claim(delivery, owner="a", now=cloud.now)
        assert first == cloud.deliveries.claim(delivery, owner="a", now=cloud.now)
        assert cloud.deliveries.claim(delivery, owner="b", now=cloud.now) is None

    def test_writer_that_dies_before_its_message_leaves_it_to_the_janitor(self, cloud: Cloud, start: Any) -> None:
        receiver = start(says(OK))
        job = cloud.ended(url_of(receiver))
        assert cloud.pass_time(FIRST_LOOK_MS - 1) == []
        assert cloud.pass_time(1) == ["delivered"]
        assert ids(receiver) == [f"{job.id}.1.succeeded"]

    def test_secret_that_cannot_be_opened_costs_no_attempt(
        self, cloud: Cloud, start: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        receiver = start(says(OK))
        job = cloud.ended(url_of(receiver))

        def busy(*_: str) -> str:
            raise Transient("KMS is away")

        with monkeypatch.context() as patch:
            patch.setattr(cloud.deliverer.vault, "open", busy)
            with pytest.raises(Transient):
                cloud.deliverer.handle(WebhookMessage(job=job.id, run=1, status="succeeded"))
        assert cloud.pass_time(FIRST_LOOK_MS) == ["delivered"]
        assert cloud.delivery(job).made == 1


class TestWhoeverEndsIt:
    def test_expiry_is_announced_by_the_janitor(self, cloud: Cloud, start: Any) -> None:
        receiver = start(says(OK))
        job = cloud.job(url_of(receiver))
        cloud.now = job.deadline
        assert cloud.tick() == {"expired": 1}
        assert cloud.work() == ["delivered"]
        assert ids(receiver) == [f"{job.id}.1.expired"]

    def test_cancel_is_announced_even_of_a_deleted_job(self, cloud: Cloud, start: Any) -> None:
        """Deleted before anybody could announce it, by a process that died thereafter."""
        receiver = start(says(OK))
        job = cloud.job(url_of(receiver))
        cloud.store.delete(job, now=cloud.now)
        assert cloud.pass_time(FIRST_LOOK_MS) == ["delivered"]
        assert ids(receiver) == [f"{job.id}.1.canceled"]
        assert cloud.kept(job).due_at is None

    def test_deletion_leaves_deliveries_on_their_way(self, cloud: Cloud, start: Any) -> None:
        url = unheard()
        job = cloud.ended(url)
        cloud.deliverer.handle(WebhookMessage(job=job.id, run=1, status="succeeded"))
        cloud.store.delete(cloud.kept(job), now=cloud.now)
        receiver = start(says(OK), port=int(url.split(":")[2].split("/")[0]))
        assert cloud.pass_time(10**6) == ["delivered"]
        assert ids(receiver) == [f"{job.id}.1.succeeded"]

    def test_next_run_waits_until_the_end_of_the_former_is_announced(self, cloud: Cloud, start: Any) -> None:
        receiver = start(says(OK))
        job = cloud.ended(url_of(receiver), "failed")
        assert cloud.store.retry(job, now=cloud.now) is None
        cloud.deliveries.announce(job, b'{"run": 1}', now=cloud.now)
        again = cloud.store.retry(cloud.kept(job), now=cloud.now)
        assert again is not None
        assert cloud.store.succeed(claimed_run(cloud, again), b"{}", metrics=Metrics(), now=cloud.now)
        assert sorted(cloud.pass_time(FIRST_LOOK_MS)) == ["delivered", "delivered"]
        assert sorted(ids(receiver)) == [f"{job.id}.1.failed", f"{job.id}.2.succeeded"]

    def test_late_announcement_of_a_former_run_does_not_touch_the_next(self, cloud: Cloud) -> None:
        job = cloud.ended(unheard(), "failed")
        cloud.deliveries.announce(job, b"{}", now=cloud.now)
        again = cloud.store.retry(cloud.kept(job), now=cloud.now)
        cloud.deliveries.announce(job, b"{}", now=cloud.now)
        assert again is not None
        assert cloud.kept(job).due_at == again.due_at


def claimed_run(cloud: Cloud, job: Job) -> Job:
    from shared.models import Message

    taken = cloud.store.claim(Message(job=job.id, run=job.run), owner="w", now=cloud.now)
    assert taken is not None
    return taken


class TestJanitor:
    def test_index_of_a_clients_jobs_holds_no_delivery(self, cloud: Cloud) -> None:
        job = cloud.ended(unheard())
        cloud.deliveries.announce(job, b"{}", now=cloud.now)
        parts = cloud.services.dynamodb.query(
            TableName="jobs", IndexName="by_client", KeyConditionExpression="client_id = :c",
            ExpressionAttributeValues={":c": {"S": cloud.client_id}},
        )["Items"]  # fmt: skip
        assert [part["part"]["S"] for part in parts] == ["job"]

    def test_long_queue_gets_few_copies(self, cloud: Cloud) -> None:
        """Looked at again after as long as was waited: a backlog of an hour costs six copies, not sixty."""
        job = cloud.ended(unheard())
        cloud.deliveries.announce(job, b"{}", now=cloud.now)
        for _ in range(60):
            cloud.now += 60_000
            cloud.tick()
        assert len(cloud.messages()) == 6

    @pytest.mark.parametrize(
        ("body", "outcome"), [('{"job": "j", "run": 1, "status": "failed"}', "dropped"), ("{", "unreadable")]
    )
    def test_dead_letters(self, cloud: Cloud, body: str, outcome: str) -> None:
        """What they were about is due by itself; what cannot be read stays for a person."""
        url = cloud.services.webhooks_dead_letter_queue_url
        cloud.services.sqs.send_message(QueueUrl=url, MessageBody=body)
        assert cloud.tick()[outcome] >= 1
        left = cloud.services.sqs.receive_message(QueueUrl=url).get("Messages", [])
        assert len(left) == (outcome == "unreadable")


def test_body_stays_small(cloud: Cloud) -> None:
    """Under 20 kB with the longest URL and the longest reason."""
    from shared.addresses import URL_LIMIT
    from shared.store import DETAIL_LIMIT
    from shared.views import announcement

    job = cloud.job("https://receiver.example/" + "x" * (URL_LIMIT - 25))
    mine = claimed(cloud.store, job, now=cloud.now)
    assert cloud.store.fail(mine, ModelFailed("\U0001f680" * DETAIL_LIMIT), metrics=Metrics(), now=cloud.now)
    body = announcement(cloud.kept(job), base_url="https://api.example")
    assert json.loads(body)["data"]["error"]["code"] == "model_failed"
    assert len(body) < 20_000
