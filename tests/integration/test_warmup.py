"""Warm-up rounds over moto's table: what a token says about the worker, and who pings it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from functions.submit.estimates import Estimates
from shared.errors import Transient
from shared.models import Message, Warmth, WarmUp
from shared.pace import Pace, Paces
from shared.warmup import WAITING_LIMIT, Environment, Pings, Rounds, begin_round

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


def begin(rounds: Rounds, pings: ListedPings, now: int, version: str = "7", environments: int = 1) -> Warmth:
    return begin_round(rounds, pings, version=version, environments=environments, cooldown_ms=COOLDOWN, now=now)


def answer(rounds: Rounds, ping: WarmUp, name: str, at: int, *, cold: bool = True) -> list[Message]:
    environment = Environment(ready_at=at, cold=cold, load_ms=900)
    return rounds.ready(ping, name, environment, ready_ms=at - ping.began_at)


def estimates(rounds: Rounds, now: int, *, waits_for_warming: bool = True) -> Estimates:
    """As `submit` makes them, for worker version 7."""
    return Estimates(rounds, Paces("jobs"), "7", waits_for_warming=waits_for_warming, now=lambda: now)


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
    assert rounds.begin(seen, environments=1, now=NOW) is not None
    assert rounds.begin(seen, environments=1, now=NOW) is None


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
    assert rounds.latest("7").warmth(later + 1_500).ready_in_seconds == 2.5
    assert rounds.latest("7").warmth(later + 9_000).ready_in_seconds == 0.5


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


def test_bigger_round_does_not_wait_for_the_cooldown(rounds: Rounds, pings: ListedPings) -> None:
    """A client that will need four environments is not served by one."""
    begin(rounds, pings, NOW)
    begin(rounds, pings, NOW + 1, environments=4)
    begin(rounds, pings, NOW + 2, environments=3)
    assert [ping.environments for ping in pings.sent] == [1, 4]


def test_round_counts_the_environments_that_its_pings_reached(rounds: Rounds, pings: ListedPings) -> None:
    """Not the pings: two of them may reach one environment."""
    begin(rounds, pings, NOW, environments=3)
    (ping,) = pings.sent
    for name in ("e1", "e2", "e1"):
        rounds.arrive(ping, name, now=NOW + 10)
    assert set(rounds.latest("7").arrived) == {"e1", "e2"}
    assert not rounds.latest("7").is_gathered
    rounds.arrive(ping, "e3", now=NOW + 10)
    assert rounds.latest("7").is_gathered


def test_late_ping_does_not_count_in_the_next_round(rounds: Rounds, pings: ListedPings) -> None:
    begin(rounds, pings, NOW)
    begin(rounds, pings, NOW + COOLDOWN)
    rounds.arrive(pings.sent[0], "e1", now=NOW + COOLDOWN + 1)
    assert rounds.latest("7").arrived == {}


def test_pings_are_placed_one_for_each_environment(aws_services: SimpleNamespace, monkeypatch: Any) -> None:
    placed: list[str] = []
    service = SimpleNamespace(invoke=lambda **call: placed.append(call["Payload"]))
    monkeypatch.setattr(Pings, "_lambda", service)
    Pings("arn").send(WarmUp(key="k", round="r", began_at=1, environments=5))
    assert len(placed) == 5


def test_some_pings_that_fail_are_no_failure_and_all_are(monkeypatch: Any) -> None:
    fail = iter([True, False, True, True])

    def invoke(**_: Any) -> None:
        if next(fail):
            raise EndpointConnectionError(endpoint_url="lambda")

    monkeypatch.setattr(Pings, "_lambda", SimpleNamespace(invoke=invoke))
    Pings("arn").send(WarmUp(key="k", round="r", began_at=1, environments=2))
    with pytest.raises(Transient):
        Pings("arn").send(WarmUp(key="k", round="r", began_at=1, environments=2))


def test_each_version_is_warm_by_itself(rounds: Rounds, pings: ListedPings) -> None:
    begin(rounds, pings, NOW)
    answer(rounds, pings.sent[0], "e1", NOW)
    assert begin(rounds, pings, NOW + 1, version="8").state == "warming"


JOB = Message(job="j1", run=1)


def test_job_sent_while_the_worker_warms_is_left_to_it(rounds: Rounds, pings: ListedPings) -> None:
    begin(rounds, pings, NOW)
    assert estimates(rounds, NOW + 2_000).leave(JOB)
    assert answer(rounds, pings.sent[0], "e1", NOW + 4_000) == [JOB]
    assert answer(rounds, pings.sent[0], "e2", NOW + 4_100) == [], "what one does is not another's"


@pytest.mark.parametrize("state", ["cold", "warm"])
def test_job_sent_to_a_worker_that_does_not_warm_is_left_to_nobody(
    rounds: Rounds, pings: ListedPings, state: str
) -> None:
    if state == "warm":
        begin(rounds, pings, NOW)
        answer(rounds, pings.sent[0], "e1", NOW + 4_000)
    assert not estimates(rounds, NOW + 5_000).leave(JOB)
    assert rounds.latest("7").waiting == []


def test_job_is_left_to_nobody_where_others_take_it(rounds: Rounds, pings: ListedPings) -> None:
    """Machines that poll do, and environments that ran a job a moment ago."""
    begin(rounds, pings, NOW)
    assert not estimates(rounds, NOW, waits_for_warming=False).leave(JOB)
    Paces("jobs").note("jobs", Pace(at=NOW - 1_000))
    assert not estimates(rounds, NOW).leave(JOB)


def test_environment_that_gets_ready_meanwhile_is_left_nothing(
    rounds: Rounds, pings: ListedPings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has taken what waited, and would never see the job."""
    begin(rounds, pings, NOW)
    wait = Rounds.wait

    def late(self: Rounds, *arguments: Any) -> bool:
        answer(self, pings.sent[0], "e1", NOW + 4_000)
        return wait(self, *arguments)

    monkeypatch.setattr(Rounds, "wait", late)
    assert not estimates(rounds, NOW + 4_001).leave(JOB)
    assert rounds.latest("7").waiting == []


def test_one_environment_is_left_so_much_and_no_more(rounds: Rounds, pings: ListedPings) -> None:
    begin(rounds, pings, NOW)
    left = [estimates(rounds, NOW).leave(Message(job=f"j{number}", run=1)) for number in range(WAITING_LIMIT + 1)]
    assert left == [True] * WAITING_LIMIT + [False]
    assert len(answer(rounds, pings.sent[0], "e1", NOW + 4_000)) == WAITING_LIMIT


def test_job_is_sent_where_it_is_not_known_to_be_left(
    rounds: Rounds, pings: ListedPings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any) -> bool:
        raise Transient("DynamoDB is busy")

    begin(rounds, pings, NOW)
    monkeypatch.setattr(Rounds, "wait", busy)
    assert not estimates(rounds, NOW).leave(JOB)


def test_bigger_round_keeps_what_waits(rounds: Rounds, pings: ListedPings) -> None:
    begin(rounds, pings, NOW)
    assert estimates(rounds, NOW).leave(JOB)
    begin(rounds, pings, NOW + 1, environments=4)
    assert answer(rounds, pings.sent[1], "e1", NOW + 4_000) == [JOB]
