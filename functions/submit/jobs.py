"""What the API does with jobs; every call is for one client and sees that client's jobs only."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic_core import to_json

from shared import announcements, aws
from shared.addresses import webhook_target
from shared.clients import Client
from shared.clock import now_ms
from shared.errors import Conflict, Gone, InvalidRequest, NotFound, Transient, UrlRefused
from shared.log import logger
from shared.models import (
    RICH_FEATURES_LIMIT,
    AnalyzeRequest,
    Delivery,
    Job,
    Message,
    Model,
    Progress,
    Split,
    Upload,
    UploadRequest,
    Webhook,
    WebhookMessage,
    announced_part,
    new_job_id,
)
from shared.store import DEADLINE_MS, LIFETIME_SECONDS
from shared.views import announcement, delivery_view, job_view, rfc3339, webhook_view

RESULT_URL_SECONDS = 900
UPLOAD_URL_SECONDS = 900
_JOB_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
POLL_FIRST_SECONDS = 0.04
POLL_LAST_SECONDS = 0.5


class Jobs(Protocol):
    """Where jobs are kept."""

    def create(self, job: Job, payload: bytes | None) -> None:
        """Store the input, then the job."""

    def get(self, job_id: str, *, now: int) -> Job | None:
        """The job, None when there is none at `now` (ms)."""

    def result(self, job: Job) -> bytes:
        """The result kept beside the job, as JSON."""

    def progress(self, job: Job) -> Split | None:
        """How far the job's shards are."""

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
    """Where uploads and big results are."""

    def presigned_put(self, key: str, *, content_type: str, size: int, seconds: int) -> tuple[str, dict[str, str]]:
        """A URL that writes `key` once, and the headers to send."""

    def head(self, key: str) -> tuple[str, str, int]:
        """ETag, content type and size of what is at `key`."""

    def presigned_get(self, key: str, *, seconds: int) -> str:
        """A URL that reads `key` for `seconds`."""


class Clients(Protocol):
    """Where clients are kept."""

    def get(self, client_id: str) -> Client | None:
        """The client, None when there is none."""


class Deliveries(Protocol):
    """Where announcements and what became of them are kept; see `shared.deliveries.DeliveryStore`."""

    def of_job(self, job_id: str) -> list[Delivery]:
        """All of a job, the oldest first."""

    def get(self, job_id: str, part: str) -> Delivery | None:
        """One of them."""

    def announce(self, job: Job, body: bytes, *, now: int) -> Delivery:
        """Make the announcement of the run that has ended."""

    def redeliver(self, delivery: Delivery, *, now: int) -> Delivery | None:
        """Attempt it again, at once; None while an attempt is being made."""


class WebhookLane(Protocol):
    """Where messages about deliveries go."""

    def send(self, message: WebhookMessage, *, client_id: str) -> None:
        """Queue a message."""


