"""The worker that polls: what it receives is handled as Lambda would hand it over, and nothing is lost on the way."""

from __future__ import annotations

from typing import Any

from functions.worker.poll import PAUSE_SECONDS, WAIT_SECONDS, Poller
from shared.errors import Transient
from shared.queues import Letter


class ListedQueue:
    """A queue that gives its letters, ten at most, and remembers what was done with them."""

    def __init__(self, *bodies: str) -> None:
        self.waiting = [Letter(f"m{number}", body, f"r{number}") for number, body in enumerate(bodies)]
        self.deleted: list[str] = []
        self.shown: list[tuple[str, int]] = []
        self.is_away = False
        self.waits: list[int] = []
        self.on_receive: Any = lambda: None

    def receive(self, *, limit: int, wait_seconds: int) -> list[Letter]:
        self.waits.append(wait_seconds)
        self.on_receive()
        if self.is_away:
            raise Transient("SQS is away")
        taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return taken

    def delete(self, letter: Letter) -> None:
        if self.is_away:
            raise Transient("SQS is away")
        self.deleted.append(letter.item_id)

    def postpone(self, receipt_handle: str, *, seconds: int) -> None:
        self.shown.append((receipt_handle, seconds))


class Bench:
    """A poller of two queues whose handler writes down what it gets, and stops when both are empty."""

    def __init__(self, solo: ListedQueue, jobs: ListedQueue) -> None:
        self.events: list[dict[str, Any]] = []
        self.again: set[str] = set()
        self.slept: list[float] = []
        self.queues = (solo, jobs)
        self.poller = Poller({"x-solo": (solo, 1), "x-jobs": (jobs, 10)}, self.handle, sleep=self.sleep)
        jobs.on_receive = self.stop_when_empty

    def handle(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        assert context.aws_request_id
        self.events.append(event)
        failed = [record["messageId"] for record in event["Records"] if record["messageId"] in self.again]
        return {"batchItemFailures": [{"itemIdentifier": item_id} for item_id in failed]}

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        for queue in self.queues:
            queue.is_away = False

    def stop_when_empty(self) -> None:
        if not any(queue.waiting for queue in self.queues):
            self.poller.stop()


def test_batches_are_as_big_as_lambdas_and_are_deleted() -> None:
    solo, jobs = ListedQueue("a", "b"), ListedQueue(*"0123456789AB")
    bench = Bench(solo, jobs)
    bench.poller.run()
    sizes = {"x-solo": [], "x-jobs": []}
    for event in bench.events:
        (source,) = {record["eventSourceARN"].rpartition(":")[2] for record in event["Records"]}
        sizes[source].append(len(event["Records"]))
    assert sizes == {"x-solo": [1, 1], "x-jobs": [10, 2]}
    assert (len(solo.deleted), len(jobs.deleted)) == (2, 12)


def test_between_batches_nothing_is_waited_for() -> None:
    """Neither at the other lane, which is empty, nor at their own."""
    for solo, jobs in ((ListedQueue(*"abc"), ListedQueue()), (ListedQueue(), ListedQueue(*"0123456789ABC"))):
        Bench(solo, jobs).poller.run()
        assert not any(solo.waits + jobs.waits)


def test_without_work_the_last_lane_is_waited_at() -> None:
    """So that a small job is taken at once; the others are looked at in between."""
    solo, jobs = ListedQueue(), ListedQueue()
    bench = Bench(solo, jobs)
    jobs.on_receive = lambda: bench.poller.stop() if len(jobs.waits) == 3 else None
    bench.poller.run()
    assert (solo.waits, jobs.waits) == ([0, 0, 0], [0, WAIT_SECONDS, WAIT_SECONDS])


def test_what_must_come_again_is_not_deleted() -> None:
    jobs = ListedQueue("a", "b", "c")
    bench = Bench(ListedQueue(), jobs)
    bench.again = {"m1"}
    bench.poller.run()
    assert jobs.deleted == ["m0", "m2"]


def test_what_is_received_after_the_signal_is_shown_to_others_at_once() -> None:
    """A long poll may still bring something; hidden it would wait for the queue's whole visibility time-out."""
    solo, jobs = ListedQueue("a"), ListedQueue("b")
    bench = Bench(solo, jobs)
    solo.on_receive = bench.poller.stop
    bench.poller.run()
    assert bench.events == []
    assert solo.shown == [("r0", 0)]
    assert jobs.waiting != []


def test_queue_that_is_away_is_polled_again_later() -> None:
    solo, jobs = ListedQueue("a"), ListedQueue()
    solo.is_away = True
    bench = Bench(solo, jobs)
    bench.poller.run()
    assert bench.slept == [PAUSE_SECONDS]
    assert solo.deleted == ["m0"]


def test_message_that_cannot_be_deleted_does_not_end_the_poller() -> None:
    solo, jobs = ListedQueue(), ListedQueue("a")
    bench = Bench(solo, jobs)

    def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
        jobs.is_away = True
        return {"batchItemFailures": []}

    bench.poller.handle = handle
    bench.poller.run()
    assert jobs.deleted == []
