"""The local cloud from behind.

Jobs are made as `submit` makes them, so that a test knows an id before its message is sent. Leases are over and the
janitor ticks when a test wants it, not after a minute: what is done about it is the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic_core import to_json

from local.stack import Stack
from shared.aws.blobs import Blobs
from shared.aws.items import deserialize, expression, serialize
from shared.aws.queue import Queue
from shared.aws.table import Table
from shared.clock import now_ms
from shared.jobs.job import (
    DEADLINE_MS,
    LIFETIME_SECONDS,
    Job,
    Model,
    WebhookEndpoint,
    job_key,
    new_job_id,
)
from shared.jobs.message import JobMessage
from shared.jobs.shards import ShardStore
from shared.jobs.store import JobStore

TEXT = "Ada Lovelace met Charles Babbage in London. They wrote programs."
BIG_TEXT = "\n\n".join(f"{number}. {TEXT}" for number in range(1600))  # of three shards
_COUNT = "ApproximateNumberOfMessages"
_SERVICES = {"_dynamodb", "_s3", "_sqs"}  # what the functions' own classes build at first use


class Backstage:
    """The local cloud's table, bucket and queues, as root, and its janitor."""

    def __init__(self, stack: Stack) -> None:
        """Needs AWS's settings in the environment."""
        outputs = stack.outputs
        self._table = outputs["jobs_table"]
        self._region = stack.region
        self._dynamodb, self._lambda, self._sqs = map(stack.client, ("dynamodb", "lambda", "sqs"))
        self._client_id = stack.client_id
        self._janitor = outputs["worker_alias_arn"].replace("-worker:", "-janitor:")
        self._dead_letters = outputs["dead_letter_queue_urls"]
        self.queue_urls: dict[str, str] = outputs["queue_urls"]
        self._blobs = Blobs(outputs["bucket"])
        table = Table(self._table)
        self._store, self._shards = JobStore(table, self._blobs), ShardStore(table, self._blobs)
        self._queues = {name: Queue(url) for name, url in self.queue_urls.items()}

    def close(self) -> None:
        """Close what was opened."""
        owners = (self._store._table, self._blobs, *self._queues.values())
        built = [service for owner in owners for name, service in vars(owner).items() if name in _SERVICES]
        for service in (self._dynamodb, self._lambda, self._sqs, *built):
            service.close()

    # Jobs

    def job(self, text: str = TEXT, *, webhook: WebhookEndpoint | None = None) -> Job:
        """Store a job; no message is sent."""
        now = now_ms()
        job = Job(
            id=new_job_id(now),
            client_id=self._client_id,
            model=Model(name="m", version="1"),
            characters=len(text),
            created_at=now,
            queued_at=now,
            deadline=now + DEADLINE_MS,
            expires_at=now // 1000 + LIFETIME_SECONDS,
            webhook=webhook,
        )
        self._store.create(job, to_json({"documents": [{"id": None, "text": text}]}))
        return job

    def send(self, *jobs: Job) -> None:
        """Queue their messages at once."""
        messages = [JobMessage(job=job.id, run=1) for job in jobs]
        self._queues[jobs[0].queue].send_many(messages, client_id=self._client_id)

    def kept(self, job_id: str) -> Job:
        """The job as it is now."""
        kept = self._store.get(job_id, now=now_ms())
        assert kept is not None
        return kept

    def ended(self, job: Job, *, seconds: float = 90) -> Job:
        """The job, once it is terminal, which it must be in so many seconds."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            kept = self.kept(job.id)
            if kept.is_terminal:
                return kept
            time.sleep(0.2)
        pytest.fail(f"Still {kept.status} in attempt {kept.attempt}, lease {kept.lease_expires_at}, due {kept.next_check_at}")

    def jobs(self) -> dict[str, Job]:
        """Every job in the table, by id."""
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=self._table)
        items = [deserialize(item) for page in pages for item in page["Items"]]
        return {item["id"]: Job.model_validate(item) for item in items if item["part"] == "job"}

    def progress(self, job: Job) -> int:
        """How many shards of a job are done."""
        split = self._shards.get_split(job)
        return len(split.done) if split else 0

    def parts(self, job: Job) -> set[str]:
        """The parts of all items of a job."""
        values = {":id": {"S": job.id}}
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table, KeyConditionExpression="id = :id", ExpressionAttributeValues=values
        )
        return {deserialize(item)["part"] for page in pages for item in page["Items"]}

    def documents(self, job: Job) -> list[dict[str, Any]]:
        """The result that a job points at, which must be its last attempt's."""
        name = f"{job.run}.{job.attempt}"
        pointers = (job.result_part, job.result_key)
        assert pointers in {(f"result#{name}", None), (None, f"results/{job.id}/{name}")}
        result = self._blobs.get(job.result_key) if job.result_key else self._store.read_result(job)
        documents: list[dict[str, Any]] = json.loads(result)["documents"]
        return documents

    # Time

    def overdue(self, job: Job) -> bool:
        """Let the lease that `job` was read with be over, and the janitor look at it; False when it went on since."""
        attributes = [name for name in ("lease_expires_at", "next_check_at") if getattr(job, name) is not None]
        change = ", ".join(f"#{name} = :past" for name in attributes)
        same = " AND ".join(f"#{name} = :{name}" for name in (*attributes, "attempt", "status"))
        values = {**job.model_dump(include={"attempt", "status", *attributes}), "past": now_ms() - 1}
        update = expression(values, UpdateExpression=f"SET {change}", ConditionExpression=same)
        try:
            self._dynamodb.update_item(TableName=self._table, Key=serialize(job_key(job.id)), **update)
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def tick(self) -> bool:
        """Have the janitor tick now; whether it lived."""
        return "FunctionError" not in self._lambda.invoke(FunctionName=self._janitor)

    def take_up(self, *left: Job) -> None:
        """Let the leases of dead workers be over, and have the janitor see that; the jobs are as they left them.

        Those that somebody has taken up already, on the janitor's own schedule, are let be.
        """
        self.emptied("isolated")  # or it would only look again later
        for job in left:
            self.overdue(job)
        assert self.tick()

    # Lanes

    def emptied(self, queue: str, *, seconds: float = 60) -> int:
        """Wait until nothing is left to receive, now or later; how many are received and not acknowledged."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            answer = self._sqs.get_queue_attributes(QueueUrl=self.queue_urls[queue], AttributeNames=["All"])
            count = {name: int(value) for name, value in answer["Attributes"].items() if name.startswith(_COUNT)}
            if not count[_COUNT] and not count[f"{_COUNT}Delayed"]:
                return count[f"{_COUNT}NotVisible"]
            time.sleep(0.2)
        pytest.fail(f"The queue {queue} is not emptied")

    def dead_letters(self) -> int:
        """How many there are."""
        answers = [
            self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[_COUNT]) for url in self._dead_letters.values()
        ]
        return sum(int(answer["Attributes"][_COUNT]) for answer in answers)

    @contextmanager
    def paused(self, queue: str) -> Iterator[None]:
        """Let nothing be received from a queue: what is queued meanwhile comes as one batch."""
        with self._changed(queue, {"Enabled": False}, {"Enabled": True}):
            yield

    @contextmanager
    def _changed(self, queue: str, change: dict[str, Any], after: dict[str, Any]) -> Iterator[None]:
        mapping = self._mapping(queue)
        self._lambda.update_event_source_mapping(UUID=mapping, **change)
        try:
            yield
        finally:
            self._lambda.update_event_source_mapping(UUID=mapping, **after)

    def _mapping(self, queue: str) -> str:
        arn = f"arn:aws:sqs:{self._region}:000000000000:{self.queue_urls[queue].rpartition('/')[2]}"
        (mapping,) = self._lambda.list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"]
        identifier: str = mapping["UUID"]
        return identifier