@dataclass(frozen=True)
class JobService:
    """Jobs as clients see them."""

    jobs: Jobs
    lane: Lane
    solo: Lane
    objects: Objects
    model: Model
    base_url: str
    clients: Clients
    deliveries: Deliveries
    webhooks: WebhookLane
    allow_loopback_webhooks: bool
    now: Callable[[], int] = now_ms
    sleep: Callable[[float], None] = time.sleep

    def submit(self, client_id: str, request: AnalyzeRequest) -> Job:
        """Store the job, then queue it.

        Raises:
            Transient: when the job is not known to be stored; the client may submit again.
        """
        job = self._new_job(client_id, request)
        documents = [document.model_dump() for document in request.sources]
        self.jobs.create(job, to_json({"documents": documents}) if documents else None)
        self._queue(job)
        logger.info("Job queued", job=job.id, characters=job.characters)
        return job

    def _queue(self, job: Job) -> None:
        lane = self.solo if job.lane == "solo" else self.lane
        try:
            lane.send(Message(job=job.id, run=job.run), client_id=job.client_id)
        except Transient as error:
            # The job is stored, so it is accepted: the janitor queues what no message was sent for.
            logger.warning("Job stored but not queued", job=job.id, reason=str(error))

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
        announcements.announce(self.webhooks, job, "canceled")
        return self.get(client_id, job_id)

    def retry(self, client_id: str, job_id: str) -> Job:
        """Begin the job's next run.

        Raises:
            Conflict: when it is open or has succeeded.
            NotFound, Gone, Transient: as `get`.
        """
        job = self.get(client_id, job_id)
        if job.is_unannounced:  # the next run overwrites what the announcement tells
            self._send(self.deliveries.announce(job, announcement(job, base_url=self.base_url), now=self.now()))
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
            announcements.announce(self.webhooks, job, job.status if job.is_terminal else "canceled")
        if job.deleted_at is not None:
            raise Gone("The job was deleted")

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
                raise Gone("The job was deleted")
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

    def view(self, job: Job) -> dict[str, Any]:
        """The job as the API shows it, with its result or the URL of it.

        Raises:
            Transient: when the result cannot be read now.
        """
        shown = {
            **job_view(job, base_url=self.base_url),
            "progress": self._progress(job).model_dump(),
            "webhook": webhook_view(job, self._delivery(job)),
        }
        return {name: value for name, value in {**shown, **self._result(job)}.items() if value is not None}

    def list_deliveries(self, client_id: str, job_id: str) -> dict[str, Any]:
        """What was announced of the job's runs, the oldest first, and what became of it.

        Raises:
            NotFound, Gone, Transient: as `get`.
        """
        job = self.get(client_id, job_id)
        return {"deliveries": [delivery_view(delivery) for delivery in self.deliveries.of_job(job.id)]}

    def redeliver(self, client_id: str, job_id: str) -> dict[str, Any]:
        """Deliver the job's last announcement again, under its own id and from the schedule's beginning.

        Raises:
            Conflict: when there is none, or an attempt is being made.
            NotFound, Gone, Transient: as `get`.
        """
        job = self.get(client_id, job_id)
        found = self.deliveries.of_job(job.id)
        if not found:
            raise Conflict("Nothing was announced yet" if job.webhook else "The job has no webhook")
        again = self.deliveries.redeliver(found[-1], now=self.now())
        if again is None:
            raise Conflict("An attempt is being made at this moment")
        self._send(again)
        return delivery_view(again)

    def _send(self, delivery: Delivery) -> None:
        try:
            self.webhooks.send(delivery.message, client_id=delivery.client)
        except Transient as error:
            logger.warning("A delivery waits for the janitor", delivery=delivery.name, reason=str(error))

    def _delivery(self, job: Job) -> Delivery | None:
        if not job.is_terminal or not job.announces(job.status):
            return None
        return self.deliveries.get(job.id, announced_part(job.run, job.status))

    def _webhook(self, client_id: str, request: AnalyzeRequest) -> Webhook | None:
        """Where to announce the job's end: what the request says, else what is the client's default."""
        if request.webhook is None:
            client = self.clients.get(client_id)
            return Webhook(url=client.webhook_url) if client and client.webhook_url else None
        try:
            webhook_target(request.webhook.url, allow_loopback=self.allow_loopback_webhooks)
        except UrlRefused as error:
            raise _invalid("#/webhook/url", str(error)) from None
        return Webhook(url=request.webhook.url, events=frozenset(request.webhook.events))

    def _progress(self, job: Job) -> Progress:
        split = None if job.is_terminal else self.jobs.progress(job)
        return Progress(done=len(split.done), total=split.total) if split else job.progress

    def _result(self, job: Job) -> dict[str, Any]:
        if job.result_key:
            return {"result_url": self.objects.presigned_get(job.result_key, seconds=RESULT_URL_SECONDS)}
        if not job.result_part:
            return {}
        try:
            return {"result": json.loads(self.jobs.result(job))}
        except aws.Missing:
            raise NotFound("The result of this job has expired") from None

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
            upload=upload,
            webhook=self._webhook(client_id, request),
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
