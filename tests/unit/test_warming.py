"""What an environment does with a warm-up ping, and what it does during init."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from functions.worker import handler
from functions.worker.warming import Warming
from functions.worker.work import Received
from shared.errors import ModelError, Transient
from shared.models import Message, WarmUp
from shared.warmup import Environment, Round

NOW = 1_800_000_000_000
PING = WarmUp(key="warmup#1", round="r1", began_at=NOW, environments=3)
WAITING = [Message(job="j1", run=1), Message(job="j2", run=2)]


class MemoryRounds:
    """A round whose other environments arrive while this one waits."""

    def __init__(self, *others_at: int) -> None:
        self.others_at = others_at
        self.now = NOW
        self.arrived: dict[str, int] = {}
        self.is_ready: dict[str, Environment] = {}
        self.round = "r1"
        self.waiting: list[Message] = []
        self.done: list[tuple[Message, int]] = []  # and when
        self.is_away = False

    def of(self, key: str) -> Round:
        self.check()
        others = {f"o{number}": at for number, at in enumerate(self.others_at) if at <= self.now}
        return Round(id=key, round=self.round, began_at=NOW, wanted=3, arrived={**self.arrived, **others})

    def arrive(self, ping: WarmUp, environment_id: str, *, now: int) -> None:
        self.check()
        self.arrived[environment_id] = now

    def ready(self, ping: WarmUp, environment_id: str, environment: Environment, *, ready_ms: int) -> list[Message]:
        self.check()
        self.is_ready[environment_id] = environment
        return self.waiting

    def work(self, messages: Sequence[Message]) -> None:
        self.done += [(message, self.now) for message in messages]

    def check(self) -> None:
        if self.is_away:
            raise Transient("DynamoDB is away")

    def sleep(self, seconds: float) -> None:
        self.now += int(seconds * 1000)


def warming(rounds: MemoryRounds, *, load_ms: int = 0, is_prepared: bool = False) -> Warming:
    def load() -> tuple[Any, int]:
        rounds.now += load_ms
        return SimpleNamespace(run=lambda tasks: None), load_ms

    return Warming(
        rounds, load, rounds.work, init_ms=7, is_prepared=is_prepared, now=lambda: rounds.now, sleep=rounds.sleep
    )


def test_warm_environment_holds_until_the_others_have_arrived() -> None:
    """Idle, it would be given their pings, and they would never begin."""
    rounds = MemoryRounds(NOW + 400, NOW + 900)
    warming(rounds).answer(PING, "e1")
    assert NOW + 900 <= rounds.now < NOW + 1_200
    assert rounds.is_ready["e1"] == Environment(ready_at=NOW, cold=False, load_ms=0, init_ms=7)


def test_others_that_never_arrive_are_not_waited_for() -> None:
    rounds = MemoryRounds()
    warming(rounds).answer(PING, "e1")
    assert NOW + 3_000 <= rounds.now < NOW + 3_200


def test_environment_that_loaded_for_long_holds_no_longer() -> None:
    rounds = MemoryRounds()
    warming(rounds, load_ms=4_000).answer(PING, "e1")
    assert rounds.now == NOW + 4_000
    assert rounds.is_ready["e1"].cold
    assert rounds.arrived["e1"] == NOW  # on arrival, not when it is ready


def test_what_has_waited_is_done_as_soon_as_the_environment_is_ready() -> None:
    """Before it holds for the others of its round, and in this invoke: sent now, it might meet an environment busy."""
    rounds = MemoryRounds()
    rounds.waiting = WAITING
    warming(rounds, load_ms=1_000).answer(PING, "e1")
    assert rounds.done == [(message, NOW + 1_000) for message in WAITING]
    assert rounds.now >= NOW + 3_000


def test_what_was_left_and_cannot_be_done_now_is_queued_to_be_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No message of it will come again by itself."""
    sent = []

    def run(batch: Sequence[Received], *, is_typical: bool) -> list[str]:
        batch[1].postpone(seconds=5)
        return [batch[1].item_id]

    def send(message: Message, *, client_id: str, delay_seconds: int) -> None:
        sent.append((message, delay_seconds))

    monkeypatch.setattr(handler, "_worker", lambda: SimpleNamespace(run=run))
    monkeypatch.setattr(handler, "_settings", lambda: SimpleNamespace(solo_queue_url="https://sqs/solo"))
    monkeypatch.setattr(handler, "_lanes", lambda: {"solo": SimpleNamespace(send=send)})
    handler._work(WAITING)
    assert sent == [(WAITING[1], 5)]


