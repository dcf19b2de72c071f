"""The store of warm-ups, in the table `jobs`.

One item per worker version records the latest warm-up: when it began, which environments its pings reached, and which
of them are ready. `auth` and the janitor start warm-ups, and the worker records the arrival of their pings.
The promise to clients is computed from the item, so it counts environments that answered, not pings that were sent.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from shared.aws.client import ConditionFailed
from shared.aws.items import expression
from shared.aws.table import Table
from shared.jobs.message import JobMessage
from shared.warmup.records import WARM_MS, Environment, Ping, WarmUp

ASSIGNED_LIMIT = 10  # jobs that are assigned to a warm-up: an environment handles them at once, like a batch


class WarmUpStore:
    """The latest warm-up of every worker version.

    Every method raises `Transient` if DynamoDB is throttled or unreachable.
    """

    def __init__(self, table: Table) -> None:
        """Use the table `jobs`."""
        self._table = table

    def latest(self, version: str) -> WarmUp:
        """Return the latest warm-up of worker `version`, or an empty one if there was none."""
        return self.get(f"warmup#{version}")

    def get(self, key: str) -> WarmUp:
        """Return the warm-up that is stored under `key`, as a ping names it."""
        return WarmUp.model_validate(self._table.get(_key(key)) or {"id": key})

    def start(self, previous: WarmUp, *, environments: int, now: int) -> WarmUp | None:
        """Record a new warm-up after `previous`. Return None if another caller has just started one."""
        alive = {name: env for name, env in previous.environments.items() if env.ready_at >= now - WARM_MS}
        changes = {"warm_up": secrets.token_hex(8), "started_at": now, "wanted": environments, "arrived": {}}
        started = previous.model_copy(update={**changes, "environments": alive})
        update = expression(
            {**started.model_dump(mode="json"), "previous": previous.warm_up},
            UpdateExpression="SET #warm_up = :warm_up, #started_at = :started_at, #wanted = :wanted, "
            "#arrived = :arrived, #environments = :environments",
            ConditionExpression="attribute_not_exists(#id) OR #warm_up = :previous",
        )
        return started if self._try_update(previous.key, update) is not None else None

    def abandon(self, started: WarmUp) -> None:
        """Reset the start of a warm-up whose pings could not be sent, so that the next token starts another."""
        update = expression(
            {"never": 0, "warm_up": started.warm_up},
            UpdateExpression="SET #started_at = :never",
            ConditionExpression="#warm_up = :warm_up",
        )
        self._try_update(started.key, update)

    def record_arrival(self, ping: Ping, environment_id: str, *, now: int) -> None:
        """Record that a ping has reached an environment. Do nothing if another warm-up has started since."""
        update = expression(
            {"now": now, "warm_up": ping.warm_up},
            UpdateExpression=f"SET #arrived.#{environment_id} = :now",
            ConditionExpression="#warm_up = :warm_up",
        )
        self._try_update(ping.key, update)

    def assign(self, latest: WarmUp, message: JobMessage) -> bool:
        """Assign a job to the environment that becomes ready next.

        Return False if one has become ready since `latest` was read, or if enough jobs are assigned already.
        """
        if len(latest.assigned) >= ASSIGNED_LIMIT:
            return False  # saves a write, which would cost the size of the whole item
        update = expression(
            {
                "messages": [message.model_dump(exclude_defaults=True)],
                "none": [],
                "ready": len(latest.environments),
                "limit": ASSIGNED_LIMIT,
            },
            UpdateExpression="SET #assigned = list_append(if_not_exists(#assigned, :none), :messages)",
            ConditionExpression="size(#environments) = :ready"
            " AND (attribute_not_exists(#assigned) OR size(#assigned) < :limit)",
        )
        return self._try_update(latest.key, update) is not None

    def record_ready(
        self, ping: Ping, environment_id: str, environment: Environment, *, ready_ms: int
    ) -> list[JobMessage]:
        """Record that an environment is ready, `ready_ms` after its warm-up began. Return the jobs assigned to it.

        The same write removes the jobs from the warm-up, so only one environment takes them.
        """
        change = f"SET #environments.#{environment_id} = :environment"
        # Only a cold start predicts the duration of the next one.
        change += ", #ready_ms = :ready_ms" if environment.cold else ""
        change += " REMOVE #assigned"
        update = expression(
            {"environment": environment.model_dump(mode="json"), "ready_ms": ready_ms},
            UpdateExpression=change,
            ConditionExpression="attribute_exists(#environments)",
        )
        before = self._try_update(ping.key, update, returning="UPDATED_OLD") or {}
        return [JobMessage.model_validate(message) for message in before.get("assigned", [])]

    def _try_update(self, key: str, update: Mapping[str, Any], *, returning: str = "NONE") -> dict[str, Any] | None:
        """Return the requested attributes, or None if the condition of `update` does not hold."""
        try:
            return self._table.update(_key(key), update, returning=returning)
        except ConditionFailed:
            return None


def _key(key: str) -> dict[str, str]:
    return {"id": key, "part": "warmup"}
