"""Queue latency: how long the jobs of a queue waited lately, and how long they ran.

The worker records it every few seconds, in one item per queue. The API estimates from it when a job will be done.
"""

from __future__ import annotations

from pydantic import Field

from shared.aws.table import Table
from shared.records import Record

FRESH_MS = 60_000  # an older record says nothing about the present


class QueueLatency(Record):
    """The latency of a queue at `at` (ms): milliseconds from queued to started, and from started to done."""

    at: int = 0
    wait_ms: int = Field(default=0, ge=0)
    run_ms: int = Field(default=0, ge=0)

    def is_fresh(self, now: int) -> bool:
        """Return whether the record is less than a minute old at `now` (ms)."""
        return self.at > now - FRESH_MS


class QueueLatencies:
    """The latencies of the queues, in the table `jobs`.

    Every method raises `Transient` if DynamoDB is throttled or unreachable.
    """

    def __init__(self, table: Table) -> None:
        """Use the table `jobs`."""
        self._table = table

    def record(self, queue: str, latency: QueueLatency) -> None:
        """Replace the latency of a queue. If two workers record at once, either may win."""
        self._table.put({**_key(queue), **latency.model_dump(), "expires_at": latency.at // 1000 + 86_400})

    def latest(self, queue: str) -> QueueLatency:
        """Return the latest latency of a queue. If there is none, return one that is not fresh."""
        return QueueLatency.model_validate(self._table.get(_key(queue), consistent=False) or {})


def _key(queue: str) -> dict[str, str]:
    return {"id": f"latency#{queue}", "part": "latency"}
