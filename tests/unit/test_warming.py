"""The handling of pings by an environment, and the initialization of an environment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from functions.worker.app import App, build
from functions.worker.pings import PingHandler, run_assigned
from functions.worker.pipeline import Pipeline
from functions.worker.work import BatchItem
from shared.errors import ModelError, Transient
from shared.jobs.message import JobMessage
from shared.settings import WorkerSettings
from shared.warmup.records import Environment, Ping, WarmUp

NOW = 1_800_000_000_000
PING = Ping(key="warmup#1", warm_up="w1", started_at=NOW, environments=3)
ASSIGNED = [JobMessage(job="j1", run=1), JobMessage(job="j2", run=2)]
SETTINGS = WorkerSettings(
    jobs_table="jobs",
    bucket="b",
    jobs_queue_url="https://sqs/jobs",
    isolated_queue_url="https://sqs/isolated",
    webhooks_queue_url="https://sqs/webhooks",
    model_name="m",
    model_version="1",
    model_key="k",
    model_sha256="0" * 64,
    model_size=1,
)


class MemoryWarmUps:
    """A warm-up in memory. Its other environments arrive at the times `others_at`."""

    def __init__(self, *others_at: int) -> None:
        self.others_at = others_at
        self.now = NOW
        self.arrived: dict[str, int] = {}
        self.ready: dict[str, Environment] = {}
        self.warm_up = "w1"
        self.assigned: list[JobMessage] = []
        self.ran: list[tuple[JobMessage, int]] = []  # the jobs, and when they ran
        self.is_unreachable = False
        self.is_throttled = False  # reads fail

    def get(self, key: str) -> WarmUp:
        self.check()
        if self.is_throttled:
            raise Transient("throttled")
        others = {f"o{number}": at for number, at in enumerate(self.others_at) if at <= self.now}
        arrived = {**self.arrived, **others}
        return WarmUp(id=key, warm_up=self.warm_up, started_at=NOW, wanted=3, arrived=arrived)

    def record_arrival(self, ping: Ping, environment_id: str, *, now: int) -> None:
        self.check()
        self.arrived[environment_id] = now

    def record_ready(
        self, ping: Ping, environment_id: str, environment: Environment, *, ready_ms: int
    ) -> list[JobMessage]:
        self.check()
        self.ready[environment_id] = environment
        return self.assigned

    def run(self, messages: Sequence[JobMessage]) -> None:
        self.ran += [(message, self.now) for message in messages]

    def check(self) -> None:
        if self.is_unreachable:
            raise Transient("DynamoDB is unreachable")

    def sleep(self, seconds: float) -> None:
        self.now += int(seconds * 1000)


def make_pipeline() -> Pipeline:
    """Return a stand-in for the model that accepts texts."""
    return cast("Pipeline", SimpleNamespace(run=lambda tasks: None))


def make_handler(
    warm_ups: MemoryWarmUps,
    *,
    load_ms: int = 0,
    is_prepared: bool = False,
    load: Callable[[], tuple[Pipeline, int]] | None = None,
) -> PingHandler:
    """Return a ping handler whose clock is that of `warm_ups`, and whose model takes `load_ms` to load."""

    def load_model() -> tuple[Pipeline, int]:
        warm_ups.now += load_ms
        return make_pipeline(), load_ms

    return PingHandler(
        warm_ups,
        load or load_model,
        warm_ups.run,
        init_ms=7,
        is_prepared=is_prepared,
        clock=lambda: warm_ups.now,
        sleep=warm_ups.sleep,
    )


def test_warm_environment_stays_busy_until_the_others_have_arrived() -> None:
    """Lambda would send the other pings to an idle environment, and would start no others."""
    warm_ups = MemoryWarmUps(NOW + 400, NOW + 900)
    make_handler(warm_ups).handle(PING, "e1")
    assert NOW + 900 <= warm_ups.now < NOW + 1_200
    assert warm_ups.ready["e1"] == Environment(ready_at=NOW, cold=False, load_ms=0, init_ms=7)


def test_environment_does_not_wait_long_for_others_that_never_arrive() -> None:
    warm_ups = MemoryWarmUps()
    make_handler(warm_ups).handle(PING, "e1")
    assert NOW + 3_000 <= warm_ups.now < NOW + 3_200


def test_environment_that_loaded_for_a_long_time_does_not_wait() -> None:
    warm_ups = MemoryWarmUps()
    make_handler(warm_ups, load_ms=4_000).handle(PING, "e1")
    assert warm_ups.now == NOW + 4_000
    assert warm_ups.ready["e1"].cold
    assert warm_ups.arrived["e1"] == NOW  # recorded on arrival, not when the environment is ready


def test_assigned_jobs_run_as_soon_as_the_environment_is_ready() -> None:
    """They run before it waits for the others and in the same invocation: later it might be busy."""
    warm_ups = MemoryWarmUps()
    warm_ups.assigned = ASSIGNED
    make_handler(warm_ups, load_ms=1_000).handle(PING, "e1")
    assert warm_ups.ran == [(message, NOW + 1_000) for message in ASSIGNED]
    assert warm_ups.now >= NOW + 3_000


def test_assigned_job_that_must_be_retried_is_sent_to_the_isolated_queue() -> None:
    """An assigned job has no SQS message, so SQS would not deliver it again."""

    class RetryingWorker:
        def run(self, batch: Sequence[BatchItem], *, records_latency: bool = True) -> list[str]:
            assert not records_latency
            batch[1].change_visibility(seconds=5)
            return [batch[1].message_id]

    @dataclass
    class DelayedQueue:
        sent: list[tuple[JobMessage, int]] = field(default_factory=list)

        def send(self, message: JobMessage, *, client_id: str, delay_seconds: int = 0) -> None:
            self.sent.append((message, delay_seconds))

    isolated = DelayedQueue()
    run_assigned(RetryingWorker(), isolated, ASSIGNED)
    assert isolated.sent == [(ASSIGNED[1], 5)]


def test_first_ping_of_a_prepared_environment_counts_as_cold() -> None:
    """A restore from a snapshot loads nothing, yet the ping shows how long the next environment takes."""
    warm_ups = MemoryWarmUps()
    handler = make_handler(warm_ups, is_prepared=True)
    handler.handle(PING, "e1")
    assert warm_ups.ready["e1"].cold
    handler.handle(PING, "e1")
    assert not warm_ups.ready["e1"].cold


def test_environment_stays_busy_while_the_warm_up_cannot_be_read() -> None:
    """All environments of a big warm-up read one item. Idle, a throttled one would get the others' pings."""
    warm_ups = MemoryWarmUps()
    warm_ups.is_throttled = True
    make_handler(warm_ups).handle(PING, "e1")
    assert warm_ups.now >= NOW + 3_000


