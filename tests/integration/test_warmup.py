"""Warm-ups over a table of moto: the promise to clients, the pings, and the jobs that are assigned to a warm-up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from functions.submit.estimates import Estimates
from shared.aws.table import Table
from shared.errors import Transient
from shared.jobs.latency import QueueLatencies, QueueLatency
from shared.jobs.message import JobMessage
from shared.warmup.pings import PingSender, start_warm_up
from shared.warmup.records import Environment, Ping, Warmth
from shared.warmup.store import ASSIGNED_LIMIT, WarmUpStore
from tests.conftest import AwsServices

NOW = 1_800_000_000_000
COOLDOWN = 120_000


class FakePingSender:
    """A sender that keeps the pings, or fails."""

    def __init__(self) -> None:
        self.sent: list[Ping] = []
        self.is_broken = False

    def send(self, ping: Ping) -> None:
        if self.is_broken:
            raise Transient("no answer")
        self.sent.append(ping)


@pytest.fixture
def warm_ups(aws_services: AwsServices) -> WarmUpStore:
    return WarmUpStore(Table("jobs"))


@pytest.fixture
def pings() -> FakePingSender:
    return FakePingSender()


def start(warm_ups: WarmUpStore, pings: FakePingSender, now: int, version: str = "7", environments: int = 1) -> Warmth:
    return start_warm_up(warm_ups, pings, version=version, environments=environments, cooldown_ms=COOLDOWN, now=now)


def answer(warm_ups: WarmUpStore, ping: Ping, name: str, at: int, *, cold: bool = True) -> list[JobMessage]:
    environment = Environment(ready_at=at, cold=cold, load_ms=900)
    return warm_ups.record_ready(ping, name, environment, ready_ms=at - ping.started_at)


def estimates(warm_ups: WarmUpStore, now: int, *, assigns_to_warm_ups: bool = True) -> Estimates:
    """Return the estimates of `submit`, for worker version 7."""
    latencies = QueueLatencies(Table("jobs"))
    return Estimates(warm_ups, latencies, "7", assigns_to_warm_ups=assigns_to_warm_ups, now=lambda: now)


def test_first_token_starts_a_warm_up(warm_ups: WarmUpStore, pings: FakePingSender) -> None:
    warmth = start(warm_ups, pings, NOW)
    assert (warmth.state, warmth.ready_in_seconds, warmth.environments) == ("warming", 10, 0)
    assert len(pings.sent) == 1


def test_tokens_within_the_cooldown_start_no_warm_up(warm_ups: WarmUpStore, pings: FakePingSender) -> None:
    for elapsed in (0, 1, 119_999):
        start(warm_ups, pings, NOW + elapsed)
    assert len(pings.sent) == 1
    start(warm_ups, pings, NOW + COOLDOWN)
    assert len(pings.sent) == 2


def test_only_one_of_two_concurrent_starts_wins(warm_ups: WarmUpStore) -> None:
    seen = warm_ups.latest("7")
    assert warm_ups.start(seen, environments=1, now=NOW) is not None
    assert warm_ups.start(seen, environments=1, now=NOW) is None


def test_answered_ping_makes_the_worker_warm_for_five_minutes(warm_ups: WarmUpStore, pings: FakePingSender) -> None:
    start(warm_ups, pings, NOW)
    answer(warm_ups, pings.sent[0], "e1", NOW + 4_000)
    assert warm_ups.latest("7").warmth(NOW + 5_000) == Warmth(state="warm", ready_in_seconds=0, environments=1)
    assert warm_ups.latest("7").warmth(NOW + 4_000 + 300_001).state == "cold"


def test_promise_is_estimated_from_the_last_cold_start(warm_ups: WarmUpStore, pings: FakePingSender) -> None:
    start(warm_ups, pings, NOW)
    answer(warm_ups, pings.sent[0], "e1", NOW + 4_000)
    answer(warm_ups, pings.sent[0], "e1", NOW + 4_100, cold=False)  # a warm answer does not predict a cold start
    later = NOW + 1_000_000
    assert start(warm_ups, pings, later).ready_in_seconds == 4
    assert warm_ups.latest("7").warmth(later + 1_500).ready_in_seconds == 2.5
    assert warm_ups.latest("7").warmth(later + 9_000).ready_in_seconds == 0.5


def test_unanswered_warm_up_is_cold_after_a_minute(warm_ups: WarmUpStore, pings: FakePingSender) -> None:
    start(warm_ups, pings, NOW)
    assert warm_ups.latest("7").warmth(NOW + 60_001).state == "cold"


def test_next_warm_up_keeps_the_warm_environments(warm_ups: WarmUpStore, pings: FakePingSender) -> None:
    start(warm_ups, pings, NOW)
    answer(warm_ups, pings.sent[0], "e1", NOW + 1_000)
    answer(warm_ups, pings.sent[0], "e2", NOW + 1_000)
    assert start(warm_ups, pings, NOW + COOLDOWN).environments == 2


def test_environments_that_died_are_forgotten(warm_ups: WarmUpStore, pings: FakePingSender) -> None:
    start(warm_ups, pings, NOW)
    answer(warm_ups, pings.sent[0], "e1", NOW + 1_000)
    start(warm_ups, pings, NOW + 1_000_000)
    assert warm_ups.latest("7").environments == {}


def test_failed_ping_does_not_start_the_cooldown(warm_ups: WarmUpStore, pings: FakePingSender) -> None:
    pings.is_broken = True
    with pytest.raises(Transient):
        start(warm_ups, pings, NOW)
    assert warm_ups.latest("7").warmth(NOW).state == "cold"
    pings.is_broken = False
    assert start(warm_ups, pings, NOW + 1).state == "warming"


def test_bigger_warm_up_ignores_the_cooldown(warm_ups: WarmUpStore, pings: FakePingSender) -> None:
    """One warm environment is not enough for a client that needs four."""
    start(warm_ups, pings, NOW)
    start(warm_ups, pings, NOW + 1, environments=4)
    start(warm_ups, pings, NOW + 2, environments=3)
    assert [ping.environments for ping in pings.sent] == [1, 4]


def test_warm_up_counts_environments_not_pings(warm_ups: WarmUpStore, pings: FakePingSender) -> None:
    """Two pings may reach the same environment."""
    start(warm_ups, pings, NOW, environments=3)
    (ping,) = pings.sent
    for name in ("e1", "e2", "e1"):
        warm_ups.record_arrival(ping, name, now=NOW + 10)
    assert set(warm_ups.latest("7").arrived) == {"e1", "e2"}
    assert not warm_ups.latest("7").has_all_arrived
    warm_ups.record_arrival(ping, "e3", now=NOW + 10)
    assert warm_ups.latest("7").has_all_arrived


def test_late_ping_does_not_count_in_the_next_warm_up(warm_ups: WarmUpStore, pings: FakePingSender) -> None:
    start(warm_ups, pings, NOW)
    start(warm_ups, pings, NOW + COOLDOWN)
    warm_ups.record_arrival(pings.sent[0], "e1", now=NOW + COOLDOWN + 1)
    assert warm_ups.latest("7").arrived == {}


def test_one_ping_is_sent_for_each_environment(aws_services: AwsServices, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    service = SimpleNamespace(invoke=lambda **call: sent.append(call["Payload"]))
    monkeypatch.setattr(PingSender, "_lambda", service)
    PingSender("arn").send(Ping(key="k", warm_up="r", started_at=1, environments=5))
    assert len(sent) == 5


def test_sending_fails_only_if_every_ping_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    fail = iter([True, False, True, True])

    def invoke(**_: Any) -> None:
        if next(fail):
            raise EndpointConnectionError(endpoint_url="lambda")

    monkeypatch.setattr(PingSender, "_lambda", SimpleNamespace(invoke=invoke))
    PingSender("arn").send(Ping(key="k", warm_up="r", started_at=1, environments=2))
    with pytest.raises(Transient):
        PingSender("arn").send(Ping(key="k", warm_up="r", started_at=1, environments=2))


def test_each_worker_version_has_its_own_warmth(warm_ups: WarmUpStore, pings: FakePingSender) -> None:
    start(warm_ups, pings, NOW)
    answer(warm_ups, pings.sent[0], "e1", NOW)
    assert start(warm_ups, pings, NOW + 1, version="8").state == "warming"


JOB = JobMessage(job="j1", run=1)


def test_job_is_assigned_to_a_warm_up_in_progress(warm_ups: WarmUpStore, pings: FakePingSender) -> None:
    start(warm_ups, pings, NOW)
    assert estimates(warm_ups, NOW + 2_000).assign(JOB)
    assert answer(warm_ups, pings.sent[0], "e1", NOW + 4_000) == [JOB]
    assert answer(warm_ups, pings.sent[0], "e2", NOW + 4_100) == [], "only one environment takes a job"


@pytest.mark.parametrize("state", ["cold", "warm"])
def test_job_is_not_assigned_without_a_warm_up_in_progress(
    warm_ups: WarmUpStore, pings: FakePingSender, state: str
) -> None:
    if state == "warm":
        start(warm_ups, pings, NOW)
        answer(warm_ups, pings.sent[0], "e1", NOW + 4_000)
    assert not estimates(warm_ups, NOW + 5_000).assign(JOB)
    assert warm_ups.latest("7").assigned == []


def test_job_is_not_assigned_if_other_workers_can_take_it(warm_ups: WarmUpStore, pings: FakePingSender) -> None:
    """A fleet can take it, and so can environments that ran a job within the last minute."""
    start(warm_ups, pings, NOW)
    assert not estimates(warm_ups, NOW, assigns_to_warm_ups=False).assign(JOB)
    QueueLatencies(Table("jobs")).record("jobs", QueueLatency(at=NOW - 1_000))
    assert not estimates(warm_ups, NOW).assign(JOB)


def test_job_is_not_assigned_if_an_environment_has_just_become_ready(
    warm_ups: WarmUpStore, pings: FakePingSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That environment has already taken its assigned jobs and would never see this one."""
    start(warm_ups, pings, NOW)
    assign = WarmUpStore.assign

    def late(self: WarmUpStore, *arguments: Any) -> bool:
        answer(self, pings.sent[0], "e1", NOW + 4_000)
        return assign(self, *arguments)

    monkeypatch.setattr(WarmUpStore, "assign", late)
    assert not estimates(warm_ups, NOW + 4_001).assign(JOB)
    assert warm_ups.latest("7").assigned == []


