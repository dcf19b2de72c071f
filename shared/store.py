"""The table `jobs`, which is the truth. Every change of a job is one conditional write.

Inputs and results are their own items up to 32 KB compressed, objects in S3 above: updating an item costs its
whole size, so the job's own item stays small.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pydantic import BaseModel

from shared import aws
from shared.blobs import Blobs
from shared.errors import InputMissing, JobError
from shared.models import Failure, Job, Message, Metrics, Progress

INLINE_LIMIT = 32 * 1024  # bytes, compressed
ATTEMPTS_LIMIT = 5
LEASE_MS = 60_000
FIRST_LOOK_MS = 60_000  # a new job is due this long after it was stored
DUE_SLOTS = 16  # partitions of the index `due`
LIFETIME_SECONDS = 7 * 24 * 3600
DEADLINE_MS = 24 * 3600 * 1000

_JSON = "application/json"


class JobStore:
    """Jobs, their inputs and their results."""

    def __init__(self, table: str, blobs: Blobs) -> None:
        """Of the DynamoDB table `table`, with `blobs` for what is too big; the AWS client is built at first use."""
        self._table = table
        self._blobs = blobs

    def create(self, job: Job, payload: bytes) -> None:
        """Store the input, then the job: a job that is there has its input.

        Raises:
            Transient: when the job is not known to be stored.
        """
        compressed = zlib.compress(payload, level=3)
        if len(compressed) <= INLINE_LIMIT:
            self._put({"id": job.id, "part": "input", "body": compressed, "expires_at": job.expires_at})
        else:
            job = job.model_copy(update={"input_key": f"inputs/{job.id}"})
            self._blobs.put(f"inputs/{job.id}", compressed, content_type="application/zlib")
        due = {"due_at": job.created_at + FIRST_LOOK_MS, "due_slot": secrets.randbelow(DUE_SLOTS)}
        self._put({**_plain(job), **due, "part": "job"})

    def get(self, job_id: str, *, now: int) -> Job | None:
        """The job, read consistently; None when there is none, or its time is over at `now` (ms).

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        item = self._get(job_id, "job")
        if item is None or item["expires_at"] * 1000 <= now:
            return None
        return Job.model_validate(item)

    def payload(self, job: Job) -> bytes:
        """The input of `job`, as it was given to `create`.

        Raises:
            InputMissing: when it is gone.
            Transient: when a service is busy or away.
        """
        try:
            compressed = self._blobs.get(job.input_key) if job.input_key else self._body(job.id, "input")
            return zlib.decompress(compressed)
        except (aws.Missing, zlib.error):
            raise InputMissing("The input of this job cannot be read back") from None

    def result(self, job: Job) -> bytes:
        """The result of a succeeded `job` that is kept in the table, as JSON.

        Raises:
            aws.Missing: when it is gone.
            Transient: when DynamoDB is busy or away.
        """
        return zlib.decompress(self._body(job.id, job.result_part or ""))

    def claim(self, message: Message, *, owner: str, now: int) -> Job | None:
        """Take the job for `owner` until a lease from `now` (ms) runs out; None when it is not to be had.

        Raises:
            Transient: when nobody knows; the same owner may ask again.
        """
        may_be_claimed = "(#status = :queued OR (#status = :running AND #lease < :now))"
        update = aws.expression(
            {
                "queued": "queued", "running": "running", "run": message.run, "limit": ATTEMPTS_LIMIT,
                "one": 1, "now": now, "lease": now + LEASE_MS, "owner": owner,
            },
            UpdateExpression="SET #status = :running, #attempt = #attempt + :one, #lease = :lease, "
            "#owner = :owner, #started_at = if_not_exists(#started_at, :now)",
            ConditionExpression=f"{may_be_claimed} AND #run = :run AND #attempt < :limit",
        )  # fmt: skip
        try:
            return Job.model_validate(self._update(message.job, update))
        except aws.ConditionFailed as failed:
            # A claim that was executed and then timed out is found by its own repetition.
            mine = failed.item is not None and failed.item.get("owner") == owner
            return Job.model_validate(failed.item) if mine else None

    def release(self, job: Job) -> bool:
        """Give a claimed job back to its lane; False when it is no longer this claim's.

        Raises:
            Transient: when nobody knows; the lease ends by itself.
        """
        return self._leave(job, "SET #status = :queued REMOVE #lease, #owner", {"queued": "queued"})

    def succeed(self, job: Job, result: bytes, *, metrics: Metrics, now: int) -> bool:
        """Store the result, then point the job at it; False when the job is no longer this claim's.

        The result is written first and under this attempt's own name: a loser's copy is never pointed at.

        Raises:
            Transient: when nobody knows; the job stays claimed until its lease ends.
        """
        name = f"{job.run}.{job.attempt}"
        compressed = zlib.compress(result, level=3)
        if len(compressed) <= INLINE_LIMIT:
            pointer = {"result_part": f"result#{name}"}
            part = pointer["result_part"]
            self._put({"id": job.id, "part": part, "body": compressed, "expires_at": job.expires_at})
        else:
            pointer = {"result_key": f"results/{job.id}/{name}"}
            self._blobs.put(pointer["result_key"], result, content_type=_JSON)
        done = Progress(done=job.progress.total, total=job.progress.total)
        return self._finish(job, {**pointer, "status": "succeeded", "metrics": metrics, "progress": done}, now=now)

    def fail(self, job: Job, error: JobError, *, metrics: Metrics, now: int) -> bool:
        """End a claimed job as failed; False when it is no longer this claim's.

        Raises:
            Transient: when nobody knows; the job stays claimed until its lease ends.
        """
        failure = Failure(code=error.code, title=error.title, detail=str(error), retryable=error.retryable)
        return self._finish(job, {"status": "failed", "failure": failure, "metrics": metrics}, now=now)

    def _finish(self, job: Job, changes: Mapping[str, Any], *, now: int) -> bool:
        values = {name: _plain(value) if isinstance(value, BaseModel) else value for name, value in changes.items()}
        values["completed_at"] = now
        assignments = ", ".join(f"#{name} = :{name}" for name in values)
        return self._leave(job, f"SET {assignments} REMOVE #lease, #owner, #due_at, #due_slot", values)

    def _leave(self, job: Job, change: str, values: Mapping[str, Any]) -> bool:
        """Apply `change` under the fence: only while the job is still this very claim's."""
        update = aws.expression(
            {**values, "my_run": job.run, "my_attempt": job.attempt, "still": "running"},
            UpdateExpression=change,
            ConditionExpression="#run = :my_run AND #attempt = :my_attempt AND #status = :still",
        )
        try:
            self._update(job.id, update)
        except aws.ConditionFailed as failed:
            return _is_already(failed.item, job, values)
        return True

    def _update(self, job_id: str, update: Mapping[str, Any]) -> dict[str, Any]:
        with aws.translated(f"Updating job {job_id}"):
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key=aws.to_item({"id": job_id, "part": "job"}),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **update,
            )
        return aws.from_item(answer["Attributes"])

    def _put(self, values: Mapping[str, Any]) -> None:
        with aws.translated(f"Storing {values['part']} of job {values['id']}"):
            self._dynamodb.put_item(TableName=self._table, Item=aws.to_item(values))

    def _get(self, job_id: str, part: str) -> dict[str, Any] | None:
        key = aws.to_item({"id": job_id, "part": part})
        with aws.translated(f"Reading {part} of job {job_id}"):
            answer = self._dynamodb.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        return aws.from_item(answer["Item"]) if "Item" in answer else None

    def _body(self, job_id: str, part: str) -> bytes:
        item = self._get(job_id, part)
        if item is None:
            raise aws.Missing(f"{part} of job {job_id}")
        body: bytes = item["body"]
        return body

    @cached_property
    def _dynamodb(self) -> Any:
        return aws.client("dynamodb", connections=32)


def _plain(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", exclude_none=True)


def _is_already(found: Mapping[str, Any] | None, job: Job, values: Mapping[str, Any]) -> bool:
    """Whether this very write was executed before, and only its answer was lost."""
    if found is None or found["run"] != job.run or found["attempt"] != job.attempt:
        return False
    return "completed_at" in values and found.get("completed_at") == values["completed_at"]