def test_next_warm_up_ends_the_wait() -> None:
    warm_ups = MemoryWarmUps()
    warm_ups.warm_up = "w2"
    make_handler(warm_ups).handle(PING, "e1")
    assert warm_ups.now == NOW


def test_model_is_loaded_though_the_warm_up_cannot_be_reached() -> None:
    warm_ups = MemoryWarmUps()
    warm_ups.is_unreachable = True
    loads: list[int] = []

    def load() -> tuple[Pipeline, int]:
        loads.append(1)
        return make_pipeline(), 100

    make_handler(warm_ups, load=load).handle(PING, "e1")
    assert loads


def test_environment_without_a_model_is_not_ready() -> None:
    warm_ups = MemoryWarmUps()

    def load() -> tuple[Pipeline, int]:
        raise ModelError("no room")

    with pytest.raises(ModelError):
        make_handler(warm_ups, load=load).handle(PING, "e1")
    assert "e1" in warm_ups.arrived
    assert warm_ups.ready == {}


@pytest.mark.parametrize(
    ("initialization", "is_prepared", "has_hook"),
    [("on-demand", False, False), ("provisioned-concurrency", True, False), ("snap-start", True, True)],
)
def test_model_is_loaded_during_initialization_if_there_is_time(
    monkeypatch: pytest.MonkeyPatch, initialization: str, is_prepared: bool, has_hook: bool
) -> None:
    """An on-demand initialization has 10 s. SnapStart must also replace connections after each restore."""
    hooks: list[Callable[[], None]] = []
    loads: list[int] = []
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", SimpleNamespace(register_after_restore=hooks.append))
    app = build(SETTINGS, initialization=initialization)
    monkeypatch.setattr(App, "prepare", lambda self: loads.append(1))
    app.initialize()
    assert bool(loads) == is_prepared
    assert bool(hooks) == has_hook


def test_restored_environment_keeps_only_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise two environments of one snapshot count as one, share connections, and draw the same numbers."""
    seeds: list[Any] = []
    monkeypatch.setattr("random.seed", lambda *arguments: seeds.append(arguments))
    app = build(SETTINGS)
    model, before = app.model, app.collaborators
    app.after_restore()
    after = app.collaborators
    assert before.environment_id != after.environment_id
    assert before.worker is not after.worker
    assert before.pings is not after.pings
    assert all(before.queues[name] is not after.queues[name] for name in ("jobs", "isolated"))
    assert app.model is model
    assert after.pings.load == model.load
    assert seeds == [()]
