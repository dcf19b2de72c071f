"""The warm-up that a token starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shared.auth.clients import Client
from shared.settings import AuthSettings
from shared.warmup.pings import PingSender, start_warm_up
from shared.warmup.records import Warmth
from shared.warmup.store import WarmUpStore


@dataclass(frozen=True)
class WarmUpStarter:
    """Starts a warm-up when a client fetches a token. `clock` returns the current time (ms)."""

    store: WarmUpStore
    pings: PingSender
    settings: AuthSettings
    clock: Callable[[], int]

    def start(self, client: Client) -> Warmth:
        """Start a warm-up if the last one is too old or too small. Return how warm the worker is.

        If `warm_up_environments` is 0, tokens start no warm-ups in this deployment.

        Raises:
            Transient: If DynamoDB or Lambda is throttled or unreachable.
        """
        version, now = self.settings.worker_version, self.clock()
        if not self.settings.warm_up_environments:
            return self.store.latest(version).warmth(now)
        environments = max(self.settings.warm_up_environments, client.expected_parallelism)
        cooldown_ms = self.settings.warm_up_cooldown_seconds * 1000
        return start_warm_up(
            self.store, self.pings, version=version, environments=environments, cooldown_ms=cooldown_ms, now=now
        )
