"""How fast a lane goes: how long the jobs that were taken last had waited, and how long they ran.

The worker notes it every few seconds, per lane in one item; the API estimates from it when a job will be done.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from pydantic import Field

from shared import aws
from shared.models import Record

FRESH_MS = 60_000  # a note older than this says nothing about now


class Pace(Record):
    """What was seen at `at`: milliseconds from queued to started, and from started to done."""

    at: int = 0
    wait_ms: int = Field(default=0, ge=0)
    run_ms: int = Field(default=0, ge=0)

    def is_fresh(self, now: int) -> bool:
        """Whether it still says something at `now` (ms)."""
        return self.at > now - FRESH_MS


class Paces:
    """The lanes' paces, in the table `jobs`."""

    def __init__(self, table: str) -> None:
        """Of the DynamoDB table `table`; the AWS client is built at first use."""
        self._table = table

    def note(self, lane: str, pace: Pace) -> None:
        """Replace the lane's pace; of two notes at once either will do.

        Raises:
            Transient: when it is not known to be noted.
        """
        item = aws.to_item({**_key(lane), **pace.model_dump(), "expires_at": pace.at // 1000 + 86_400})
        with aws.translated("Noting a lane's pace"):
            self._dynamodb.put_item(TableName=self._table, Item=item)

    def latest(self, lane: str) -> Pace:
        """The lane's latest pace; an old one when there is none.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        with aws.translated("Reading a lane's pace"):
            answer = self._dynamodb.get_item(TableName=self._table, Key=aws.to_item(_key(lane)))
        return Pace.model_validate(aws.from_item(answer.get("Item", {})))

    @cached_property
    def _dynamodb(self) -> Any:
        return aws.client("dynamodb", read_timeout=1, attempts=2)


def _key(lane: str) -> dict[str, str]:
    return {"id": f"pace#{lane}", "part": "pace"}
