"""Conditional writes of a job's item. Each function says which condition guards the change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from shared.aws.client import ConditionFailed
from shared.aws.items import deserialize, expression
from shared.aws.table import Table
from shared.errors import JobError
from shared.jobs.job import Failure, Job, Status, job_key

FIRST_CHECK_MS = 60_000  # time from storing, splitting or ending a job to its first check
FAILURE_DETAIL_LIMIT = 1_000  # characters

# The claim condition: the item still belongs to the claim that read it.
_CLAIM_HOLDS = "#run = :my_run AND #attempt = :my_attempt AND #claim_token = :my_claim_token AND #status = :still"
_UNCHANGED = (
    "#run = :was_run AND #attempt = :was_attempt AND #status = :was_status AND #next_check_at = :was_next_check_at"
)


def update_claimed(table: Table, job: Job, change: str, values: Mapping[str, Any]) -> bool:
    """Apply `change` only while the claim of `job` holds. Return whether it does.

    Raises:
        Transient: If the outcome is unknown.
    """
    claim = {
        "my_run": job.run,
        "my_attempt": job.attempt,
        "my_claim_token": job.claim_token,
        "still": "running",
    }
    return try_update(
        table, job, expression({**values, **claim}, UpdateExpression=change, ConditionExpression=_CLAIM_HOLDS)
    )


def update_unchanged(table: Table, job: Job, change: str, values: Mapping[str, Any]) -> bool:
    """Apply `change` only if nobody has claimed, ended or rescheduled `job` since it was read. Return whether it was.

    Raises:
        Transient: If the outcome is unknown.
    """
    was = {
        "was_run": job.run,
        "was_attempt": job.attempt,
        "was_status": job.status,
        "was_next_check_at": job.next_check_at,
    }
    return try_update(
        table, job, expression({**values, **was}, UpdateExpression=change, ConditionExpression=_UNCHANGED)
    )


def try_update(table: Table, job: Job, update: Mapping[str, Any]) -> bool:
    """Apply `update` to the item of `job`. Return whether its condition held.

    The SDK may repeat a write whose answer was lost. If the item shows the very ending that `update` writes,
    the condition held the first time.

    Raises:
        Transient: If the outcome is unknown.
    """
    try:
        table.update(job_key(job.id), update)
    except ConditionFailed as failed:
        return _has_ended_by(failed.item, job, update["ExpressionAttributeValues"])
    return True


def ending(job: Job, status: Status, changes: Mapping[str, Any], *, now: int) -> tuple[str, dict[str, Any]]:
    """Return the update expression that ends `job` as `status`, and its values.

    The update ends any claim. It leaves the job scheduled for a check only if a webhook event must be delivered.
    """
    values = {name: to_plain(value) if isinstance(value, BaseModel) else value for name, value in changes.items()}
    values |= {"status": status, "completed_at": now}
    removed = ["lease_expires_at", "claim_token", "open_client"]
    if job.has_webhook_for(status):
        values["next_check_at"] = now + FIRST_CHECK_MS
    else:
        removed += ["next_check_at", "check_partition"]
    assignments = ", ".join(f"#{name} = :{name}" for name in values)
    return f"SET {assignments} REMOVE {', '.join(f'#{name}' for name in removed)}", values


def to_failure(error: JobError) -> Failure:
    """Return the record of why a job failed."""
    detail = str(error)[:FAILURE_DETAIL_LIMIT]
    return Failure(code=error.code, title=error.title, detail=detail, retryable=error.retryable)


def to_plain(model: BaseModel) -> dict[str, Any]:
    """Return the fields of `model` as plain values, without those that are None."""
    return model.model_dump(mode="json", exclude_none=True)


def _has_ended_by(found: Mapping[str, Any] | None, job: Job, values: Mapping[str, Any]) -> bool:
    """Return whether the item already shows the ending that `values` describe."""
    if found is None or ":completed_at" not in values:
        return False
    written = deserialize({name: values[f":{name}"] for name in ("status", "completed_at")})
    expected = {"run": job.run, "attempt": job.attempt, **written}
    return all(found.get(name) == value for name, value in expected.items())
