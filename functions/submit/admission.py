"""Admission: only active clients may call, and only within their limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from shared.auth.clients import Client, ClientStore
from shared.errors import RateLimited, Unauthorized
from shared.jobs.store import JobStore
from shared.limits.limits import Limits
from shared.limits.quota import QuotaCounters, QuotaPolicy, RemainingQuota

CLIENT_AGE_MS = 30_000  # a revoked client may call for so long after it was read
# A count of open jobs costs as much as it counts. It is used again for so long:
COUNT_AGE_MS = 5_000
COUNT_AGE_AT_LIMIT_MS = 1_000
COUNT_AGE_BELOW_HALF_MS = 30_000
OPEN_JOBS_RETRY_SECONDS = 5
BYTES_SHARE = 100_000  # bytes that an environment reserves at a time, but at most a thousandth of the day's quota
REQUESTS_SHARES = 100  # an environment reserves a hundredth of the minute's requests at a time


@dataclass(frozen=True)
class Caller:
    """The client of one request, and the quotas that the request has consumed so far."""

    client_id: str
    quotas: list[RemainingQuota] = field(default_factory=list)


@dataclass
class _KnownClient:
    """A client, read at `read_at`, and the number of its open jobs, counted at `counted_at`. Times in milliseconds."""

    client: Client
    read_at: int
    counted_at: int = 0
    open_jobs: int = 0


@dataclass(frozen=True)
class Admission:
    """The checks of callers. It remembers clients and counts of open jobs for some seconds. Not thread-safe."""

    clients: ClientStore
    jobs: JobStore
    quotas: QuotaCounters
    defaults: Limits
    now: Callable[[], int]
    _known: dict[str, _KnownClient] = field(default_factory=dict)

    def admit(self, caller: Caller) -> None:
        """Consume one request of the client's quota.

        Raises:
            Unauthorized: If the client does not exist, or was revoked more than half a minute ago.
            RateLimited: If the quota of this minute is used up.
            Transient: If the client cannot be read.
        """
        limit = self._get_limits(caller.client_id).requests_per_minute
        policy = QuotaPolicy("requests", limit, window_seconds=60, share=max(1, limit // REQUESTS_SHARES))
        self._consume(caller, policy, 1, f"This client may send {limit:,} requests a minute")

    def admit_job(self, caller: Caller, size: int) -> None:
        """Check the number of the client's open jobs, and consume `size` bytes of its quota.

        Raises:
            RateLimited: If the client has too many open jobs, or the quota of this day is used up.
            Transient: If the open jobs cannot be counted.
        """
        limits = self._get_limits(caller.client_id)
        self._check_open_jobs(self._known[caller.client_id], limits.open_jobs)
        share = max(1, min(BYTES_SHARE, limits.bytes_per_day // 1_000))
        policy = QuotaPolicy("bytes", limits.bytes_per_day, window_seconds=86_400, share=share)
        self._consume(caller, policy, size, f"This client may send {limits.bytes_per_day:,} bytes of text a day")
        self._known[caller.client_id].open_jobs += 1

    def get_client(self, client_id: str) -> Client:
        """Return the client as it was at most half a minute ago.

        Raises:
            Unauthorized: If the client does not exist or is revoked.
            Transient: If the client cannot be read.
        """
        known = self._known.get(client_id)
        if known is not None and known.read_at >= self.now() - CLIENT_AGE_MS:
            return known.client
        client = self.clients.get(client_id)
        if client is None or client.status != "active":
            self._known.pop(client_id, None)
            challenge = {"www-authenticate": 'Bearer error="invalid_token"'}
            raise Unauthorized("The client of this access token is not active", headers=challenge)
        self._known[client_id] = _KnownClient(client, self.now())
        return client

    def _get_limits(self, client_id: str) -> Limits:
        return self.get_client(client_id).limits_over(self.defaults)

    def _consume(self, caller: Caller, policy: QuotaPolicy, amount: int, detail: str) -> None:
        quota = self.quotas.consume(caller.client_id, policy, amount, now=self.now())
        if not quota.is_granted:
            retry = {"retry-after": str(quota.reset_seconds)}
            raise RateLimited(detail, headers={**retry, **render_quotas([quota])}, limit=policy.name)
        caller.quotas.append(quota)

    def _check_open_jobs(self, known: _KnownClient, limit: int) -> None:
        now = self.now()
        if known.counted_at < now - _choose_count_age_ms(known.open_jobs, limit):
            known.open_jobs = self.jobs.count_open(known.client.client_id, limit=limit)
            known.counted_at = now
        if known.open_jobs >= limit:
            detail = f"This client may have {limit:,} jobs that have not ended"
            raise RateLimited(detail, headers={"retry-after": str(OPEN_JOBS_RETRY_SECONDS)}, limit="open_jobs")


def render_quotas(quotas: Iterable[RemainingQuota]) -> dict[str, str]:
    """Return the headers `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers) of some quotas."""
    given = list(quotas)
    if not given:
        return {}
    policies = (f'"{one.policy.name}";q={one.policy.limit};w={one.policy.window_seconds}' for one in given)
    states = (f'"{one.policy.name}";r={one.remaining};t={one.reset_seconds}' for one in given)
    return {"ratelimit-policy": ", ".join(policies), "ratelimit": ", ".join(states)}


def _choose_count_age_ms(open_jobs: int, limit: int) -> int:
    """Return how long a count of open jobs may be used again."""
    if open_jobs < limit / 2:
        return COUNT_AGE_BELOW_HALF_MS
    return COUNT_AGE_MS if open_jobs < limit else COUNT_AGE_AT_LIMIT_MS
