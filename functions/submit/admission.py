"""Who may call, and how much: clients that are still active, within their limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from shared.clients import Client
from shared.errors import RateLimited, Unauthorized
from shared.models import Limits
from shared.quotas import Budget, Rule

KNOWN_MS = 30_000  # a revocation is noticed this late at most
COUNTED_MS = 5_000  # a count of open jobs is trusted this long,
COUNTED_FULL_MS = 1_000  # this long when it is at the limit,
COUNTED_FAR_MS = 30_000  # and this long while it is below half of the limit: each costs as much as it counts
RETRY_OPEN_SECONDS = 5
BYTES_SHARE = 100_000  # that environments take at a time, or a thousandth of what a day allows
REQUEST_SHARES = 100  # parts of a minute's requests that environments take one of at a time


class Clients(Protocol):
    """Where clients are registered."""

    def get(self, client_id: str) -> Client | None:
        """The client."""


class OpenJobs(Protocol):
    """Where jobs are kept."""

    def count_open(self, client_id: str, *, limit: int) -> int:
        """How many of the client's jobs are open, counted up to `limit`."""


class Allowances(Protocol):
    """Counters of what clients use."""

    def take(self, client_id: str, rule: Rule, amount: int, *, now: int) -> Budget:
        """Use some of an allowance, or nothing when it is not left."""


@dataclass
class _Known:
    """What this environment knows of a client, and since when."""

    client: Client
    at: int
    counted_at: int = 0
    open: int = 0


@dataclass(frozen=True)
class Admission:
    """Checks callers; remembers what it has read for a while. Not for several threads at once."""

    clients: Clients
    jobs: OpenJobs
    allowances: Allowances
    defaults: Limits
    now: Callable[[], int]
    _known: dict[str, _Known] = field(default_factory=dict)

    def admit(self, client_id: str) -> Budget:
        """Let one request of the client in.

        Raises:
            Unauthorized: when it is not registered, or was revoked up to half a minute ago.
            RateLimited: when this minute's requests are used up.
            Transient: when the client cannot be looked up.
        """
        most = self._limits(client_id).requests_per_minute
        rule = Rule("requests", most, window_seconds=60, share=max(1, most // REQUEST_SHARES))
        budget = self.allowances.take(client_id, rule, 1, now=self.now())
        if not budget.is_granted:
            raise _spent(budget, f"This client may send {most:,} requests a minute")
        return budget

    def admit_job(self, client_id: str, size: int) -> Budget:
        """Let the client add a job whose input has `size` bytes.

        Raises:
            RateLimited: when it has too many open jobs, or today's bytes are used up.
            Transient: when its open jobs cannot be counted.
        """
        limits = self._limits(client_id)
        self._check_open(self._known[client_id], limits.open_jobs)
        share = max(1, min(BYTES_SHARE, limits.bytes_per_day // 1_000))
        rule = Rule("bytes", limits.bytes_per_day, window_seconds=86_400, share=share)
        budget = self.allowances.take(client_id, rule, size, now=self.now())
        if not budget.is_granted:
            raise _spent(budget, f"This client may send {limits.bytes_per_day:,} bytes of text a day")
        self._known[client_id].open += 1
        return budget

    def _check_open(self, known: _Known, most: int) -> None:
        now = self.now()
        if known.counted_at < now - self._trusted_ms(known.open, most):
            known.open, known.counted_at = self.jobs.count_open(known.client.client_id, limit=most), now
        if known.open >= most:
            detail = f"This client may have {most:,} jobs that have not ended"
            raise RateLimited(detail, headers={"retry-after": str(RETRY_OPEN_SECONDS)}, limit="open_jobs")

    def _trusted_ms(self, count: int, most: int) -> int:
        if count < most / 2:
            return COUNTED_FAR_MS
        return COUNTED_MS if count < most else COUNTED_FULL_MS

    def client(self, client_id: str) -> Client:
        """The client, as it was up to half a minute ago.

        Raises:
            Unauthorized: when it is not registered, or was revoked.
            Transient: when it cannot be looked up.
        """
        return self._look_up(client_id).client

    def _limits(self, client_id: str) -> Limits:
        return self.client(client_id).limited(self.defaults)

    def _look_up(self, client_id: str) -> _Known:
        known = self._known.get(client_id)
        if known is None or known.at < self.now() - KNOWN_MS:
            client = self.clients.get(client_id)
            if client is None or client.status != "active":
                self._known.pop(client_id, None)
                challenge = {"www-authenticate": 'Bearer error="invalid_token"'}
                raise Unauthorized("The client of this access token is not active", headers=challenge)
            known = self._known[client_id] = _Known(client, self.now())
        return known


def headers(*budgets: Budget) -> dict[str, str]:
    """`RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers)."""
    policies = (f'"{one.rule.name}";q={one.rule.limit};w={one.rule.window_seconds}' for one in budgets)
    states = (f'"{one.rule.name}";r={one.remaining};t={one.reset_seconds}' for one in budgets)
    return {"ratelimit-policy": ", ".join(policies), "ratelimit": ", ".join(states)}


def _spent(budget: Budget, detail: str) -> RateLimited:
    hint = {"retry-after": str(budget.reset_seconds), **headers(budget)}
    return RateLimited(detail, headers=hint, limit=budget.rule.name)
