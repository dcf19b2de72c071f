"""The outcomes that a tick counts. The function returns and logs the counts."""

from __future__ import annotations

from typing import Literal

CheckOutcome = Literal[
    "at_work",  # a worker holds the job; the next check is when its lease expires
    "waiting",  # the job, or one of its shards, waits in a queue with a backlog; the next check is later
    "resent",  # the message of the job, or the messages of its missing shards, were sent again
    "expired",  # the janitor ended the job, because its deadline has passed
    "failed",  # the janitor ended the job, because its attempts are used up or its shards are gone
    "notified",  # the message about the end of the run was sent again
    "delivery_resent",  # the message for the next attempt of a delivery was sent
    "unscheduled",  # the job has ended and needs no check, so its next check was removed
    "changed_meanwhile",  # another process changed the item first, so the janitor did nothing
    "failed_to_check",  # a service was throttled or unreachable; the next tick tries again
]

DeadLetterOutcome = Literal[
    "requeued",  # the message is about an open job, so it was sent to the queue `isolated`
    "dropped",  # the message is not needed: its job has ended, or a scheduled check takes its place
    "unreadable",  # the message is malformed and stays, so that the alarm reports it
]
