"""The store of jobs, their inputs and their results. Every change of a job is one conditional write.

The table `jobs` is the truth; messages are hints. Inputs and results of up to 32 KB, compressed, are items of their
own. Bigger ones are S3 objects. The job's own item stays small, because each update costs the size of the whole item.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

from shared.aws.blobs import Blobs
from shared.aws.client import ConditionFailed, Contended, Missing
from shared.aws.items import expression, serialize
from shared.aws.table import Table
from shared.errors import InputMissing, JobError
from shared.jobs.checks import CHECK_PARTITIONS
from shared.jobs.job import (
    DEADLINE_MS,
    DELIVERY_PREFIX,
    TERMINAL,
    IdempotencyKey,
    Job,
    Metrics,
    Progress,
    Status,
    job_key,
)
from shared.jobs.message import JobMessage
from shared.jobs.writes import FIRST_CHECK_MS, ending, to_failure, to_plain, try_update, update_claimed

INLINE_LIMIT = 32 * 1024  # bytes of a compressed input or result that is stored as an item
ATTEMPTS_LIMIT = 5
MERGE_ATTEMPTS_LIMIT = 2 * ATTEMPTS_LIMIT  # a job that used up its attempts can still be merged
LEASE_MS = 60_000

_JSON = "application/json"
_COUNT_PAGE = 5_000
_NEW = "attribute_not_exists(#id) OR #expires_at < :now"


class IdempotencyKeyTaken(Exception):
    """An idempotency key that an earlier request used. `used` is that request's record."""

    def __init__(self, used: IdempotencyKey) -> None:
        """Keep the record."""
        super().__init__(f"The idempotency key belongs to job {used.job}")
        self.used = used