def test_first_ping_of_an_environment_that_was_prepared_says_how_long_it_took() -> None:
    """As a restore from a snapshot: nothing is loaded then, and still it is how long the next one will take."""
    rounds = MemoryRounds()
    environment = warming(rounds, is_prepared=True)
    environment.answer(PING, "e1")
    assert rounds.is_ready["e1"].cold
    environment.answer(PING, "e1")
    assert not rounds.is_ready["e1"].cold


def test_round_that_cannot_be_read_is_no_reason_to_be_idle() -> None:
    """All of a big round look at one item: throttled, they would be given each other's pings."""
    rounds = MemoryRounds()
    environment = warming(rounds)

    def of(key: str) -> Round:
        raise Transient("throttled")

    rounds.of = of
    environment.answer(PING, "e1")
    assert rounds.now >= NOW + 3_000


def test_next_round_ends_the_hold() -> None:
    rounds = MemoryRounds()
    rounds.round = "r2"
    warming(rounds).answer(PING, "e1")
    assert rounds.now == NOW


def test_round_that_cannot_be_reached_does_not_keep_the_model_from_loading() -> None:
    rounds = MemoryRounds()
    rounds.is_away = True
    loaded = []
    environment = warming(rounds, load_ms=100)
    load = lambda: loaded.append(1) or environment.load()  # noqa: E731
    Warming(rounds, load, rounds.work, now=environment.now, sleep=rounds.sleep).answer(PING, "e1")
    assert loaded


def test_environment_without_a_model_is_not_ready() -> None:
    rounds = MemoryRounds()

    def load() -> Any:
        raise ModelError("no room")

    with pytest.raises(ModelError):
        Warming(rounds, load, rounds.work, now=lambda: NOW, sleep=rounds.sleep).answer(PING, "e1")
    assert "e1" in rounds.arrived
    assert rounds.is_ready == {}


@pytest.mark.parametrize(
    ("kind", "is_prepared", "is_hooked"),
    [("on-demand", False, False), ("provisioned-concurrency", True, False), ("snap-start", True, True)],
)
def test_model_is_loaded_during_init_where_init_has_the_time(
    monkeypatch: pytest.MonkeyPatch, kind: str, is_prepared: bool, is_hooked: bool
) -> None:
    prepared, hooks = [], []
    monkeypatch.setattr(handler, "_warming", lambda: SimpleNamespace(prepare=lambda: prepared.append(1) or 0))
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", SimpleNamespace(register_after_restore=hooks.append))
    handler._prepare_during_init(kind)
    assert bool(prepared) == is_prepared
    assert bool(hooks) == is_hooked


def test_restored_environment_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two environments of one snapshot would else count as one, and share their connections."""
    for name, value in {
        "JOBS_TABLE": "jobs", "BUCKET": "b", "JOBS_QUEUE_URL": "https://sqs/jobs", "SOLO_QUEUE_URL": "https://sqs/solo",
        "WEBHOOKS_QUEUE_URL": "https://sqs/webhooks",
        "MODEL_NAME": "m", "MODEL_VERSION": "1", "MODEL_KEY": "k", "MODEL_SHA256": "0" * 64, "MODEL_SIZE": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    handler._settings.cache_clear()
    before = (handler._environment_id(), handler._worker(), handler._warming())
    model = handler._model()
    handler._after_restore()
    after = (handler._environment_id(), handler._worker(), handler._warming())
    assert all(one is not other for one, other in zip(before, after, strict=True))
    assert before[0] != after[0]
    assert handler._model() is model
    handler._settings.cache_clear()
