"""Warm-up rounds over moto's table: what a token says about the worker, and who pings it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from shared.errors import Transient
from shared.models import Warmth, WarmUp
from shared.warmup import Environment, Rounds, begin_round

NOW = 1_800_000_000_000
COOLDOWN = 120_000


class ListedPings:
    """Pings that are kept instead of sent, or fail."""

    def __init__(self) -> None:
        self.sent: list[WarmUp] = []
        self.broken = False

    def send(self, ping: WarmUp) -> None:
        if self.broken:
            raise Transient("no answer")
        self.sent.append(ping)


@pytest.fixture
def rounds(aws_services: SimpleNamespace) -> Rounds:
    return Rounds("jobs")


@pytest.fixture
def pings() -> ListedPings:
    return ListedPings()


def begin(rounds: Rounds, pings: ListedPings, now: int, version: str = "7") -> Warmth:
    return begin_round(rounds, pings, version=version, cooldown_ms=COOLDOWN, now=now)


def answer(rounds: Rounds, ping: WarmUp, name: str, at: int, *, cold: bool = True) -> None:
    environment = Environment(ready_at=at, cold=cold, load_ms=900)
    rounds.ready(ping, name, environment, ready_ms=at - ping.began_at)


def test_first_token_begins_a_round(rounds: Rounds, pings: ListedPings) -> None:
    warmth = begin(rounds, pings, NOW)
    assert (warmth.state, warmth.ready_in_seconds, warmth.environments) == ("warming", 10, 0)
    assert len(pings.sent) == 1


def test_tokens_within_the_cooldown_begin_none(rounds: Rounds, pings: ListedPings) -> None:
    for elapsed in (0, 1, 119_999):
        begin(rounds, pings, NOW + elapsed)
    assert len(pings.sent) == 1
    begin(rounds, pings, NOW + COOLDOWN)
    assert len(pings.sent) == 2


def test_of_two_at_once_one_begins(rounds: Rounds) -> None:
    seen = rounds.latest("7")
    assert rounds.begin(seen, now=NOW) is not None
    assert rounds.begin(seen, now=NOW) is None


def test_answered_ping_makes_the_worker_warm_for_five_minutes(rounds: Rounds, pings: ListedPings) -> None:
    begin(rounds, pings, NOW)
    answer(rounds, pings.sent[0], "e1", NOW + 4_000)
    assert rounds.latest("7").warmth(NOW + 5_000) == Warmth(state="warm", ready_in_seconds=0, environments=1)
    assert rounds.latest("7").warmth(NOW + 4_000 + 300_001).state == "cold"


def test_wait_is_estimated_from_the_last_cold_start(rounds: Rounds, pings: ListedPings) -> None:
    begin(rounds, pings, NOW)
    answer(rounds, pings.sent[0], "e1", NOW + 4_000)
    answer(rounds, pings.sent[0], "e1", NOW + 4_100, cold=False)  # a warm answer says nothing about the next cold one
    later = NOW + 1_000_000
    assert begin(rounds, pings, later).ready_in_seconds == 4
    assert rounds.latest("7").warmth(later + 1_500).ready_in_seconds == 3
    assert rounds.latest("7").warmth(later + 9_000).ready_in_seconds == 1


def test_unanswered_round_is_cold_after_a_minute(rounds: Rounds, pings: ListedPings) -> None:
    begin(rounds, pings, NOW)
    assert rounds.latest("7").warmth(NOW + 60_001).state == "cold"


def test_next_round_does_not_forget_who_is_warm(rounds: Rounds, pings: ListedPings) -> None:
    begin(rounds, pings, NOW)
    answer(rounds, pings.sent[0], "e1", NOW + 1_000)
    answer(rounds, pings.sent[0], "e2", NOW + 1_000)
    assert begin(rounds, pings, NOW + COOLDOWN).environments == 2


def test_environments_that_died_are_forgotten(rounds: Rounds, pings: ListedPings) -> None:
    begin(rounds, pings, NOW)
    answer(rounds, pings.sent[0], "e1", NOW + 1_000)
    begin(rounds, pings, NOW + 1_000_000)
    assert rounds.latest("7").environments == {}


def test_ping_that_fails_does_not_spend_the_cooldown(rounds: Rounds, pings: ListedPings) -> None:
    pings.broken = True
    with pytest.raises(Transient):
        begin(rounds, pings, NOW)
    assert rounds.latest("7").warmth(NOW).state == "cold"
    pings.broken = False
    assert begin(rounds, pings, NOW + 1).state == "warming"


def test_each_version_is_warm_by_itself(rounds: Rounds, pings: ListedPings) -> None:
    begin(rounds, pings, NOW)
    answer(rounds, pings.sent[0], "e1", NOW)
    assert begin(rounds, pings, NOW + 1, version="8").state == "warming"
