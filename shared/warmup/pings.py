"""Starting a warm-up: record it, then send its pings."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Protocol

from shared.aws.client import make_client, translate_errors
from shared.errors import Transient
from shared.log import logger
from shared.warmup.records import Ping, Warmth
from shared.warmup.store import WarmUpStore

_THREADS = 16


class Pings(Protocol):
    """A sender of pings."""

    def send(self, ping: Ping) -> None:
        """Send all pings of a warm-up."""


class PingSender:
    """Sends pings: asynchronous invocations of the worker's alias `live`."""

    def __init__(self, alias_arn: str) -> None:
        """Invoke the alias `alias_arn`. The AWS client is built at first use."""
        self._alias_arn = alias_arn

    def send(self, ping: Ping) -> None:
        """Send all pings of a warm-up at the same time. A failed ping is not repeated.

        Raises:
            Transient: If Lambda accepted none of them.
        """
        payload = json.dumps({"warm_up": ping.model_dump()})
        service = self._lambda  # build the client before the threads use it
        with ThreadPoolExecutor(max_workers=min(ping.environments, _THREADS)) as threads:
            outcomes = list(threads.map(lambda _: self._send_one(service, payload), range(ping.environments)))
        failures = [failure for failure in outcomes if failure is not None]
        if len(failures) == ping.environments:
            raise failures[0]
        if failures:
            logger.warning("Some pings were not sent", failed=len(failures), reason=str(failures[0]))

    def _send_one(self, service: Any, payload: str) -> Transient | None:
        try:
            with translate_errors("Sending a ping"):
                # The IAM policy allows the alias's ARN alone, so the alias is part of the name, not a `Qualifier`.
                service.invoke(FunctionName=self._alias_arn, InvocationType="Event", Payload=payload)
        except Transient as error:
            return error
        return None

    @cached_property
    def _lambda(self) -> Any:
        return make_client("lambda", read_timeout=1, attempts=1)


def start_warm_up(
    store: WarmUpStore, pings: Pings, *, version: str, environments: int, cooldown_ms: int, now: int
) -> Warmth:
    """Start a warm-up unless one of this size started within the last `cooldown_ms`. Return how warm the worker is.

    Raises:
        Transient: If the warm-up could not be recorded, or none of its pings could be sent. No warm-up has started.
    """
    latest = store.latest(version)
    if latest.started_at > now - cooldown_ms and latest.wanted >= environments:
        return latest.warmth(now)
    started = store.start(latest, environments=environments, now=now)
    if started is None:
        return store.latest(version).warmth(now)
    try:
        pings.send(started.ping())
    except Transient:
        store.abandon(started)
        raise
    return started.warmth(now)
