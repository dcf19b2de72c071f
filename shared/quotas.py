"""What a client may use within a window of time, counted in the table `jobs`.

An environment takes a share of a window's allowance in one conditional write and counts that down by itself: a busy
client's counter is written once for many requests, and never when it is spent. What an environment has taken and not
used is lost to the others until the window ends, so a client may meet its limit a few shares early, never late.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from shared import aws
from shared.errors import Transient
from shared.log import logger

KEPT_LIMIT = 1_000  # allowances that an environment remembers


@dataclass(frozen=True)
class Rule:
    """At most `limit` in every window of `window_seconds`, of which environments take `share` at a time."""

    name: str
    limit: int
    window_seconds: int
    share: int = 1


@dataclass(frozen=True)
class Budget:
    """What is left of a rule's allowance, as far as this environment knows, and when the next window begins."""

    rule: Rule
    remaining: int
    reset_seconds: int
    is_granted: bool


@dataclass
class _Held:
    """What an environment holds of one window: `left` is its own, `free` was nobody's when it asked last."""

    window: int
    free: int
    left: int = 0


class Allowances:
    """The counters of all clients; not for several threads at once."""

    def __init__(self, table: str) -> None:
        """In the DynamoDB table `table`; the AWS client is built at first use."""
        self._table = table
        self._held: dict[tuple[str, str], _Held] = {}

    def take(self, client_id: str, rule: Rule, amount: int, *, now: int) -> Budget:
        """Use `amount` of what `rule` allows the client at `now` (ms), or nothing when that is not left.

        A counter that cannot be reached grants: a limit is there to keep others' service up, not to take it down.
        """
        window, into = divmod(now // 1000, rule.window_seconds)
        held = self._held.get((client_id, rule.name))
        if held is None or held.window != window:
            held = self._hold((client_id, rule.name), _Held(window, free=rule.limit))
        is_granted = held.left >= amount or self._refill(client_id, rule, held, amount)
        if is_granted:
            held.left = max(0, held.left - amount)
        return Budget(rule, held.free + held.left, rule.window_seconds - into, is_granted)

    def _hold(self, key: tuple[str, str], held: _Held) -> _Held:
        if len(self._held) >= KEPT_LIMIT:
            self._held.clear()
        self._held[key] = held
        return held

    def _refill(self, client_id: str, rule: Rule, held: _Held, amount: int) -> bool:
        """Take a share, else just what is missing; whether `amount` is held then."""
        missing = amount - held.left
        for wanted in dict.fromkeys((max(missing, rule.share), missing)):
            if wanted > held.free:
                continue
            try:
                held.free = rule.limit - self._add(client_id, rule, held.window, wanted)
            except aws.ConditionFailed as failed:
                held.free = max(0, rule.limit - int(failed.item["used"]) if failed.item else 0)
            except Transient as error:
                logger.warning("A limit could not be checked", limit=rule.name, reason=str(error))
                return True
            else:
                held.left += wanted
                return True
        return False

    def _add(self, client_id: str, rule: Rule, window: int, wanted: int) -> int:
        update = aws.expression(
            {"wanted": wanted, "most": rule.limit - wanted, "end": (window + 2) * rule.window_seconds},
            UpdateExpression="ADD #used :wanted SET #expires_at = :end",
            ConditionExpression="attribute_not_exists(#used) OR #used <= :most",
        )
        key = {"id": f"usage#{client_id}", "part": f"{rule.name}#{window}"}
        with aws.translated(f"Counting a client's {rule.name}"):
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key=aws.to_item(key),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **update,
            )
        return int(aws.from_item(answer["Attributes"])["used"])

    @cached_property
    def _dynamodb(self) -> Any:
        return aws.client("dynamodb", read_timeout=1, attempts=2)