def test_a_warm_up_takes_a_limited_number_of_jobs(warm_ups: WarmUpStore, pings: FakePingSender) -> None:
    start(warm_ups, pings, NOW)
    assigned = [
        estimates(warm_ups, NOW).assign(JobMessage(job=f"j{number}", run=1)) for number in range(ASSIGNED_LIMIT + 1)
    ]
    assert assigned == [True] * ASSIGNED_LIMIT + [False]
    assert len(answer(warm_ups, pings.sent[0], "e1", NOW + 4_000)) == ASSIGNED_LIMIT


def test_job_is_not_assigned_if_the_assignment_fails(
    warm_ups: WarmUpStore, pings: FakePingSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any) -> bool:
        raise Transient("DynamoDB is busy")

    start(warm_ups, pings, NOW)
    monkeypatch.setattr(WarmUpStore, "assign", busy)
    assert not estimates(warm_ups, NOW).assign(JOB)


def test_bigger_warm_up_keeps_the_assigned_jobs(warm_ups: WarmUpStore, pings: FakePingSender) -> None:
    start(warm_ups, pings, NOW)
    assert estimates(warm_ups, NOW).assign(JOB)
    start(warm_ups, pings, NOW + 1, environments=4)
    assert answer(warm_ups, pings.sent[1], "e1", NOW + 4_000) == [JOB]
