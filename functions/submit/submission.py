"""Submission of jobs. A request with an idempotency key creates at most one job."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic_core import to_json

from functions.submit.admission import Admission, Caller
from functions.submit.dispatch import Dispatcher
from functions.submit.jobs import JobService
from functions.submit.requests import AnalyzeRequest
from functions.submit.uploads import pin_upload
from functions.submit.webhooks import Webhooks
from shared.aws.blobs import Blobs
from shared.aws.client import Contended
from shared.errors import InvalidRequest, KeyReused, Transient
from shared.jobs.features import FEATURES, FeatureName
from shared.jobs.job import DEADLINE_MS, LIFETIME_SECONDS, IdempotencyKey, Job, Model, Upload, new_job_id
from shared.jobs.store import IdempotencyKeyTaken, JobStore
from shared.log import logger

KEY_LIFETIME_SECONDS = 24 * 3600
CONTENTIONS_LIMIT = 5  # tries of a transaction that meets others
CONTENTION_PAUSE_SECONDS = 0.04


@dataclass(frozen=True)
class Submitted:
    """The job of a request. `is_replayed` says whether an earlier request with the same key created it."""

    job: Job
    is_replayed: bool = False


@dataclass(frozen=True)
class Submission:
    """The creation of jobs."""

    store: JobStore
    blobs: Blobs
    jobs: JobService
    admission: Admission
    dispatcher: Dispatcher
    webhooks: Webhooks
    model: Model
    now: Callable[[], int]
    sleep: Callable[[float], None] = time.sleep

    def submit(self, caller: Caller, request: AnalyzeRequest, *, size: int, key: str | None = None) -> Submitted:
        """Store a job and dispatch it. If an earlier request used `key`, return the job of that request.

        Args:
            caller: The client.
            request: The body.
            size: The size of the body in bytes. It counts against the client's quota unless the input was uploaded.
            key: The idempotency key.

        Raises:
            KeyReused: If the key came with another body before.
            Gone: If the job of the key was deleted.
            InvalidRequest: If the upload, the webhook's URL or the size of the input is not acceptable.
            RateLimited: If a limit of the client is reached.
            Transient: If the job may not be stored. The client may repeat the request.
        """
        record = self._make_key(caller.client_id, key, request) if key else None
        used = self.store.get_idempotency_key(record.id, now=self.now()) if record else None
        if record and used:
            return self._replay(caller, record, used)
        job = self._make_job(caller.client_id, request)
        self.admission.admit_job(caller, job.characters if request.upload_id else size)
        documents = [document.model_dump() for document in request.sources]
        payload = to_json({"documents": documents}) if documents else None
        if record is None:
            self.store.create(job, payload)
        elif taken := self._create_with_key(job, payload, record.model_copy(update={"job": job.id})):
            return self._replay(caller, record, taken)
        self.dispatcher.dispatch(job)
        logger.info("Job queued", job=job.id, characters=job.characters)
        return Submitted(job)

    def _create_with_key(self, job: Job, payload: bytes | None, key: IdempotencyKey) -> IdempotencyKey | None:
        """Store the job. If a concurrent request has used the key, return its record instead."""
        for attempt in range(CONTENTIONS_LIMIT):
            try:
                self.store.create(job, payload, key=key)
            except IdempotencyKeyTaken as taken:
                return taken.used
            except Contended:
                self.sleep(CONTENTION_PAUSE_SECONDS * (attempt + 1))
            else:
                return None
        raise Transient("Other requests use the idempotency key at the same time")

    def _make_key(self, client_id: str, key: str, request: AnalyzeRequest) -> IdempotencyKey:
        # The request as it was understood: spelling does not count, nor does a default that a new field adds.
        content = json.dumps(request.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
        return IdempotencyKey(
            id=f"key#{client_id}#{hashlib.sha256(key.encode()).hexdigest()}",
            request_sha256=hashlib.sha256(content.encode()).hexdigest(),
            job="",
            expires_at=self.now() // 1000 + KEY_LIFETIME_SECONDS,
        )

    def _replay(self, caller: Caller, key: IdempotencyKey, used: IdempotencyKey) -> Submitted:
        if used.request_sha256 != key.request_sha256:
            raise KeyReused("This Idempotency-Key came with another body before. Use a new key.")
        job = self.jobs.get(caller.client_id, used.job)
        if job.status == "queued" and not job.attempt:
            # The client may repeat the request because the job's message was lost.
            self.dispatcher.dispatch(job)
        return Submitted(job, is_replayed=True)

    def _make_job(self, client_id: str, request: AnalyzeRequest) -> Job:
        now = self.now()
        upload, characters = self._measure_input(client_id, request)
        _check_characters(request.features, characters)
        return Job(
            id=new_job_id(now),
            client_id=client_id,
            features=request.features,
            model=self.model,
            characters=characters,
            metadata=request.metadata,
            result_ttl_seconds=request.result_ttl_seconds,
            upload=upload,
            webhook=self.webhooks.choose_endpoint(client_id, request),
            created_at=now,
            queued_at=now,
            deadline=now + DEADLINE_MS,
            expires_at=now // 1000 + LIFETIME_SECONDS,
        )

    def _measure_input(self, client_id: str, request: AnalyzeRequest) -> tuple[Upload | None, int]:
        """Return the pinned upload, if there is one, and the characters. The bytes of an upload are never fewer."""
        if request.upload_id is not None:
            return pin_upload(self.blobs, client_id, request.upload_id)
        return None, sum(len(document.text) for document in request.sources)


def _check_characters(features: Sequence[FeatureName], characters: int) -> None:
    """Raise InvalidRequest if the input is too long for one of the features."""
    for name in features:
        limit = FEATURES[name].characters_limit
        if limit is not None and characters > limit:
            limited = [f"`{one.name}`" for one in FEATURES.values() if one.characters_limit == limit]
            detail = f"{' and '.join(limited)} take at most {limit:,} characters"
            raise InvalidRequest(detail, errors=[{"pointer": "#/features", "detail": detail}])
