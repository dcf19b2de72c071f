"""Webhook deliveries over moto: each event arrives at least once, and always under the same id.

The receivers are real servers on loopback ports. The tests set the time. If a process dies half-way, the janitor's tick
follows.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from functions.janitor.checks import Janitor
from functions.janitor.dead_letters import DeadLetters
from functions.webhook.app import WebhookApp
from functions.webhook.delivery import Deliverer, MessageOutcome
from functions.webhook.schedule import DELAYS_SECONDS, Schedule
from functions.webhook.signing import new_secret
from functions.webhook.transport import Transport
from shared.auth.clients import ROTATION_MS, ClientStore, new_client
from shared.aws.blobs import Blobs
from shared.aws.client import ConditionFailed
from shared.aws.queue import Queue
from shared.aws.table import Table
from shared.clock import now_ms
from shared.errors import ModelFailed, Transient
from shared.jobs.checks import JobChecks
from shared.jobs.job import Job, Metrics, Status, WebhookEndpoint
from shared.jobs.shards import ShardStore
from shared.jobs.store import JobStore
from shared.jobs.writes import FAILURE_DETAIL_LIMIT, FIRST_CHECK_MS
from shared.webhooks.delivery import Delivery
from shared.webhooks.event import WebhookMessage, notify
from shared.webhooks.payload import render_event
from shared.webhooks.secrets import SecretCipher
from shared.webhooks.store import ATTEMPT_MS, DeliveryStore, redeliver_failed
from shared.webhooks.urls import URL_LIMIT
from tests.conftest import AwsServices, provision, set_fake_credentials
from tests.events import CONTEXT, sqs_event
from tests.integration.jobs import claim, message_for, new_job
from tests.receivers import Receiver, StartReceiver, Wait, hang, manage_receivers, reply

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Busy\r\nretry-after: 999999\r\ncontent-length: 0\r\n\r\n"
GONE = b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"
MOVED = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"


class ProcessDied(BaseException):
    """The process has died. No code of the product handles this error."""


class Cloud:
    """The table, the queues, a client with a signing secret, and a clock that only the tests move."""

    def __init__(self, services: AwsServices) -> None:
        self.services = services
        self.now = now_ms()  # the current time, because receivers refuse old timestamps
        self.table, blobs = Table("jobs", dynamodb=services.dynamodb), Blobs("bucket")
        self.jobs, self.shards = JobStore(self.table, blobs), ShardStore(self.table, blobs)
        self.checks, self.deliveries = JobChecks(self.table), DeliveryStore(self.table)
        self.queue = Queue(services.webhooks_queue_url)
        self.clients = ClientStore(Table("clients"))
        self.cipher = SecretCipher(boto3.client("kms").create_key()["KeyMetadata"]["Arn"])
        client, _ = new_client(name="tests", scope="jobs:write")
        self.clients.put(client)
        self.client_id = client.client_id
        self.secret = self.rotate_secret()
        self.deliverer = Deliverer(
            deliveries=self.deliveries,
            clients=self.clients,
            cipher=SecretCipher(),
            transport=Transport(allow_loopback=True, deadline_seconds=2),
            webhooks=self.queue,
            base_url="https://api.example",
            schedule=Schedule(),
            now=lambda: self.now,
            chance=lambda: 0.5,
        )

    def rotate_secret(self) -> str:
        """Give the client a new signing secret and return it."""
        secret = new_secret()
        ciphertext = self.cipher.encrypt(self.client_id, secret)
        assert self.clients.rotate_webhook_secret(self.client_id, ciphertext, now=self.now)
        return secret

    def create(self, url: str, **changes: Any) -> Job:
        """Store a job with a webhook."""
        job = new_job(
            client_id=self.client_id, created_at=self.now, queued_at=self.now, deadline=self.now + 10**8,
            expires_at=self.now // 1000 + 7 * 86_400, webhook=WebhookEndpoint(url=url), **changes,
        )  # fmt: skip
        self.jobs.create(job, b'{"documents": [{"text": "Ada."}]}')
        return job

    def end(self, url: str, status: Status = "succeeded") -> Job:
        """Store a job that a worker has finished. The message about its end is not sent yet."""
        job = self.create(url)
        claimed = claim(self.jobs, job, now=self.now)
        if status == "failed":
            assert self.jobs.fail(claimed, ModelFailed("no"), metrics=Metrics(), now=self.now)
        else:
            assert self.jobs.succeed(claimed, b"{}", metrics=Metrics(), now=self.now)
        return self.get(job)

    def end_and_notify(self, url: str) -> Job:
        """Store a job that a worker has finished, and send the message about its end."""
        job = self.end(url)
        notify(self.queue, job, "succeeded")
        return job

    def get(self, job: Job) -> Job:
        found = self.deliveries.get_job(job.id)
        assert found is not None
        return found

    def get_delivery(self, job: Job, part: str = "delivery#1.succeeded") -> Delivery:
        found = self.deliveries.get(job.id, part)
        assert found is not None
        return found

    def take_messages(self) -> list[WebhookMessage]:
        """Return the visible messages of the queue `webhooks`, and delete them."""
        url, messages = self.services.webhooks_queue_url, []
        while received := self.services.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for one in received:
                self.services.sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
                messages.append(WebhookMessage.model_validate_json(one["Body"]))
        return messages

    def tick(self) -> dict[str, int]:
        """Let the janitor tick."""
        isolated = Queue(self.services.isolated_queue_url)
        dead_letters = DeadLetters(
            jobs=self.jobs,
            isolated=isolated,
            job_letters=[],
            webhook_letters=Queue(self.services.webhooks_dead_letter_queue_url),
            now=lambda: self.now,
        )
        janitor = Janitor(
            checks=self.checks,
            jobs=self.jobs,
            shards=self.shards,
            deliveries=self.deliveries,
            queues={"jobs": Queue(self.services.jobs_queue_url), "isolated": isolated},
            webhooks=self.queue,
            dead_letters=dead_letters,
            now=lambda: self.now,
        )
        return dict[str, int](janitor.tick().items())

    def deliver(self) -> list[MessageOutcome]:
        """Let the function `webhook` handle all visible messages."""
        return [self.deliverer.handle(message) for message in self.take_messages()]

    def pass_time(self, milliseconds: int) -> list[MessageOutcome]:
        """Move the clock, let the janitor tick, and let the function `webhook` handle all visible messages."""
        self.now += milliseconds
        self.tick()
        return self.deliver()


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    set_fake_credentials(monkeypatch)
    with mock_aws():
        yield Cloud(provision(signing=False))


@pytest.fixture
def start() -> Iterator[StartReceiver]:
    """Provide a function that starts receivers."""
    yield from manage_receivers()


def url_of(receiver: Receiver) -> str:
    return f"http://127.0.0.1:{receiver.port}/hook"


def find_closed_url() -> str:
    """Return the URL of a receiver that is down."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}/hook"


