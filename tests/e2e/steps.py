"""Steps of a job at which tests kill or hang its worker. Each is a call to AWS, found by its text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared.jobs.job import Job
from tests.e2e.cloud_admin import CloudAdmin
from tests.e2e.faults.control import Faults

# Texts that only one kind of call contains: the claim of a job, the read of its input, the end of its run.
CLAIM, INPUT, FINISH = "if_not_exists(#started_at", '"S": "input"', ":completed_at"

STORED = "between storing the result and finishing"
RUNNING_A_SHARD = "running a shard, before storing its outcome"


@dataclass(frozen=True)
class Step:
    """A call to AWS at which a worker dies or hangs, and the number of the job's attempts at its end.

    `when` says whether that happens before the call is sent or after it is answered. The call contains `text`.
    """

    when: Literal["before", "after"]
    operation: str
    text: str
    attempts: int


SMALL: dict[str, Step] = {
    "after the claim": Step("after", "UpdateItem", CLAIM, attempts=2),
    "after reading the input": Step("after", "GetItem", INPUT, attempts=2),
    "after running the model": Step("before", "PutItem", "result#1.1", attempts=2),
    STORED: Step("after", "PutItem", "result#1.1", attempts=2),
}
# The attempts of a big job: to split it, to send its shards again if none was done, to merge them.
BIG: dict[str, Step] = {
    "splitting, before sending the shards": Step("before", "SendMessageBatch", "", attempts=3),
    RUNNING_A_SHARD: Step("before", "PutObject", "shards/1/1", attempts=2),
    "merging, after reading a shard": Step("after", "GetObject", "shards/1/1", attempts=3),
    "merging, between storing the result and finishing": Step("after", "PutObject", "/1.2", attempts=3),
}
HANGS: dict[str, Step] = {
    "reading the input": Step("after", "GetItem", INPUT, attempts=2),
    "finishing": Step("before", "UpdateItem", FINISH, attempts=2),
}


def kill_worker(faults: Faults, cloud_admin: CloudAdmin, step: Step, job: Job, *, name: str = "death") -> None:
    """Send the job's message, and kill the worker at a step of the job."""
    faults.inject(name, job.id, step.text, act="kill", when=step.when, operation=step.operation)
    cloud_admin.send(job)
    faults.wait_for(name)
