"""Quotas of a client within a window of time, counted in the table `jobs`.

An execution environment reserves a share of the window's quota in one conditional write, and counts it down by itself.
So a busy client's counter is written once for many requests, and never when it is used up. A share that an environment
reserved and did not use is lost to the other environments until the window ends: a client may meet its limit a few
shares too early. It can only exceed a limit while DynamoDB is unreachable.

The terms are those of draft-ietf-httpapi-ratelimit-headers.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.aws.client import ConditionFailed
from shared.aws.items import expression
from shared.aws.table import Table
from shared.errors import Transient
from shared.log import logger

_RESERVATIONS_LIMIT = 1_000  # reservations that an environment remembers


@dataclass(frozen=True)
class QuotaPolicy:
    """A limit for every window of `window_seconds`. Environments reserve `share` of it at a time."""

    name: str
    limit: int
    window_seconds: int
    share: int = 1


@dataclass(frozen=True)
class RemainingQuota:
    """The rest of a quota as far as this environment knows it, and the seconds until the next window begins.

    `is_granted` says whether the request that asked was within the quota.
    """

    policy: QuotaPolicy
    remaining: int
    reset_seconds: int
    is_granted: bool


@dataclass
class _Reservation:
    """The part of one window's quota that this environment reserved and has `left`.

    `free` is the part that no environment had reserved at the last write.
    """

    window: int
    free: int
    left: int = 0


class QuotaCounters:
    """The quota counters of all clients. Not thread-safe."""

    def __init__(self, table: Table) -> None:
        """Use the table `jobs`."""
        self._table = table
        self._reservations: dict[tuple[str, str], _Reservation] = {}

    def consume(self, client_id: str, policy: QuotaPolicy, amount: int, *, now: int) -> RemainingQuota:
        """Consume `amount` of the client's quota at `now` (ms), or nothing if less remains.

        If the counter cannot be reached, the request is granted: quotas protect other clients' service and must not
        take it down.
        """
        window, elapsed = divmod(now // 1000, policy.window_seconds)
        reservation = self._reservations.get((client_id, policy.name))
        if reservation is None or reservation.window != window:
            reservation = self._begin((client_id, policy.name), _Reservation(window, free=policy.limit))
        is_granted = reservation.left >= amount or self._reserve(client_id, policy, reservation, amount)
        if is_granted:
            reservation.left = max(0, reservation.left - amount)
        remaining = reservation.free + reservation.left
        return RemainingQuota(policy, remaining, policy.window_seconds - elapsed, is_granted)

    def _begin(self, key: tuple[str, str], reservation: _Reservation) -> _Reservation:
        if len(self._reservations) >= _RESERVATIONS_LIMIT:
            self._reservations.clear()
        self._reservations[key] = reservation
        return reservation

    def _reserve(self, client_id: str, policy: QuotaPolicy, reservation: _Reservation, amount: int) -> bool:
        """Reserve a share, or else only the part that is missing. Return whether `amount` is reserved then."""
        missing = amount - reservation.left
        for wanted in dict.fromkeys((max(missing, policy.share), missing)):
            if wanted > reservation.free:
                continue
            try:
                reservation.free = policy.limit - self._add(client_id, policy, reservation.window, wanted)
            except ConditionFailed as failed:
                reservation.free = max(0, policy.limit - int(failed.item["used"]) if failed.item else 0)
            except Transient as error:
                logger.warning("Cannot check a quota; granting the request", quota=policy.name, reason=str(error))
                return True
            else:
                reservation.left += wanted
                return True
        return False

    def _add(self, client_id: str, policy: QuotaPolicy, window: int, wanted: int) -> int:
        update = expression(
            {"wanted": wanted, "most": policy.limit - wanted, "end": (window + 2) * policy.window_seconds},
            UpdateExpression="ADD #used :wanted SET #expires_at = :end",
            ConditionExpression="attribute_not_exists(#used) OR #used <= :most",
        )
        key = {"id": f"quota#{client_id}", "part": f"{policy.name}#{window}"}
        return int(self._table.update(key, update)["used"])
