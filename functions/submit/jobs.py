"""What the API does with jobs; every call is for one client and sees that client's jobs only."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic_core import to_json

from functions.submit.listing import Filters, cursor, position
from functions.submit.webhooks import Webhooks
from shared import aws
from shared.clock import now_ms
from shared.errors import Conflict, Gone, InvalidRequest, KeyReused, NotFound, Transient
from shared.log import logger
from shared.models import (
    RICH_FEATURES_LIMIT,
    AnalyzeRequest,
    IdempotencyKey,
    Job,
    Message,
    Model,
    Upload,
    UploadRequest,
    new_job_id,
)
from shared.store import DEADLINE_MS, LIFETIME_SECONDS, KeyTaken
from shared.views import rfc3339

UPLOAD_URL_SECONDS = 900
KEY_SECONDS = 24 * 3600
CONTENTIONS_LIMIT = 5
PAGES_LIMIT = 10  # of the index, that one page of a list looks through
_JOB_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
POLL_FIRST_SECONDS = 0.04
POLL_LAST_SECONDS = 0.5


class Jobs(Protocol):
    """Where jobs are kept."""

    def create(self, job: Job, payload: bytes | None, *, key: IdempotencyKey | None = None) -> None:
        """Store the input, then the job and the key it came under."""

    def key(self, key_id: str, *, now: int) -> IdempotencyKey | None:
        """What a key was used for."""

    def get(self, job_id: str, *, now: int) -> Job | None:
        """The job, None when there is none at `now` (ms)."""

    def page(
        self, client_id: str, *, since: str, until: str, after: str | None, limit: int
    ) -> tuple[list[Job], str | None]:
        """Some of the client's jobs, newest first, and the id after which there may be more."""

    def cancel(self, job: Job, *, now: int) -> bool:
        """End an open job; False when its run is over."""

    def retry(self, job: Job, *, now: int) -> Job | None:
        """Begin the next run; None when that makes no sense."""

    def delete(self, job: Job, *, now: int) -> None:
        """Leave a tombstone and purge the rest."""


class Lane(Protocol):
    """Where messages go."""

    def send(self, message: Message, *, client_id: str) -> None:
        """Queue a message."""


class Objects(Protocol):
    """Where uploads are."""

    def presigned_put(self, key: str, *, content_type: str, size: int, seconds: int) -> tuple[str, dict[str, str]]:
        """A URL that writes `key` once, and the headers to send."""

    def head(self, key: str) -> tuple[str, str, int]:
        """ETag, content type and size of what is at `key`."""


class AdmitJob(Protocol):
    """Checks a client's limits."""

    def __call__(self, client_id: str, size: int) -> object:
        """Let the client add a job whose input has `size` bytes; raises RateLimited."""


@dataclass(frozen=True)
class Submitted:
    """A job, and whether an earlier request with the same idempotency key made it."""

    job: Job
    is_replayed: bool = False


