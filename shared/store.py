"""The table `jobs`, which is the truth. Every change of a job is one conditional write.

Inputs and results are their own items up to 32 KB compressed, objects in S3 above: updating an item costs its
whole size, so the job's own item stays small.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from pydantic import BaseModel

from shared import aws
from shared.blobs import Blobs
from shared.errors import InputMissing, JobError
from shared.models import (
    DELIVERY_PREFIX,
    TERMINAL,
    Failure,
    IdempotencyKey,
    Job,
    Message,
    Metrics,
    Progress,
    Split,
    Status,
)
from shared.table import Table

DETAIL_LIMIT = 1_000  # characters of a failure's detail
INLINE_LIMIT = 32 * 1024  # bytes, compressed
ATTEMPTS_LIMIT = 5
MERGE_ATTEMPTS_LIMIT = 2 * ATTEMPTS_LIMIT  # merging is not refused because running took its attempts
LEASE_MS = 60_000
FIRST_LOOK_MS = 60_000  # a new job is due this long after it was stored
DUE_SLOTS = 16  # partitions of the index `due`
LIFETIME_SECONDS = 7 * 24 * 3600
DEADLINE_MS = 24 * 3600 * 1000

_JSON = "application/json"
_COUNT_PAGE = 5_000

SPLIT_EXISTS = "attribute_exists(#total)"  # an update would else make an item of its own, without an end

# The fence: what makes a claim this one and no other.
_MINE = "#run = :my_run AND #attempt = :my_attempt AND #owner = :my_owner AND #status = :still"


class KeyTaken(Exception):
    """An idempotency key was used before: for what `used` says."""

    def __init__(self, used: IdempotencyKey) -> None:
        """Keep what it was used for."""
        super().__init__(f"The key was used for job {used.job}")
        self.used = used


class JobStore:
    """Jobs, their inputs, their shards and their results."""

    def __init__(self, table: str, blobs: Blobs) -> None:
        """Of the DynamoDB table `table`, with `blobs` for what is too big."""
        self._items = Table(table)
        self._blobs = blobs

    # Reading

    def get(self, job_id: str, *, now: int) -> Job | None:
        """The job, read consistently; None when there is none, or its time is over at `now` (ms).

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        item = self._items.get(job_id, "job")
        if item is None or item["expires_at"] * 1000 <= now:
            return None
        return Job.model_validate(item)

    def payload(self, job: Job) -> bytes:
        """The input of `job`: what was given to `create`, or what was uploaded.

        Raises:
            InputMissing: when it is gone, or no longer what it was.
            Transient: when a service is busy or away.
        """
        try:
            if job.upload:
                return self._blobs.get(job.upload.key, etag=job.upload.etag)
            return zlib.decompress(self._blobs.get(job.input_key) if job.input_key else self._body(job.id, "input"))
        except (aws.Missing, zlib.error):
            raise InputMissing("The input of this job cannot be read back") from None

    def result(self, job: Job) -> bytes:
        """The result of a succeeded `job` that is kept in the table, as JSON.

        Raises:
            aws.Missing: when it is gone.
            Transient: when DynamoDB is busy or away.
        """
        return zlib.decompress(self._body(job.id, job.result_part or ""))

    # Submitting

    def create(self, job: Job, payload: bytes | None, *, key: IdempotencyKey | None = None) -> None:
        """Store the job with its input, unless that was uploaded; with `key`, all of it or nothing.

        Raises:
            KeyTaken: when `key` was used before.
            Transient: when the job is not known to be stored. Some of it may be, and is done with as if it all were.
        """
        items: list[dict[str, Any]] = []
        if payload is not None:
            compressed = zlib.compress(payload, level=3)
            if len(compressed) <= INLINE_LIMIT:
                items.append({"id": job.id, "part": "input", "body": compressed, "expires_at": job.expires_at})
            else:
                job = job.model_copy(update={"input_key": f"inputs/{job.id}"})
                self._blobs.put(f"inputs/{job.id}", compressed, content_type="application/zlib")
        due = {"due_at": job.created_at + FIRST_LOOK_MS, "due_slot": secrets.randbelow(DUE_SLOTS)}
        items.append({**_plain(job), **due, "open_client": job.client_id, "part": "job"})
        if key is None:
            self._items.put_all(items)
        else:
            self._put_with_key(items, key, now=job.created_at)

    def _put_with_key(self, items: Sequence[Mapping[str, Any]], key: IdempotencyKey, *, now: int) -> None:
        """In one transaction: neither is ever there without the other."""
        unused = aws.expression(
            {"now": now // 1000},
            ConditionExpression="attribute_not_exists(#id) OR #expires_at < :now",
        )
        try:
            self._items.put_together(items, {**_plain(key), "part": "key"}, **unused)
        except aws.ConditionFailed as failed:
            if failed.item is None:
                raise aws.Contended("The idempotency key has just expired") from None
            if failed.item["job"] != key.job:  # else its own write, whose answer was lost
                raise KeyTaken(IdempotencyKey.model_validate(failed.item)) from None

    def key(self, key_id: str, *, now: int) -> IdempotencyKey | None:
        """What an idempotency key was used for; None when it is free at `now` (ms).

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        item = self._items.get(key_id, "key")
        return IdempotencyKey.model_validate(item) if item and item["expires_at"] * 1000 > now else None

    # Listing

    def page(
        self, client_id: str, *, since: str, until: str, after: str | None, limit: int
    ) -> tuple[list[Job], str | None]:
        """At most `limit` of the client's jobs with ids from `since` to `until`, newest first, after the id `after`.

        Returns:
            The jobs, and the id after which there may be more.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        query = aws.expression(
            {"client_id": client_id, "since": since, "until": until},
            KeyConditionExpression="#client_id = :client_id AND #id BETWEEN :since AND :until",
        )
        if after is not None:
            query["ExclusiveStartKey"] = aws.to_item({"client_id": client_id, "id": after, "part": "job"})
        keys, last = self._items.page(IndexName="by_client", ScanIndexForward=False, Limit=limit, **query)
        ids = [key["id"] for key in keys]
        found = self._jobs(ids)
        return [found[job_id] for job_id in ids if job_id in found], last["id"] if last else None

    def count_open(self, client_id: str, *, limit: int) -> int:
        """How many of the client's jobs are open, counted up to about `limit`; it may lag a second behind.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        query = aws.expression({"client_id": client_id}, KeyConditionExpression="#open_client = :client_id")
        return self._items.count(most=limit, IndexName="open", Limit=min(limit, _COUNT_PAGE), **query)

    def _jobs(self, ids: Iterable[str]) -> dict[str, Job]:
        """Jobs by id; those that are gone are missing."""
        found = self._items.get_all((job_id, "job") for job_id in ids)
        return {item["id"]: Job.model_validate(item) for item in found}

    # Claiming

    def claim(self, message: Message, *, owner: str, now: int) -> Job | None:
        """Take the job for `owner` until a lease from `now` (ms) runs out; None when it is not to be had, or split.

        Raises:
            Transient: when nobody knows; the same owner may ask again.
        """
        return self._claim(
            message,
            "(#status = :queued OR (#status = :running AND #lease < :now)) AND attribute_not_exists(#shards)",
            limit=ATTEMPTS_LIMIT,
            owner=owner,
            now=now,
        )

    def claim_merge(self, message: Message, *, owner: str, now: int) -> Job | None:
        """Take a job whose shards are all done, to merge them; None when somebody else does.

        Raises:
            Transient: when nobody knows; the same owner may ask again.
        """
        return self._claim(
            message,
            "#status = :running AND attribute_exists(#shards) AND (attribute_not_exists(#lease) OR #lease < :now)",
            limit=MERGE_ATTEMPTS_LIMIT,
            owner=owner,
            now=now,
        )

    def _claim(self, message: Message, may_be_claimed: str, *, limit: int, owner: str, now: int) -> Job | None:
        update = aws.expression(
            {
                "queued": "queued", "running": "running", "run": message.run, "limit": limit,
                "one": 1, "now": now, "lease": now + LEASE_MS, "owner": owner,
            },
            UpdateExpression="SET #status = :running, #attempt = #attempt + :one, #lease = :lease, "
            "#owner = :owner, #started_at = if_not_exists(#started_at, :now)",
            ConditionExpression=f"{may_be_claimed} AND #run = :run AND #attempt < :limit",
        )  # fmt: skip
        try:
            return Job.model_validate(self._items.update(message.job, "job", update))
        except aws.ConditionFailed as failed:
            # A claim that was executed and then timed out is found by its own repetition.
            mine = failed.item is not None and failed.item.get("owner") == owner
            return Job.model_validate(failed.item) if mine else None

    def extend(self, job: Job, *, now: int) -> bool:
        """Prolong a claim's lease; False when it is no longer this claim's: canceled, or taken by another.

        Raises:
            Transient: when nobody knows.
        """
        return self._leave(job, "SET #lease = :lease", {"lease": now + LEASE_MS})

    def release(self, job: Job) -> bool:
        """Give a claimed job back to its lane; False when it is no longer this claim's.

        Raises:
            Transient: when nobody knows; the lease ends by itself.
        """
        # A split job has nothing to wait for in a lane: its shards go on.
        status: Status = "running" if job.shards else "queued"
        return self._leave(job, "SET #status = :status REMOVE #lease, #owner", {"status": status})

    # Shards

    def split(self, job: Job, total: int, *, now: int) -> bool:
        """Turn a claimed job into `total` shards and let go of it; False when it is no longer this claim's.

        Raises:
            Transient: when nobody knows; the lease ends by itself.
        """
        split = {"id": job.id, "part": f"split#{job.run}", "total": total, "seen": 0, "expires_at": job.expires_at}
        absent = aws.expression({}, ConditionExpression="attribute_not_exists(#id)")
        with suppress(aws.ConditionFailed):  # put by an earlier attempt of this run: it has the same shards
            self._items.put(split, **absent)
        change = "SET #shards = :shards, #due_at = :due_at REMOVE #lease, #owner"
        return self._leave(job, change, {"shards": total, "due_at": now + FIRST_LOOK_MS})

    def shard_done(self, job: Job, shard: int, outcome: bytes) -> Split | None:
        """Store a shard's outcome, then record that it is done; the state of the split after that.

        None when there is no such split any more, because its job was deleted.

        Raises:
            Transient: when it is not known to be recorded.
        """
        self._blobs.put(_shard_key(job, shard), outcome, content_type=_JSON)
        update = aws.expression(
            {"shard": {shard}}, UpdateExpression="ADD #done :shard", ConditionExpression=SPLIT_EXISTS
        )
        try:
            return Split.model_validate(self._items.update(job.id, f"split#{job.run}", update))
        except aws.ConditionFailed:
            return None

    def shard_outcomes(self, job: Job) -> Iterator[bytes]:
        """The outcomes of all shards, in order, one at a time.

        Raises:
            InputMissing: when one is gone.
            Transient: when S3 is busy or away.
        """
        try:
            for shard in range(job.shards or 0):
                yield self._blobs.get(_shard_key(job, shard))
        except aws.Missing:
            raise InputMissing("The outcome of a shard is gone") from None

    def progress(self, job: Job) -> Split | None:
        """How far the shards of `job` are; None when it has none.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        item = self._items.get(job.id, f"split#{job.run}") if job.shards else None
        return Split.model_validate(item) if item else None

    # Finishing

    def succeed(self, job: Job, result: bytes | IO[bytes], *, metrics: Metrics, now: int) -> bool:
        """Store the result, then point the job at it; False when the job is no longer this claim's.

        The result is written first and under this attempt's own name: a loser's copy is never pointed at.

        Raises:
            Transient: when nobody knows; the job stays claimed until its lease ends.
        """
        pointer = self._put_result(job, result, now=now)
        total = job.shards or job.progress.total
        changes = {**pointer, "metrics": metrics, "progress": Progress(done=total, total=total)}
        return self._leave(job, *ending(job, "succeeded", changes, now=now))

    def _put_result(self, job: Job, result: bytes | IO[bytes], *, now: int) -> dict[str, str]:
        name = f"{job.run}.{job.attempt}"
        if isinstance(result, bytes):
            compressed = zlib.compress(result, level=3)
            if len(compressed) <= INLINE_LIMIT:
                expires_at = min(now // 1000 + job.result_ttl_seconds, job.expires_at)
                self._items.put({"id": job.id, "part": f"result#{name}", "body": compressed, "expires_at": expires_at})
                return {"result_part": f"result#{name}"}
        self._blobs.put(f"results/{job.id}/{name}", result, content_type=_JSON)
        return {"result_key": f"results/{job.id}/{name}"}

    def fail(self, job: Job, error: JobError, *, metrics: Metrics, now: int) -> bool:
        """End a claimed job as failed; False when it is no longer this claim's.

        Raises:
            Transient: when nobody knows; the job stays claimed until its lease ends.
        """
        return self._leave(job, *ending(job, "failed", {"failure": failure(error), "metrics": metrics}, now=now))

    # What clients do

    def cancel(self, job: Job, *, now: int) -> bool:
        """End an open job at once; False when its run is over. Whoever holds it learns at its next heartbeat.

        Raises:
            Transient: when nobody knows.
        """
        change, values = ending(job, "canceled", {}, now=now)
        condition = "#run = :my_run AND (#status = :queued OR #status = :still)"
        mine = {"my_run": job.run, "queued": "queued", "still": "running"}
        return self._try(
            job, aws.expression({**values, **mine}, UpdateExpression=change, ConditionExpression=condition)
        )

    def retry(self, job: Job, *, now: int) -> Job | None:
        """Begin the next run of a job that did not succeed; None when it is open, has succeeded or is deleted.

        None, too, while the end of its run is not announced: the announcement tells what the next run overwrites.

        Raises:
            Transient: when nobody knows.
        """
        values = {
            "status": "queued", "run": job.run + 1, "attempt": 0, "queued_at": now, "due_at": now + FIRST_LOOK_MS,
            "due_slot": secrets.randbelow(DUE_SLOTS), "deadline": min(now + DEADLINE_MS, job.expires_at * 1000),
            "progress": _plain(Progress()), "metrics": _plain(Metrics()), "open_client": job.client_id,
        }  # fmt: skip
        assignments = ", ".join(f"#{name} = :{name}" for name in values)
        unsuccessful = {"failed": "failed", "canceled": "canceled", "expired": "expired", "my_run": job.run}
        update = aws.expression(
            {**values, **unsuccessful},
            UpdateExpression=f"SET {assignments} REMOVE #completed_at, #started_at, #failure, #shards",
            ConditionExpression="#run = :my_run AND #status IN (:failed, :canceled, :expired) "
            "AND attribute_not_exists(#deleted_at) AND attribute_not_exists(#due_at)",
        )
        try:
            return Job.model_validate(self._items.update(job.id, "job", update))
        except aws.ConditionFailed as failed:
            # A retry that was executed and then timed out is found by its own repetition.
            mine = {"run": job.run + 1, "attempt": 0, "queued_at": now, "status": "queued"}
            is_mine = failed.item is not None and mine.items() <= failed.item.items()
            return Job.model_validate(failed.item) if is_mine else None

    def delete(self, job: Job, *, now: int) -> None:
        """Leave a tombstone and purge the rest. May be called again, as after a death in between.

        What is still to be announced stays due, and deliveries go on: each holds all that it needs.

        Raises:
            Transient: when something may be left; the same call deletes the rest.
        """
        if not job.is_terminal:
            self.cancel(job, now=now)
        while still_open := self._bury(job.id, now=now):
            self.cancel(still_open, now=now)
        for part in self._parts(job.id):
            self._items.delete(job.id, part)
        # Not an upload, which other jobs may be of, too: the bucket's lifecycle removes it.
        for prefix in (f"inputs/{job.id}", f"results/{job.id}/"):
            self._blobs.delete_below(prefix)

    def _bury(self, job_id: str, *, now: int) -> Job | None:
        """Make a tombstone of a job that has ended; the job instead when it is open, as after another's retry."""
        update = aws.expression(
            {"now": now, **{status: status for status in TERMINAL}},
            UpdateExpression="SET #deleted_at = if_not_exists(#deleted_at, :now) "
            "REMOVE #result_part, #result_key, #input_key, #failure, #metrics",
            ConditionExpression="#status IN (:succeeded, :failed, :canceled, :expired)",
        )
        try:
            self._items.update(job_id, "job", update)
        except aws.ConditionFailed as failed:
            return Job.model_validate(failed.item) if failed.item else None
        return None

    def _parts(self, job_id: str) -> list[str]:
        query = aws.expression({"id": job_id}, KeyConditionExpression="#id = :id", ProjectionExpression="#part")
        parts = [item["part"] for item in self._items.all(**query)]
        # Announcements go on: what is being delivered is not taken back.
        return [part for part in parts if part != "job" and not part.startswith(DELIVERY_PREFIX)]

    # How it is written

    def _leave(self, job: Job, change: str, values: Mapping[str, Any]) -> bool:
        """Apply `change` under the fence: only while the job is still this very claim's."""
        mine = {"my_run": job.run, "my_attempt": job.attempt, "my_owner": job.owner, "still": "running"}
        return self._try(job, aws.expression({**values, **mine}, UpdateExpression=change, ConditionExpression=_MINE))

    def _try(self, job: Job, update: Mapping[str, Any]) -> bool:
        try:
            self._items.update(job.id, "job", update)
        except aws.ConditionFailed as failed:
            return _is_already(failed.item, job, update["ExpressionAttributeValues"])
        return True

    def _body(self, job_id: str, part: str) -> bytes:
        item = self._items.get(job_id, part)
        if item is None:
            raise aws.Missing(f"{part} of job {job_id}")
        body: bytes = item["body"]
        return body


def _plain(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", exclude_none=True)


def failure(error: JobError) -> Failure:
    """What is kept of why a job failed."""
    return Failure(code=error.code, title=error.title, detail=str(error)[:DETAIL_LIMIT], retryable=error.retryable)


def _shard_key(job: Job, shard: int) -> str:
    return f"results/{job.id}/shards/{job.run}/{shard}"


def ending(job: Job, status: Status, changes: Mapping[str, Any], *, now: int) -> tuple[str, dict[str, Any]]:
    """The update that ends a job: nobody holds it any more, and it is due only if its end is to be announced."""
    values = {name: _plain(value) if isinstance(value, BaseModel) else value for name, value in changes.items()}
    values |= {"status": status, "completed_at": now}
    if job.announces(status):
        values["due_at"] = now + FIRST_LOOK_MS
    assignments = ", ".join(f"#{name} = :{name}" for name in values)
    done_with = "" if job.announces(status) else ", #due_at, #due_slot"
    return f"SET {assignments} REMOVE #lease, #owner, #open_client{done_with}", values


def _is_already(found: Mapping[str, Any] | None, job: Job, values: Mapping[str, Any]) -> bool:
    """Whether this very ending was written before, and only its answer was lost."""
    if found is None or ":completed_at" not in values:
        return False
    written = aws.from_item({name: values[f":{name}"] for name in ("status", "completed_at")})
    this = {"run": job.run, "attempt": job.attempt, **written}
    return all(found.get(name) == value for name, value in this.items())