def port_of(url: str) -> int:
    return int(url.split(":")[2].split("/")[0])


def parse(request: bytes) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of a request."""
    head, _, body = request.partition(b"\r\n\r\n")
    lines = (line.partition(": ") for line in head.decode().split("\r\n")[1:])
    return {name.lower(): value for name, _, value in lines}, body


def ids(receiver: Receiver) -> list[str]:
    """Return the webhook id of each request that the receiver got."""
    return [parse(request)[0]["webhook-id"] for request in receiver.requests]


def first_message(job: Job) -> WebhookMessage:
    return WebhookMessage(job=job.id, run=1, status="succeeded")


def exhaust_attempts(cloud: Cloud, url: str) -> Job:
    """End a job whose receiver is down, and let all attempts fail."""
    job = cloud.end_and_notify(url)
    cloud.deliver()
    pass_all_delays(cloud, job)
    return job


def pass_all_delays(cloud: Cloud, job: Job) -> None:
    while cloud.get_delivery(job).state == "pending":
        cloud.pass_time(36_000_000)


class TestDelivering:
    def test_event_is_delivered_once_with_a_valid_signature(self, cloud: Cloud, start: StartReceiver) -> None:
        receiver = start(reply(OK))
        job = cloud.end_and_notify(url_of(receiver))
        assert cloud.deliver() == ["delivered"]
        headers, body = parse(receiver.requests[0])
        payload = Verifier(cloud.secret).verify(body, headers)
        assert headers["webhook-id"] == f"{job.id}.1.succeeded"
        assert payload["type"] == "job.succeeded"
        assert payload["data"]["id"] == job.id
        assert payload["data"]["status"] == "succeeded"
        assert not {"result", "result_url"} & payload["data"].keys()
        assert payload["data"]["webhook"] == {"url": url_of(receiver), "state": "pending", "attempts": 0}
        assert len(body) < 20_000
        delivery = cloud.get_delivery(job)
        assert (delivery.state, delivery.attempt_count, delivery.next_check_at) == ("delivered", 1, None)
        assert (delivery.attempts[0].status, delivery.attempts[0].excerpt) == (200, "ok")
        assert cloud.get(job).next_check_at is None
        assert cloud.secret not in repr(cloud.deliverer)
        assert cloud.pass_time(10**8) == []

    def test_delivery_at_the_first_attempt_costs_three_writes(self, cloud: Cloud, start: StartReceiver) -> None:
        """They create the delivery with a claimed attempt, remove the job's check, and record the result."""
        receiver = start(reply(OK))
        cloud.end_and_notify(url_of(receiver))
        calls: list[str] = []
        events = cloud.services.dynamodb.meta.events
        events.register("before-call.dynamodb", lambda model, **_: calls.append(model.name))
        assert cloud.deliver() == ["delivered"]
        assert calls == ["GetItem", "PutItem", "UpdateItem", "UpdateItem"]

    @pytest.mark.parametrize("changed", ["body", "webhook-id", "webhook-timestamp"])
    def test_changed_delivery_is_rejected(self, cloud: Cloud, start: StartReceiver, changed: str) -> None:
        receiver = start(reply(OK))
        cloud.end_and_notify(url_of(receiver))
        cloud.deliver()
        headers, body = parse(receiver.requests[0])
        if changed == "body":
            body += b" "
        elif changed == "webhook-id":
            headers["webhook-id"] = "x.1.succeeded"
        else:
            headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) + 1)
        with pytest.raises(WebhookVerificationError):
            Verifier(cloud.secret).verify(body, headers)

    def test_replaced_secret_signs_for_a_day(self, cloud: Cloud, start: StartReceiver) -> None:
        receiver = start(reply(OK))
        former, current, start_time = cloud.secret, cloud.rotate_secret(), cloud.now
        for later, verifying, signatures in ((0, (former, current), 2), (ROTATION_MS, (current,), 1)):
            cloud.now = start_time + later
            cloud.end_and_notify(url_of(receiver))
            assert cloud.deliver() == ["delivered"]
            headers, body = parse(receiver.requests[-1])
            assert len(headers["webhook-signature"].split(" ")) == signatures
            if not later:  # the library refuses timestamps of tomorrow
                for secret in verifying:
                    assert Verifier(secret).verify(body, headers)

    def test_ciphertext_can_be_decrypted_for_its_client_only(self, cloud: Cloud) -> None:
        ciphertext = cloud.cipher.encrypt(cloud.client_id, "whsec_x")
        assert "whsec_x" not in ciphertext
        assert cloud.cipher.decrypt(cloud.client_id, ciphertext) == "whsec_x"
        with pytest.raises(Transient):
            cloud.cipher.decrypt("c_another", ciphertext)

    def test_second_of_two_concurrent_rotations_fails(self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
        client = cloud.clients.get(cloud.client_id)
        cloud.rotate_secret()
        monkeypatch.setattr(cloud.clients, "get", lambda _: client)
        with pytest.raises(ConditionFailed):
            cloud.rotate_secret()

    def test_event_is_not_sent_unsigned(self, cloud: Cloud, start: StartReceiver) -> None:
        receiver = start(reply(OK))
        other, _ = new_client(name="without a secret", scope="jobs:write")
        cloud.clients.put(other)
        cloud.client_id = other.client_id
        job = cloud.end_and_notify(url_of(receiver))
        assert cloud.deliver() == ["pending"]
        assert receiver.connections == 0
        assert cloud.get_delivery(job).attempts[0].error == "not_signed"

    def test_event_of_another_type_is_not_sent(self, cloud: Cloud, start: StartReceiver) -> None:
        receiver = start(reply(OK))
        webhook = WebhookEndpoint(url=url_of(receiver), events=frozenset({"job.failed"}))
        job = cloud.create(url_of(receiver)).model_copy(update={"webhook": webhook})
        cloud.jobs.create(job, b"{}")
        assert cloud.jobs.succeed(claim(cloud.jobs, job, now=cloud.now), b"{}", metrics=Metrics(), now=cloud.now)
        notify(cloud.queue, cloud.get(job), "succeeded")
        assert (cloud.get(job).next_check_at, cloud.take_messages()) == (None, [])


class TestSchedule:
    def test_receiver_that_is_down_for_four_attempts_gets_the_fifth(self, cloud: Cloud, start: StartReceiver) -> None:
        """A delayed message starts the second attempt; the janitor's checks start the others. All have one id."""
        url = find_closed_url()
        job = cloud.end_and_notify(url)
        assert cloud.deliver() == ["pending"]
        assert cloud.get_delivery(job).next_attempt_at == cloud.now + 5_000
        assert cloud.take_messages() == []  # the message is delayed
        assert cloud.pass_time(5_000) == []  # the janitor's check comes a minute later
        assert cloud.deliverer.handle(cloud.get_delivery(job).message) == "pending"
        for delay in DELAYS_SECONDS[2:4]:
            assert cloud.pass_time(delay * 1_000 - 1) == []
            assert cloud.pass_time(1) == ["pending"]
        receiver = start(reply(OK), port=port_of(url))
        assert cloud.pass_time(DELAYS_SECONDS[4] * 1_000) == ["delivered"]
        delivery = cloud.get_delivery(job)
        assert (delivery.state, delivery.attempt_count, ids(receiver)) == ("delivered", 5, [f"{job.id}.1.succeeded"])
        assert [attempt.error for attempt in delivery.attempts] == ["connection_failed"] * 4 + [None]

    def test_delivery_fails_after_eight_attempts_and_can_be_redelivered(
        self, cloud: Cloud, start: StartReceiver
    ) -> None:
        url = find_closed_url()
        job = exhaust_attempts(cloud, url)
        assert (cloud.get_delivery(job).state, cloud.get_delivery(job).attempt_count) == ("failed", 8)
        assert cloud.pass_time(10**9) == []
        receiver = start(reply(OK), port=port_of(url))
        redelivered = cloud.deliveries.redeliver(cloud.get_delivery(job), now=cloud.now)
        assert redelivered is not None
        assert cloud.deliverer.handle(redelivered.message) == "delivered"
        assert ids(receiver) == [f"{job.id}.1.succeeded"]
        assert (cloud.get_delivery(job).state, cloud.get_delivery(job).attempt_count) == ("delivered", 9)

    def test_only_failures_since_the_outage_are_redelivered(self, cloud: Cloud, start: StartReceiver) -> None:
        before = exhaust_attempts(cloud, find_closed_url())
        since = cloud.now + 1
        cloud.now += 2
        failed = exhaust_attempts(cloud, find_closed_url())
        receiver = start(reply(OK))
        cloud.end_and_notify(url_of(receiver))
        cloud.deliver()
        redelivered = list(redeliver_failed(cloud.deliveries, cloud.client_id, since=since, now=cloud.now))
        assert [delivery.id for delivery in redelivered] == [failed.id]
        assert list(redeliver_failed(cloud.deliveries, cloud.client_id, since=since, now=cloud.now)) == []
        assert list(redeliver_failed(cloud.deliveries, "c_another", since=0, now=cloud.now)) == []
        assert cloud.get_delivery(before).state == "failed"
        outcomes = cloud.pass_time(FIRST_CHECK_MS)
        # No message was sent, so the janitor sends it. On a slow machine, an old delayed message arrives, too.
        assert [outcome for outcome in outcomes if outcome != "nothing_to_do"] == ["pending"]

    def test_redelivery_extends_the_life_of_the_delivery(self, cloud: Cloud) -> None:
        """A redelivery in the last hours of the job, as after a long outage, must not end with the job."""
        job = exhaust_attempts(cloud, find_closed_url())
        cloud.now = job.expires_at * 1_000 - 3_600_000
        redelivered = cloud.deliveries.redeliver(cloud.get_delivery(job), now=cloud.now)
        assert redelivered is not None
        latest = cloud.now // 1_000 + 2 * 1.2 * sum(DELAYS_SECONDS)  # with the most jitter and extension
        assert cloud.get_delivery(job).expires_at > latest

    @pytest.mark.parametrize(
        ("answer", "state", "status"), [(GONE, "disabled", 410), (MOVED, "pending", 302), (BUSY, "pending", 503)]
    )
    def test_answer_decides_about_the_delivery(
        self, cloud: Cloud, start: StartReceiver, answer: bytes, state: str, status: int
    ) -> None:
        receiver = start(reply(answer))
        job = cloud.end_and_notify(url_of(receiver))
        assert cloud.deliver() == [state]
        delivery = cloud.get_delivery(job)
        assert (delivery.attempts[0].status, receiver.connections) == (status, 1)
        if status == 503:
            assert delivery.next_attempt_at == cloud.now + 2 * DELAYS_SECONDS[1] * 1_000

    def test_attempt_at_a_hanging_receiver_times_out(self, cloud: Cloud, start: StartReceiver) -> None:
        receiver = start(hang())
        job = cloud.end_and_notify(url_of(receiver))
        assert cloud.deliver() == ["pending"]
        assert cloud.get_delivery(job).attempts[0].error == "timed_out"

    def test_number_of_kept_attempts_is_bounded(self, cloud: Cloud) -> None:
        job = exhaust_attempts(cloud, find_closed_url())
        for _ in range(2):
            assert cloud.deliveries.redeliver(cloud.get_delivery(job), now=cloud.now)
            cloud.deliver()
            pass_all_delays(cloud, job)
        assert (cloud.get_delivery(job).attempt_count, len(cloud.get_delivery(job).attempts)) == (24, 16)


class TestCopies:
    def test_copies_of_a_message_make_one_attempt(self, cloud: Cloud, start: StartReceiver) -> None:
        receiver = start(reply(OK))
        job = cloud.end(url_of(receiver))
        for _ in range(3):
            notify(cloud.queue, job, "succeeded")
        assert sorted(cloud.deliver()) == ["delivered", "nothing_to_do", "nothing_to_do"]
        assert receiver.connections == 1

    def test_concurrent_copies_of_a_message_make_one_attempt(self, cloud: Cloud, start: StartReceiver) -> None:
        """The second copy arrives while the first one waits for the receiver's answer."""
        is_called, may_answer = threading.Event(), threading.Event()

        def respond(connection: socket.socket, wait: Wait) -> None:
            is_called.set()
            may_answer.wait(5)
            connection.sendall(OK)

        receiver = start(respond)
        job = cloud.end(url_of(receiver))
        outcomes: list[str] = []
        first = threading.Thread(target=lambda: outcomes.append(cloud.deliverer.handle(first_message(job))))
        first.start()
        assert is_called.wait(5)
        outcomes.append(cloud.deliverer.handle(first_message(job)))
        assert cloud.deliveries.redeliver(cloud.get_delivery(job), now=cloud.now) is None
        may_answer.set()
        first.join(5)
        assert outcomes == ["nothing_to_do", "delivered"]
        assert receiver.connections == 1

    def test_late_copy_of_a_message_makes_no_attempt(self, cloud: Cloud) -> None:
        job = cloud.end(find_closed_url())
        assert cloud.deliverer.handle(first_message(job)) == "pending"
        assert cloud.deliverer.handle(first_message(job)) == "nothing_to_do"
        assert cloud.get_delivery(job).attempt_count == 1

    def test_delivery_read_before_another_attempt_cannot_be_claimed(self, cloud: Cloud) -> None:
        read = cloud.deliveries.create(cloud.end(find_closed_url()), b"{}", now=cloud.now)
        claimed = cloud.deliveries.claim(read, claim_token="a", now=cloud.now)
        assert claimed is not None
        assert cloud.deliveries.record_attempt(
            claimed, None, state="pending", next_attempt_at=cloud.now, next_check_at=cloud.now
        )
        assert cloud.deliveries.claim(read, claim_token="b", now=cloud.now) is None

    @pytest.mark.parametrize(
        "wrong",
        [{"job": "unknown"}, {"run": 2}, {"status": "failed"}, {"attempt": 3}],
        ids=lambda change: next(iter(change)),
    )
    def test_message_without_a_matching_delivery_does_nothing(self, cloud: Cloud, wrong: dict[str, Any]) -> None:
        job = cloud.end(find_closed_url())
        message = WebhookMessage.model_validate({"job": job.id, "run": 1, "status": "succeeded", **wrong})
        assert cloud.deliverer.handle(message) == "nothing_to_do"


def die_at(call: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    """Return a function in which the process dies just before `call`, or just after it."""

    def die(*arguments: Any, **options: Any) -> Any:
        if after:
            call(*arguments, **options)
        raise ProcessDied

    return die


class TestCrashes:
    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("write", ["create", "remove_check", "claim", "record_attempt"])
    def test_death_at_each_write_loses_no_event_and_keeps_the_id(
        self, cloud: Cloud, start: StartReceiver, monkeypatch: pytest.MonkeyPatch, write: str, after: bool
    ) -> None:
        receiver = start(reply(OK))
        job = cloud.end_and_notify(url_of(receiver))
        if write == "claim":  # a new delivery is created with a claim, so another process must create it
            cloud.deliveries.create(job, b"{}", now=cloud.now)
        target, method = {
            "create": (cloud.table, "put"),
            "remove_check": (cloud.table, "update"),
            "claim": (cloud.deliveries, "claim"),
            "record_attempt": (cloud.deliveries, "record_attempt"),
        }[write]
        with monkeypatch.context() as patch:
            patch.setattr(target, method, die_at(getattr(target, method), after=after))
            with pytest.raises(ProcessDied):
                cloud.deliver()
        for _ in range(4):
            cloud.pass_time(ATTEMPT_MS + 1)
        assert set(ids(receiver)) == {f"{job.id}.1.succeeded"}
        assert len(receiver.requests) == (2 if (write, after) == ("record_attempt", False) else 1)
        assert (cloud.get_delivery(job).state, cloud.get(job).next_check_at) == ("delivered", None)

    def test_delivery_fails_if_the_process_dies_in_the_last_attempt(
        self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = cloud.end_and_notify(find_closed_url())
        cloud.deliver()
        while cloud.get_delivery(job).attempt_count < 7:
            cloud.pass_time(36_000_000)
        with monkeypatch.context() as patch:
            die = die_at(cloud.deliveries.record_attempt, after=False)
            patch.setattr(cloud.deliveries, "record_attempt", die)
            with pytest.raises(ProcessDied):
                cloud.pass_time(36_000_000)
        assert cloud.pass_time(ATTEMPT_MS + 1) == ["failed"]
        assert cloud.get_delivery(job).state == "failed"

    def test_result_after_the_claim_was_lost_changes_nothing(self, cloud: Cloud) -> None:
        job = cloud.end(find_closed_url())
        cloud.deliverer.handle(first_message(job))
        late = cloud.deliveries.claim(cloud.get_delivery(job), claim_token="z", now=cloud.now)
        assert late is not None
        cloud.now += ATTEMPT_MS + 1
        assert cloud.deliveries.claim(cloud.get_delivery(job), claim_token="a", now=cloud.now) is not None
        assert not cloud.deliveries.record_attempt(late, None, state="delivered")
        assert cloud.get_delivery(job).state == "pending"

    def test_late_result_does_not_end_a_redelivery(self, cloud: Cloud, start: StartReceiver) -> None:
        receiver = start(reply(OK))
        job = cloud.end(url_of(receiver))
        delivery = cloud.deliveries.create(job, b"{}", now=cloud.now)
        late = cloud.deliveries.claim(delivery, claim_token="z", now=cloud.now)
        assert late is not None
        cloud.now += ATTEMPT_MS + 1
        redelivered = cloud.deliveries.redeliver(cloud.get_delivery(job), now=cloud.now)
        assert redelivered is not None
        assert not cloud.deliveries.record_attempt(late, None, state="failed")
        assert cloud.deliverer.handle(redelivered.message) == "delivered"

    def test_repeated_claim_with_the_same_token_is_the_same_claim(self, cloud: Cloud) -> None:
        """The SDK repeats a claim whose answer was lost."""
        job = cloud.end(find_closed_url())
        delivery = cloud.deliveries.create(job, b"{}", now=cloud.now)
        first = cloud.deliveries.claim(delivery, claim_token="a", now=cloud.now)
        assert first == cloud.deliveries.claim(delivery, claim_token="a", now=cloud.now)
        assert cloud.deliveries.claim(delivery, claim_token="b", now=cloud.now) is None

    def test_janitor_sends_the_message_of_a_worker_that_died_before_it(
        self, cloud: Cloud, start: StartReceiver
    ) -> None:
        receiver = start(reply(OK))
        job = cloud.end(url_of(receiver))
        assert cloud.pass_time(FIRST_CHECK_MS - 1) == []
        assert cloud.pass_time(1) == ["delivered"]
        assert ids(receiver) == [f"{job.id}.1.succeeded"]

    def test_failed_decryption_costs_no_attempt(
        self, cloud: Cloud, start: StartReceiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        receiver = start(reply(OK))
        job = cloud.end(url_of(receiver))

        def fail(*_: str) -> str:
            raise Transient("KMS is unreachable")

        with monkeypatch.context() as patch:
            patch.setattr(cloud.deliverer.cipher, "decrypt", fail)
            with pytest.raises(Transient):
                cloud.deliverer.handle(first_message(job))
        assert cloud.pass_time(FIRST_CHECK_MS) == ["delivered"]
        assert cloud.get_delivery(job).attempt_count == 1


class TestOtherEndings:
    def test_expiry_is_delivered(self, cloud: Cloud, start: StartReceiver) -> None:
        receiver = start(reply(OK))
        job = cloud.create(url_of(receiver))
        cloud.now = job.deadline
        assert cloud.tick() == {"expired": 1}
        assert cloud.deliver() == ["delivered"]
        assert ids(receiver) == [f"{job.id}.1.expired"]

    def test_cancellation_by_a_deletion_is_delivered(self, cloud: Cloud, start: StartReceiver) -> None:
        """The process that deleted the job died before it sent the message."""
        receiver = start(reply(OK))
        job = cloud.create(url_of(receiver))
        cloud.jobs.delete(job, now=cloud.now)
        assert cloud.pass_time(FIRST_CHECK_MS) == ["delivered"]
        assert ids(receiver) == [f"{job.id}.1.canceled"]
        assert cloud.get(job).next_check_at is None

    def test_delivery_continues_after_its_job_is_deleted(self, cloud: Cloud, start: StartReceiver) -> None:
        url = find_closed_url()
        job = cloud.end(url)
        cloud.deliverer.handle(first_message(job))
        cloud.jobs.delete(cloud.get(job), now=cloud.now)
        receiver = start(reply(OK), port=port_of(url))
        assert cloud.pass_time(10**6) == ["delivered"]
        assert ids(receiver) == [f"{job.id}.1.succeeded"]

    def test_job_cannot_be_retried_before_its_delivery_is_created(self, cloud: Cloud, start: StartReceiver) -> None:
        receiver = start(reply(OK))
        job = cloud.end(url_of(receiver), "failed")
        assert cloud.jobs.retry(job, now=cloud.now) is None
        cloud.deliveries.create(job, b'{"run": 1}', now=cloud.now)
        retried = cloud.jobs.retry(cloud.get(job), now=cloud.now)
        assert retried is not None
        claimed = cloud.jobs.claim(message_for(retried), claim_token="w", now=cloud.now)
        assert claimed is not None
        assert cloud.jobs.succeed(claimed, b"{}", metrics=Metrics(), now=cloud.now)
        assert sorted(cloud.pass_time(FIRST_CHECK_MS)) == ["delivered", "delivered"]
        assert sorted(ids(receiver)) == [f"{job.id}.1.failed", f"{job.id}.2.succeeded"]

    def test_late_creation_for_a_former_run_does_not_change_the_next_run(self, cloud: Cloud) -> None:
        job = cloud.end(find_closed_url(), "failed")
        cloud.deliveries.create(job, b"{}", now=cloud.now)
        retried = cloud.jobs.retry(cloud.get(job), now=cloud.now)
        cloud.deliveries.create(job, b"{}", now=cloud.now)
        assert retried is not None
        assert cloud.get(job).next_check_at == retried.next_check_at


class TestJanitor:
    def test_index_of_a_clients_jobs_contains_no_delivery(self, cloud: Cloud) -> None:
        job = cloud.end(find_closed_url())
        cloud.deliveries.create(job, b"{}", now=cloud.now)
        items = cloud.services.dynamodb.query(
            TableName="jobs", IndexName="by_client", KeyConditionExpression="client_id = :c",
            ExpressionAttributeValues={":c": {"S": cloud.client_id}},
        )["Items"]  # fmt: skip
        assert [item["part"]["S"] for item in items] == ["job"]

    def test_delivery_in_a_backlog_gets_few_messages(self, cloud: Cloud) -> None:
        """The interval between checks doubles: a backlog of an hour costs 6 messages, not 60."""
        job = cloud.end(find_closed_url())
        cloud.deliveries.create(job, b"{}", now=cloud.now)
        for _ in range(60):
            cloud.now += 60_000
            cloud.tick()
        assert len(cloud.take_messages()) == 6

    @pytest.mark.parametrize(
        ("body", "outcome"), [('{"job": "j", "run": 1, "status": "failed"}', "dropped"), ("{", "unreadable")]
    )
    def test_dead_letter_is_dropped_unless_it_is_malformed(self, cloud: Cloud, body: str, outcome: str) -> None:
        url = cloud.services.webhooks_dead_letter_queue_url
        cloud.services.sqs.send_message(QueueUrl=url, MessageBody=body)
        assert cloud.tick()[outcome] >= 1
        left = cloud.services.sqs.receive_message(QueueUrl=url).get("Messages", [])
        assert len(left) == (outcome == "unreadable")


class TestApp:
    def test_messages_of_an_event_are_handled(self, cloud: Cloud, start: StartReceiver) -> None:
        """A malformed message does not stop the others."""
        receiver = start(reply(OK))
        job = cloud.end(url_of(receiver))
        event = sqs_event({"not": "a message"}, first_message(job).model_dump(), queue="webhooks")
        WebhookApp(cloud.deliverer).handle(event, CONTEXT)
        assert cloud.get_delivery(job).state == "delivered"

    def test_message_is_acknowledged_if_a_service_is_unreachable(
        self, cloud: Cloud, start: StartReceiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The janitor sends another message."""
        receiver = start(reply(OK))
        job = cloud.end(url_of(receiver))

        def fail(_: str) -> None:
            raise Transient("DynamoDB is unreachable")

        with monkeypatch.context() as patch:
            patch.setattr(cloud.clients, "get", fail)
            WebhookApp(cloud.deliverer).handle(sqs_event(first_message(job).model_dump(), queue="webhooks"), CONTEXT)
        assert cloud.pass_time(FIRST_CHECK_MS) == ["delivered"]


def test_body_has_less_than_20_kb_with_the_longest_url_and_failure(cloud: Cloud) -> None:
    job = cloud.create("https://receiver.example/" + "x" * (URL_LIMIT - 25))
    claimed = claim(cloud.jobs, job, now=cloud.now)
    assert cloud.jobs.fail(claimed, ModelFailed("\U0001f680" * FAILURE_DETAIL_LIMIT), metrics=Metrics(), now=cloud.now)
    body = render_event(cloud.get(job), base_url="https://api.example")
    assert json.loads(body)["data"]["error"]["code"] == "model_failed"
    assert len(body) < 20_000