@dataclass(frozen=True)
class JobService:
    """What clients do with jobs."""

    jobs: Jobs
    lane: Lane
    solo: Lane
    objects: Objects
    model: Model
    admit_job: AdmitJob
    leave: Callable[[Message], bool]  # to the environment that is warming up
    webhooks: Webhooks
    now: Callable[[], int] = now_ms
    sleep: Callable[[float], None] = time.sleep

    def submit(self, client_id: str, request: AnalyzeRequest, *, size: int, key: str | None = None) -> Submitted:
        """Store the job, then queue it; a `key` that was used before gives the job that it was used for.

        `size` is the body's, in bytes; an upload's own counts instead.

        Raises:
            KeyReused: when the key came with another request.
            Gone: when the key's job was deleted.
            RateLimited: when a limit of the client's is reached.
            Transient: when the job is not known to be stored; the client may submit again.
        """
        used = self._key(client_id, key, request) if key else None
        earlier = self.jobs.key(used.id, now=self.now()) if used else None
        if used and earlier:
            return self._replay(client_id, used, earlier)
        job = self._new_job(client_id, request)
        self.admit_job(client_id, job.characters if request.upload_id else size)
        documents = [document.model_dump() for document in request.sources]
        payload = to_json({"documents": documents}) if documents else None
        if used is None:
            self.jobs.create(job, payload)
        elif taken := self._create_once(job, payload, used.model_copy(update={"job": job.id})):
            return self._replay(client_id, used, taken)
        self._queue(job)
        logger.info("Job queued", job=job.id, characters=job.characters)
        return Submitted(job)

    def _create_once(self, job: Job, payload: bytes | None, key: IdempotencyKey) -> IdempotencyKey | None:
        """Create the job unless its key is taken, by a request that came at the same time; what that used it for."""
        for attempt in range(CONTENTIONS_LIMIT):
            try:
                self.jobs.create(job, payload, key=key)
            except KeyTaken as taken:
                return taken.used
            except aws.Contended:
                self.sleep(POLL_FIRST_SECONDS * (attempt + 1))
            else:
                return None
        raise Transient("The idempotency key is in use by other requests")

    def _key(self, client_id: str, key: str, request: AnalyzeRequest) -> IdempotencyKey:
        content = json.dumps(request.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
        return IdempotencyKey(
            id=f"key#{client_id}#{hashlib.sha256(key.encode()).hexdigest()}",
            request_sha256=hashlib.sha256(content.encode()).hexdigest(),
            job="",
            expires_at=self.now() // 1000 + KEY_SECONDS,
        )

    def _replay(self, client_id: str, key: IdempotencyKey, earlier: IdempotencyKey) -> Submitted:
        if earlier.request_sha256 != key.request_sha256:
            raise KeyReused("This Idempotency-Key came with another body before; use a new one")
        job = self.get(client_id, earlier.job)
        if job.status == "queued" and not job.attempt:
            # Its message may be what was lost.
            self._queue(job)
        return Submitted(job, is_replayed=True)

    def _queue(self, job: Job) -> None:
        lane = self.solo if job.lane == "solo" else self.lane
        message = Message(job=job.id, run=job.run)
        try:
            # A big one is only split: its shards need environments of their own, the sooner the better.
            if job.lane == "solo" or not self.leave(message):
                lane.send(message, client_id=job.client_id)
        except Transient as error:
            # The job is stored, so it is accepted: the janitor queues what no message was sent for.
            logger.warning("Job stored but not queued", job=job.id, reason=str(error))

    def page(self, client_id: str, filters: Filters, *, limit: int, after: str | None) -> tuple[list[Job], str | None]:
        """At most `limit` of the client's jobs, newest first, and the cursor that leads on.

        A rare status is not searched for without end: a page may be short, or empty, and still lead on.

        Raises:
            InvalidRequest: for a cursor of another client, or a window in which no job can be.
            Transient: when the store is busy or away.
        """
        filters.check(self.now())
        if filters.since > filters.until:
            return [], None
        after = position(client_id, after, filters) if after is not None else None
        found: list[Job] = []
        for _ in range(PAGES_LIMIT):
            jobs, more = self.jobs.page(client_id, since=filters.since, until=filters.until, after=after, limit=limit)
            for job in jobs:
                found += [job] if self._is_shown(job, filters) else []
                if len(found) == limit:
                    is_last = more is None and job is jobs[-1]
                    return found, None if is_last else cursor(client_id, job.id)
            if more is None:
                return found, None
            after = more
        return found, cursor(client_id, after or "")

    def _is_shown(self, job: Job, filters: Filters) -> bool:
        is_there = job.deleted_at is None and job.expires_at * 1000 > self.now()
        return is_there and filters.status in {None, job.status}

    def announce_upload(self, client_id: str, request: UploadRequest) -> dict[str, Any]:
        """Where and how to upload what `request` announces."""
        upload_id = secrets.token_urlsafe(16)
        url, headers = self.objects.presigned_put(
            _upload_key(client_id, upload_id),
            content_type=request.content_type,
            size=request.size,
            seconds=UPLOAD_URL_SECONDS,
        )
        expires_at = rfc3339(self.now() + UPLOAD_URL_SECONDS * 1000)
        return {"upload_id": upload_id, "method": "PUT", "url": url, "headers": headers, "expires_at": expires_at}

    def cancel(self, client_id: str, job_id: str) -> Job:
        """End an open job at once.

        Raises:
            Conflict: when its run is over.
            NotFound, Gone, Transient: as `get`.
        """
        job = self.get(client_id, job_id)
        if not self.jobs.cancel(job, now=self.now()):
            raise Conflict(f"The job has {self.get(client_id, job_id).status}")
        self.webhooks.announce(job, "canceled")
        return self.get(client_id, job_id)

    def retry(self, client_id: str, job_id: str) -> Job:
        """Begin the job's next run.

        Raises:
            Conflict: when it is open or has succeeded.
            RateLimited: when the client has too many open jobs.
            NotFound, Gone, Transient: as `get`.
        """
        job = self.get(client_id, job_id)
        if job.status in {"failed", "canceled", "expired"}:
            self.admit_job(client_id, 0)
        self.webhooks.settle(job)
        again = self.jobs.retry(job, now=self.now())
        if again is None:
            raise Conflict(f"The job is {job.status}; failed, canceled and expired ones can be retried")
        self._queue(again)
        return again

    def delete(self, client_id: str, job_id: str) -> None:
        """Delete the job, its input and its result; it is canceled first if it is open.

        Raises:
            NotFound, Gone, Transient: as `get`.
        """
        job = self._own(client_id, job_id)
        # Again for a deleted one: what a death in between left is purged now.
        self.jobs.delete(job, now=self.now())
        if job.is_unannounced or not job.is_terminal:
            self.webhooks.announce(job, job.status if job.is_terminal else "canceled")
        if job.deleted_at is not None:
            raise Gone("Its client did that; nothing of it is kept")

    def get(self, client_id: str, job_id: str, *, wait_seconds: float = 0) -> Job:
        """The client's job, as soon as it is terminal but after at most `wait_seconds`.

        Raises:
            NotFound: when there is no such job, or it is another client's.
            Gone: when it was deleted.
            Transient: when the store is busy or away.
        """
        until = self.now() + int(wait_seconds * 1000)
        pause = POLL_FIRST_SECONDS
        while True:
            now = self.now()
            job = self._own(client_id, job_id)
            if job.deleted_at is not None:
                raise Gone("Its client did that; nothing of it is kept")
            if job.is_terminal or now >= until:
                return job
            self.sleep(min(pause, (until - now) / 1000))
            pause = min(pause * 1.25, POLL_LAST_SECONDS)

    def _own(self, client_id: str, job_id: str) -> Job:
        # Not an id: not asked for, since DynamoDB refuses long keys with an error of its own.
        job = self.jobs.get(job_id, now=self.now()) if _JOB_ID.fullmatch(job_id) else None
        if job is None or job.client_id != client_id:
            raise NotFound("There is no such job")
        return job

    def _new_job(self, client_id: str, request: AnalyzeRequest) -> Job:
        now = self.now()
        upload, characters = self._measured(client_id, request)
        if request.is_rich and characters > RICH_FEATURES_LIMIT:
            detail = f"`tokens` and `noun_chunks` take at most {RICH_FEATURES_LIMIT:,} characters"
            raise _invalid("#/features", detail)
        return Job(
            id=new_job_id(now),
            client_id=client_id,
            features=request.features,
            model=self.model,
            characters=characters,
            metadata=request.metadata,
            result_ttl_seconds=request.result_ttl_seconds,
            upload=upload,
            webhook=self.webhooks.of_request(client_id, request),
            created_at=now,
            queued_at=now,
            deadline=now + DEADLINE_MS,
            expires_at=now // 1000 + LIFETIME_SECONDS,
        )

    def _measured(self, client_id: str, request: AnalyzeRequest) -> tuple[Upload | None, int]:
        """The pinned upload, if there is one, and the job's size; an upload's bytes bound its characters."""
        if request.upload_id is None:
            return None, sum(len(document.text) for document in request.sources)
        key = _upload_key(client_id, request.upload_id)
        try:
            etag, content_type, size = self.objects.head(key)
        except aws.Missing:
            raise _invalid("#/upload_id", "There is no such upload, or it was not made yet") from None
        return Upload(key=key, etag=etag, content_type=content_type), size


def _invalid(pointer: str, detail: str) -> InvalidRequest:
    return InvalidRequest(detail, errors=[{"pointer": pointer, "detail": detail}])


def _upload_key(client_id: str, upload_id: str) -> str:
    return f"uploads/{client_id}/{upload_id}"
