"""The polling worker: it handles messages as Lambda hands them over, and loses none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from functions.worker.poll import PAUSE_SECONDS, WAIT_SECONDS, Poller
from shared.aws.queue import ReceivedMessage
from shared.errors import Transient


class ListQueue:
    """A queue over a list of messages. It records the calls of the poller."""

    def __init__(self, *bodies: str) -> None:
        self.waiting = [ReceivedMessage(f"m{number}", body, f"r{number}") for number, body in enumerate(bodies)]
        self.deleted: list[str] = []
        self.changed: list[tuple[str, int]] = []
        self.waits: list[int] = []
        self.is_unreachable = False
        self.on_receive: Callable[[], None] = lambda: None

    def receive(self, *, limit: int, wait_seconds: int) -> list[ReceivedMessage]:
        self.on_receive()
        self.waits.append(wait_seconds)
        if self.is_unreachable:
            raise Transient("SQS is unreachable")
        received, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return received

    def delete(self, *messages: ReceivedMessage) -> None:
        if self.is_unreachable:
            raise Transient("SQS is unreachable")
        self.deleted += [message.message_id for message in messages]

    def change_visibility(self, receipt_handle: str, *, seconds: int) -> None:
        self.changed.append((receipt_handle, seconds))


class Harness:
    """A poller of two queues. Its handler records the events, and it stops when both queues are empty."""

    def __init__(self, isolated: ListQueue, jobs: ListQueue) -> None:
        self.events: list[dict[str, Any]] = []
        self.retried: set[str] = set()
        self.slept: list[float] = []
        self.queues = (isolated, jobs)
        self.poller = Poller({"x-isolated": (isolated, 1), "x-jobs": (jobs, 10)}, self.handle, sleep=self.sleep)
        jobs.on_receive = self.stop_when_empty

    def handle(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        assert context.aws_request_id
        self.events.append(event)
        retried = [record["messageId"] for record in event["Records"] if record["messageId"] in self.retried]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in retried]}

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        for queue in self.queues:
            queue.is_unreachable = False

    def stop_when_empty(self) -> None:
        if not any(queue.waiting for queue in self.queues):
            self.poller.stop()


def test_batches_have_the_sizes_of_lambdas_batches_and_are_deleted() -> None:
    isolated, jobs = ListQueue("a", "b"), ListQueue(*"0123456789AB")
    harness = Harness(isolated, jobs)
    harness.poller.run()
    sizes: dict[str, list[int]] = {"x-isolated": [], "x-jobs": []}
    for event in harness.events:
        (source,) = {record["eventSourceARN"].rpartition(":")[2] for record in event["Records"]}
        sizes[source].append(len(event["Records"]))
    assert sizes == {"x-isolated": [1, 1], "x-jobs": [10, 2]}
    assert (len(isolated.deleted), len(jobs.deleted)) == (2, 12)


def test_empty_queue_does_not_delay_the_other() -> None:
    """The worker waits for a message only at the last queue, and only if all are empty."""
    isolated, jobs = ListQueue("a"), ListQueue(*"0123456789AB")
    harness = Harness(isolated, jobs)

    def stop_at_third_poll() -> None:
        if len(jobs.waits) == 2:
            harness.poller.stop()

    jobs.on_receive = stop_at_third_poll
    harness.poller.run()
    assert (isolated.waits, jobs.waits) == ([0, 0, 0], [0, WAIT_SECONDS, WAIT_SECONDS])


def test_retried_message_is_not_deleted() -> None:
    jobs = ListQueue("a", "b", "c")
    harness = Harness(ListQueue(), jobs)
    harness.retried = {"m1"}
    harness.poller.run()
    assert jobs.deleted == ["m0", "m2"]


def test_message_that_arrives_after_the_stop_signal_is_returned_at_once() -> None:
    """A long poll may still return a message. Hidden, it would wait for the queue's whole visibility time-out."""
    isolated, jobs = ListQueue("a"), ListQueue("b")
    harness = Harness(isolated, jobs)
    isolated.on_receive = harness.poller.stop
    harness.poller.run()
    assert harness.events == []
    assert isolated.changed == [("r0", 0)]
    assert jobs.waiting != []


def test_unreachable_queue_is_polled_again_later() -> None:
    isolated, jobs = ListQueue("a"), ListQueue()
    isolated.is_unreachable = True
    harness = Harness(isolated, jobs)
    harness.poller.run()
    assert harness.slept == [PAUSE_SECONDS]
    assert isolated.deleted == ["m0"]


def test_message_that_cannot_be_deleted_does_not_end_the_poller() -> None:
    isolated, jobs = ListQueue(), ListQueue("a")
    harness = Harness(isolated, jobs)

    def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
        jobs.is_unreachable = True
        return {"batchItemFailures": []}

    harness.poller.handle = handle
    harness.poller.run()
    assert jobs.deleted == []
