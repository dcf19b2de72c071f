"""The simulation, in small cases whose outcome can be computed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time

import numpy as np

from planner.combinations import Combination
from planner.engine.outcome import Limits, Outcome
from planner.measurements import Measurements
from planner.simulate import simulate
from planner.strategies import Fleet, OnToken, ProvisionedConcurrency, ScheduledPings, SnapStart
from planner.strategies.protocol import Strategy
from planner.traffic import Traffic
from planner.windows import Window

# A cold start takes 5 s: 2 s of init, and 3 s to load the model.
MEASURED = Measurements(
    init_seconds=(2,), load_seconds=(3,), run_seconds=(1,), ping_seconds=0, idle_lifetime_seconds=(300, 300)
)


def run(
    submits: Sequence[float], *strategies: Strategy, tokens: Sequence[float] = (), limits: Limits | None = None
) -> Outcome:
    """Simulate an hour of a Monday from 09:00 UTC."""
    monday = datetime(2026, 11, 2, 9, tzinfo=UTC)
    traffic = Traffic(np.array(submits, dtype=float), np.array(tokens, dtype=float), monday, 3600)
    return simulate(traffic, Combination("test", strategies), measured=MEASURED, limits=limits)


def test_first_job_is_cold_and_later_jobs_are_warm_until_the_environment_ends() -> None:
    outcome = run([0, 10, 310, 700])
    assert outcome.cold.tolist() == [True, False, False, True]
    assert outcome.finishes.tolist() == [6, 11, 311, 706]
    assert outcome.usage.downloads == 2


def test_lambda_takes_the_environment_that_was_idle_for_the_shortest_time() -> None:
    outcome = run([0, 1, 20, 30])
    assert outcome.environments.tolist() == [0, 1, 1, 1]


def test_job_is_cold_while_the_only_warm_environment_is_busy() -> None:
    assert run([0, 10, 10.5]).cold.tolist() == [True, False, True]


def test_waiting_jobs_run_ten_at_a_time_after_the_mapping_steps_up() -> None:
    """Five jobs start at once. The others wait for a second, and then run as one batch in a sixth environment."""
    outcome = run([0.0] * 12, limits=Limits(mapping=50))
    assert outcome.begins.tolist() == [5] * 5 + [6, 7, 8, 9, 10, 11, 12]
    assert len(set(outcome.environments.tolist())) == 6


def test_job_is_warm_if_the_token_came_a_whole_cold_start_before_it() -> None:
    outcome = run([6], OnToken(), tokens=[0])
    assert outcome.finishes.tolist() == [7]
    assert not outcome.cold.any()
    assert outcome.usage.cold_starts == 1


def test_job_during_a_warm_up_is_assigned_to_the_warm_up() -> None:
    """The warming environment is ready at 5 s and runs the job at once, so no second one starts."""
    outcome = run([1], OnToken(), tokens=[0])
    assert outcome.usage.assigned == 1
    assert outcome.usage.cold_starts == 1
    assert outcome.finishes.tolist() == [6]


def test_job_during_a_warm_up_starts_a_second_environment_if_jobs_are_not_assigned() -> None:
    outcome = run([1], OnToken(assigns_jobs=False), tokens=[0])
    assert outcome.usage.assigned == 0
    assert outcome.usage.cold_starts == 2
    assert outcome.finishes.tolist() == [7]


def test_janitor_queues_an_assigned_job_if_the_account_had_no_room_for_the_ping() -> None:
    """The first job occupies the only environment, so the ping is dropped. The janitor checks the second at 91.5 s."""
    outcome = run([0, 1.5], OnToken(), tokens=[1], limits=Limits(account=1, mapping=1))
    assert outcome.usage.pings_dropped == outcome.usage.assigned == 1
    assert outcome.begins.tolist() == [5, 91.5]


def test_tokens_within_the_cooldown_start_no_warm_up() -> None:
    assert run([500], OnToken(), tokens=[0, 119, 120, 130]).usage.warm_ups == 2


def test_pings_of_one_warm_up_reach_different_environments() -> None:
    """The fourth cold start is that of the job, an hour later."""
    outcome = run([3500], ScheduledPings(environments=3, every_seconds=3600))
    assert outcome.usage.pings == outcome.usage.cold_starts - 1 == 3


def test_ping_starts_another_environment_while_the_warm_one_is_busy() -> None:
    assert run([0], OnToken(), tokens=[2]).usage.cold_starts == 2


def test_pings_above_the_accounts_limit_are_dropped() -> None:
    outcome = run([0, 0], OnToken(environments=2), tokens=[1], limits=Limits(account=2, mapping=2))
    assert outcome.usage.pings_dropped == 2


def test_provisioned_environments_are_ready_in_their_window_only() -> None:
    window = Window(start=time(9, 10), end=time(9, 20))
    outcome = run([0, 660, 3000], ProvisionedConcurrency(environments=2, windows=(window,)))
    assert outcome.cold.tolist() == [True, False, True]
    assert outcome.usage.amounts["provisioned_open_seconds"] == 1200


def test_ping_reaches_an_idle_provisioned_environment() -> None:
    outcome = run([10], OnToken(), ProvisionedConcurrency(), tokens=[0])
    assert outcome.usage.pings == 1
    assert outcome.usage.cold_starts == 0


def test_fleet_has_no_cold_starts_and_lets_jobs_wait_in_the_queue() -> None:
    outcome = run([0, 0, 0], Fleet(max=1))
    assert not outcome.cold.any()
    assert outcome.finishes.tolist() == [1, 1, 2]
    assert outcome.usage.amounts["instance_seconds"] == 3600


def test_fleet_grows_with_its_backlog_and_shrinks_afterwards() -> None:
    outcome = run([0.0] * 2000, Fleet(max=2, backlog_per_instance=5))
    assert len(set(outcome.environments.tolist())) == 4
    assert 3600 < outcome.usage.amounts["instance_seconds"] < 7200


def test_lambda_runs_the_jobs_for_which_the_fleet_beside_it_has_no_free_slot() -> None:
    outcome = run([0, 0, 0], Fleet(max=1, beside=True))
    assert outcome.on_lambda.tolist() == [False, False, True]
    assert outcome.cold.tolist() == [False, False, True]


def test_snapstart_restores_the_model_instead_of_downloading_it() -> None:
    outcome = run([0], SnapStart())
    assert (outcome.usage.cold_starts, outcome.usage.downloads) == (1, 0)