class JobStore:
    """The jobs in the table `jobs`, and their inputs and results in the table and the bucket.

    Every method raises `Transient` if DynamoDB or S3 is throttled or unreachable. A write may be done all the same.
    """

    def __init__(self, table: Table, blobs: Blobs) -> None:
        """Store items in `table`, and inputs and results that are too big for an item in `blobs`."""
        self._table = table
        self._blobs = blobs

    # Reading

    def get(self, job_id: str, *, now: int) -> Job | None:
        """Return the job, read consistently, or None if there is none or it has expired at `now` (ms)."""
        item = self._table.get(job_key(job_id))
        if item is None or item["expires_at"] * 1000 <= now:
            return None
        return Job.model_validate(item)

    def get_many(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Return jobs by their ids, read consistently. Jobs that do not exist are left out."""
        items = self._table.get_many(job_key(job_id) for job_id in job_ids)
        return {item["id"]: Job.model_validate(item) for item in items}

    def read_input(self, job: Job) -> bytes:
        """Return the input of `job`: the bytes that were passed to `create`, or the uploaded object.

        Raises:
            InputMissing: If the input is gone, or the uploaded object has changed.
            Transient: If DynamoDB or S3 is throttled or unreachable.
        """
        try:
            if job.upload:
                return self._blobs.get(job.upload.key, etag=job.upload.etag)
            compressed = self._blobs.get(job.input_key) if job.input_key else self._read_body(job.id, "input")
            return zlib.decompress(compressed)
        except (Missing, zlib.error):
            raise InputMissing("The input of this job cannot be read back") from None

    def read_result(self, job: Job) -> bytes:
        """Return the result of a succeeded job as JSON, if it is stored in the table.

        Raises:
            Missing: If the result is gone.
            Transient: If DynamoDB is throttled or unreachable.
        """
        return zlib.decompress(self._read_body(job.id, job.result_part or ""))

    def _read_body(self, job_id: str, part: str) -> bytes:
        item = self._table.get(job_key(job_id, part))
        if item is None:
            raise Missing(f"{part} of job {job_id}")
        body: bytes = item["body"]
        return body

    # Submitting

    def create(self, job: Job, payload: bytes | None, *, key: IdempotencyKey | None = None) -> None:
        """Store the job with its input. With `key`, store the key in the same transaction.

        Args:
            job: The new job.
            payload: The input, or None if it was uploaded.
            key: The record of the request's idempotency key.

        Raises:
            IdempotencyKeyTaken: If an earlier request used the key.
            Transient: If DynamoDB or S3 did not confirm the writes. The job may be stored all the same.
        """
        items: list[dict[str, Any]] = []
        if payload is not None:
            compressed = zlib.compress(payload, level=3)
            if len(compressed) <= INLINE_LIMIT:
                items.append({**job_key(job.id, "input"), "body": compressed, "expires_at": job.expires_at})
            else:
                job = job.model_copy(update={"input_key": f"inputs/{job.id}"})
                self._blobs.put(f"inputs/{job.id}", compressed, content_type="application/zlib")
        scheduled = {
            "next_check_at": job.created_at + FIRST_CHECK_MS,
            "check_partition": secrets.randbelow(CHECK_PARTITIONS),
        }
        items.append({**to_plain(job), **scheduled, "open_client": job.client_id, "part": "job"})
        if key is None:
            self._table.put_many(items)
        else:
            self._put_with_key(items, key, now=job.created_at)

    def _put_with_key(self, items: Sequence[Mapping[str, Any]], key: IdempotencyKey, *, now: int) -> None:
        is_unused = expression({"now": now // 1000}, ConditionExpression=_NEW)
        try:
            self._table.put_together(items, {**to_plain(key), "part": "key"}, **is_unused)
        except ConditionFailed as failed:
            if failed.item is None:
                raise Contended("The idempotency key has just expired") from None
            if failed.item["job"] != key.job:  # an equal job means that the SDK repeated this very write
                raise IdempotencyKeyTaken(IdempotencyKey.model_validate(failed.item)) from None

    def get_idempotency_key(self, key_id: str, *, now: int) -> IdempotencyKey | None:
        """Return the record of an idempotency key, or None if the key is unused at `now` (ms)."""
        item = self._table.get(job_key(key_id, "key"))
        return IdempotencyKey.model_validate(item) if item and item["expires_at"] * 1000 > now else None

    # Listing

    def list_page(
        self, client_id: str, *, since: str, until: str, after: str | None, limit: int
    ) -> tuple[list[Job], str | None]:
        """Return up to `limit` jobs of the client, newest first, with ids from `since` to `until`.

        Args:
            client_id: The client.
            since: The lowest id to return.
            until: The highest id to return.
            after: The id to continue after, or None for the first page.
            limit: The most jobs to return.

        Returns:
            The jobs, and the id to continue after. The id is None on the last page.
        """
        query = expression(
            {"client_id": client_id, "since": since, "until": until},
            KeyConditionExpression="#client_id = :client_id AND #id BETWEEN :since AND :until",
        )
        if after is not None:
            query["ExclusiveStartKey"] = serialize({"client_id": client_id, **job_key(after)})
        keys, last = self._table.query_page(IndexName="by_client", ScanIndexForward=False, Limit=limit, **query)
        ids = [key["id"] for key in keys]
        found = self.get_many(ids)
        return [found[job_id] for job_id in ids if job_id in found], last["id"] if last else None

    def count_open(self, client_id: str, *, limit: int) -> int:
        """Return the number of the client's open jobs, counted up to about `limit`. It may lag by a second."""
        query = expression({"client_id": client_id}, KeyConditionExpression="#open_client = :client_id")
        return self._table.count(limit=limit, IndexName="open", Limit=min(limit, _COUNT_PAGE), **query)

    # Claiming

    def claim(self, message: JobMessage, *, claim_token: str, now: int) -> Job | None:
        """Claim the job with a lease that begins at `now` (ms). Return None if it cannot be claimed or is split.

        Raises:
            Transient: If the outcome is unknown. The caller may repeat the call with the same `claim_token`.
        """
        return self._claim(
            message,
            "(#status = :queued OR (#status = :running AND #lease_expires_at < :now)) "
            "AND attribute_not_exists(#shards)",
            limit=ATTEMPTS_LIMIT,
            claim_token=claim_token,
            now=now,
        )

    def claim_merge(self, message: JobMessage, *, claim_token: str, now: int) -> Job | None:
        """Claim a split job to merge its shards. Return None if another worker holds the claim.

        Raises:
            Transient: If the outcome is unknown. The caller may repeat the call with the same `claim_token`.
        """
        return self._claim(
            message,
            "#status = :running AND attribute_exists(#shards) "
            "AND (attribute_not_exists(#lease_expires_at) OR #lease_expires_at < :now)",
            limit=MERGE_ATTEMPTS_LIMIT,
            claim_token=claim_token,
            now=now,
        )

    def _claim(self, message: JobMessage, is_claimable: str, *, limit: int, claim_token: str, now: int) -> Job | None:
        update = expression(
            {
                "queued": "queued", "running": "running", "run": message.run, "limit": limit,
                "one": 1, "now": now, "lease_expires_at": now + LEASE_MS, "claim_token": claim_token,
            },
            UpdateExpression="SET #status = :running, #attempt = #attempt + :one, "
            "#lease_expires_at = :lease_expires_at, #claim_token = :claim_token, "
            "#started_at = if_not_exists(#started_at, :now)",
            ConditionExpression=f"{is_claimable} AND #run = :run AND #attempt < :limit",
        )  # fmt: skip
        try:
            return Job.model_validate(self._table.update(job_key(message.job), update))
        except ConditionFailed as failed:
            # The SDK repeats a claim whose answer was lost. Its own token shows that the first try succeeded.
            is_mine = failed.item is not None and failed.item.get("claim_token") == claim_token
            return Job.model_validate(failed.item) if is_mine else None

    def extend(self, job: Job, *, now: int) -> bool:
        """Extend the lease of a claimed job. Return False if the claim was lost."""
        change = "SET #lease_expires_at = :lease_expires_at"
        return update_claimed(self._table, job, change, {"lease_expires_at": now + LEASE_MS})

    def release(self, job: Job) -> bool:
        """Give up the claim of a job, so that another attempt can begin at once. Return False if the claim was lost.

        Raises:
            Transient: If the outcome is unknown. The lease then expires by itself.
        """
        # A split job is never queued again: its shards go on.
        status: Status = "running" if job.shards else "queued"
        change = "SET #status = :status REMOVE #lease_expires_at, #claim_token"
        return update_claimed(self._table, job, change, {"status": status})

    # Finishing

    def succeed(self, job: Job, result: bytes | IO[bytes], *, metrics: Metrics, now: int) -> bool:
        """Store the result, then point the job at it. Return False if the claim was lost.

        The result is written first, under a name of this attempt. A worker that lost its claim writes a copy to which
        no job ever points.

        Raises:
            Transient: If the outcome is unknown. The job stays claimed until the lease expires.
        """
        pointer = self._put_result(job, result, now=now)
        total = job.shards or job.progress.total
        changes = {**pointer, "metrics": metrics, "progress": Progress(done=total, total=total)}
        return update_claimed(self._table, job, *ending(job, "succeeded", changes, now=now))

    def _put_result(self, job: Job, result: bytes | IO[bytes], *, now: int) -> dict[str, str]:
        name = f"{job.run}.{job.attempt}"
        if isinstance(result, bytes):
            compressed = zlib.compress(result, level=3)
            if len(compressed) <= INLINE_LIMIT:
                expires_at = min(now // 1000 + job.result_ttl_seconds, job.expires_at)
                part = f"result#{name}"
                self._table.put({**job_key(job.id, part), "body": compressed, "expires_at": expires_at})
                return {"result_part": part}
        self._blobs.put(f"results/{job.id}/{name}", result, content_type=_JSON)
        return {"result_key": f"results/{job.id}/{name}"}

    def fail(self, job: Job, error: JobError, *, metrics: Metrics, now: int) -> bool:
        """End a claimed job as failed. Return False if the claim was lost.

        Raises:
            Transient: If the outcome is unknown. The job stays claimed until the lease expires.
        """
        changes = {"failure": to_failure(error), "metrics": metrics}
        return update_claimed(self._table, job, *ending(job, "failed", changes, now=now))

    # Changes by the client

    def cancel(self, job: Job, *, now: int) -> bool:
        """End an open job at once. Return False if its run has already ended.

        A worker that holds the job learns of it at its next heartbeat.
        """
        change, values = ending(job, "canceled", {}, now=now)
        condition = "#run = :my_run AND (#status = :queued OR #status = :still)"
        mine = {"my_run": job.run, "queued": "queued", "still": "running"}
        update = expression({**values, **mine}, UpdateExpression=change, ConditionExpression=condition)
        return try_update(self._table, job, update)

    def retry(self, job: Job, *, now: int) -> Job | None:
        """Begin the next run of a job that failed, was canceled or expired. Return None if that is not possible.

        It is not possible while the job awaits its delivery: the next run overwrites the facts that the event reports.
        """
        values = {
            "status": "queued", "run": job.run + 1, "attempt": 0, "queued_at": now,
            "next_check_at": now + FIRST_CHECK_MS, "check_partition": secrets.randbelow(CHECK_PARTITIONS),
            "deadline": min(now + DEADLINE_MS, job.expires_at * 1000),
            "progress": to_plain(Progress()), "metrics": to_plain(Metrics()), "open_client": job.client_id,
        }  # fmt: skip
        assignments = ", ".join(f"#{name} = :{name}" for name in values)
        unsuccessful = {"failed": "failed", "canceled": "canceled", "expired": "expired", "my_run": job.run}
        update = expression(
            {**values, **unsuccessful},
            UpdateExpression=f"SET {assignments} REMOVE #completed_at, #started_at, #failure, #shards",
            ConditionExpression="#run = :my_run AND #status IN (:failed, :canceled, :expired) "
            "AND attribute_not_exists(#deleted_at) AND attribute_not_exists(#next_check_at)",
        )
        try:
            return Job.model_validate(self._table.update(job_key(job.id), update))
        except ConditionFailed as failed:
            # The SDK repeats a retry whose answer was lost. The item then shows this very retry.
            mine = {"run": job.run + 1, "attempt": 0, "queued_at": now, "status": "queued"}
            is_mine = failed.item is not None and mine.items() <= failed.item.items()
            return Job.model_validate(failed.item) if is_mine else None

    def delete(self, job: Job, *, now: int) -> None:
        """Turn the job into a tombstone and delete its input and results. The call may be repeated.

        The job's webhook deliveries continue, because each holds its own payload.

        Raises:
            Transient: If some of it may remain. The same call deletes the rest.
        """
        if not job.is_terminal:
            self.cancel(job, now=now)
        while still_open := self._make_tombstone(job.id, now=now):
            self.cancel(still_open, now=now)
        for part in self._list_parts(job.id):
            self._table.delete(job_key(job.id, part))
        # An upload may belong to other jobs, too. The bucket's lifecycle rule removes it.
        for prefix in (f"inputs/{job.id}", f"results/{job.id}/"):
            self._blobs.delete_prefix(prefix)

    def _make_tombstone(self, job_id: str, *, now: int) -> Job | None:
        """Turn an ended job into a tombstone. Return the job if it is open, as after a concurrent retry."""
        update = expression(
            {"now": now, **{status: status for status in TERMINAL}},
            UpdateExpression="SET #deleted_at = if_not_exists(#deleted_at, :now) "
            "REMOVE #result_part, #result_key, #input_key, #failure, #metrics",
            ConditionExpression="#status IN (:succeeded, :failed, :canceled, :expired)",
        )
        try:
            self._table.update(job_key(job_id), update)
        except ConditionFailed as failed:
            return Job.model_validate(failed.item) if failed.item else None
        return None

    def _list_parts(self, job_id: str) -> list[str]:
        """Return the sort keys of the items to delete with a job."""
        query = expression({"id": job_id}, KeyConditionExpression="#id = :id", ProjectionExpression="#part")
        parts = [item["part"] for item in self._table.query(**query)]
        return [part for part in parts if part != "job" and not part.startswith(DELIVERY_PREFIX)]
