"""Administration of the local cloud: the root user's access to its table, bucket and queues, and to the janitor.

Tests create jobs as `submit` does, so that they know an id before its message is sent. They let leases expire and run
the janitor at the moment that they choose, instead of waiting a minute. The janitor then does the same as on its
schedule.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic_core import to_json

from local.stack import Stack
from shared.aws.blobs import Blobs
from shared.aws.client import ConditionFailed
from shared.aws.items import deserialize, expression
from shared.aws.table import Table
from shared.clock import now_ms
from shared.jobs.job import DEADLINE_MS, LIFETIME_SECONDS, Job, Model, WebhookEndpoint, job_key, new_job_id
from shared.jobs.message import JobMessage
from shared.jobs.shards import ShardStore
from shared.jobs.store import JobStore
from shared.warmup.records import WarmUp, WarmUpRequest
from shared.warmup.store import WarmUpStore
from tests.e2e.polling import poll

TEXT = "Ada Lovelace met Charles Babbage in London. They wrote programs."
BIG_TEXT = "\n\n".join(f"{number}. {TEXT}" for number in range(1600))  # has three shards
_BATCH_LIMIT = 10  # messages of one request
_COUNT = "ApproximateNumberOfMessages"


class CloudAdmin:
    """The local cloud, used with the rights of the root user."""

    def __init__(self, stack: Stack) -> None:
        """Administer `stack`. The caller must close the object."""
        outputs = stack.outputs
        self._client_id = stack.client_id
        self._region = stack.region
        self._bucket: str = outputs["bucket"]
        self._table_name: str = outputs["jobs_table"]
        self._worker_version: str = outputs["settings"]["auth"]["WORKER_VERSION"]
        self._janitor: str = outputs["worker_alias_arn"].replace("-worker:", "-janitor:")
        self._queue_urls: dict[str, str] = outputs["queue_urls"]
        self._dynamodb, self._lambda, self._s3, self._sqs = map(stack.client, ("dynamodb", "lambda", "s3", "sqs"))
        self._table = Table(self._table_name, dynamodb=self._dynamodb)
        # The inputs of the tests fit into the table when compressed, so the stores never use the bucket.
        blobs = Blobs(self._bucket)
        self._store, self._shards = JobStore(self._table, blobs), ShardStore(self._table, blobs)
        self._warm_ups = WarmUpStore(self._table)

    def close(self) -> None:
        """Close the connections to the local cloud."""
        for service in (self._dynamodb, self._lambda, self._s3, self._sqs):
            service.close()

    # Jobs

    def create_job(self, text: str = TEXT, *, webhook: WebhookEndpoint | None = None) -> Job:
        """Store a job of the first client and return it. Send no message."""
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
        """Send the first message of each job. All of the jobs must belong to the same queue."""
        bodies = [JobMessage(job=job.id, run=1).model_dump_json(exclude_defaults=True) for job in jobs]
        for start in range(0, len(bodies), _BATCH_LIMIT):
            entries = [
                {"Id": str(number), "MessageBody": body, "MessageGroupId": self._client_id}
                for number, body in enumerate(bodies[start : start + _BATCH_LIMIT])
            ]
            answer = self._sqs.send_message_batch(QueueUrl=self._queue_urls[jobs[0].first_queue], Entries=entries)
            assert not answer.get("Failed")

    def get_job(self, job_id: str) -> Job:
        """Return the job, which must exist."""
        job = self._store.get(job_id, now=now_ms())
        assert job is not None
        return job

    def wait_for_end(self, job: Job, *, seconds: float = 90) -> Job:
        """Return the job when its run has ended. Fail the test if it has not after `seconds`."""
        return poll(lambda: self.get_job(job.id), lambda latest: latest.is_terminal, seconds=seconds)

    def list_jobs(self) -> dict[str, Job]:
        """Return all jobs in the table by their ids."""
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=self._table_name)
        items = [deserialize(item) for page in pages for item in page["Items"]]
        return {item["id"]: Job.model_validate(item) for item in items if item["part"] == "job"}

    def list_parts(self, job: Job) -> set[str]:
        """Return the sort keys of all items of a job."""
        query = expression({"id": job.id}, KeyConditionExpression="#id = :id")
        return {item["part"] for item in self._table.query(**query)}

    def list_results(self, job: Job) -> set[str]:
        """Return the sort keys of all results of a job that are stored in the table."""
        return {part for part in self.list_parts(job) if part.startswith("result#")}

    def count_done_shards(self, job: Job) -> int:
        """Return how many shards of a job are done."""
        split = self._shards.get_split(job)
        return len(split.done) if split else 0

    def read_documents(self, job: Job) -> list[dict[str, Any]]:
        """Return the documents of the job's result, which must be the result of its last attempt."""
        name = f"{job.run}.{job.attempt}"
        pointers = (job.result_part, job.result_key)
        assert pointers in {(f"result#{name}", None), (None, f"results/{job.id}/{name}")}
        result = self._read_object(job.result_key) if job.result_key else self._store.read_result(job)
        documents: list[dict[str, Any]] = json.loads(result)["documents"]
        return documents

    def _read_object(self, key: str) -> bytes:
        content: bytes = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        return content

    # Recovery

    def expire_lease(self, job: Job) -> bool:
        """Set a job's lease and next check to the past. Return False if the job has changed since it was read."""
        times = [name for name in ("lease_expires_at", "next_check_at") if getattr(job, name) is not None]
        change = ", ".join(f"#{name} = :past" for name in times)
        unchanged = " AND ".join(f"#{name} = :{name}" for name in (*times, "attempt", "status"))
        values = {**job.model_dump(include={"attempt", "status", *times}), "past": now_ms() - 1}
        update = expression(values, UpdateExpression=f"SET {change}", ConditionExpression=unchanged)
        try:
            self._table.update(job_key(job.id), update)
        except ConditionFailed:
            return False
        return True

    def tick(self) -> bool:
        """Run the janitor once. Return False if its process died."""
        return "FunctionError" not in self._lambda.invoke(FunctionName=self._janitor)

    def recover(self, *jobs: Job) -> None:
        """Let the leases of the jobs expire, and let the janitor recover the jobs.

        A job that has changed since it was read is left alone: the janitor's own schedule has recovered it.
        """
        self.wait_until_empty("isolated")  # while messages wait there, the janitor only reschedules a job's check
        for job in jobs:
            self.expire_lease(job)
        assert self.tick()

    # Warm-ups

    def get_warm_up(self) -> WarmUp:
        """Return the latest warm-up of the worker."""
        return self._warm_ups.latest(self._worker_version)

    def request_warm_up(self, environments: int) -> None:
        """Ask the janitor for a warm-up of so many environments, as a schedule does."""
        payload = json.dumps(WarmUpRequest(warm_up=environments).model_dump())
        assert "FunctionError" not in self._lambda.invoke(FunctionName=self._janitor, Payload=payload)

    def forget_warmth(self) -> None:
        """Remove everything from the table that says that the worker is warm or warming."""
        update = expression(
            {"none": {}, "never": 0}, UpdateExpression="SET #environments = :none, #started_at = :never"
        )
        self._table.update({"id": self.get_warm_up().key, "part": "warmup"}, update)
        for queue in ("jobs", "isolated"):
            self._table.delete({"id": f"latency#{queue}", "part": "latency"})

    # Queues

    def wait_until_empty(self, queue: str, *, seconds: float = 60) -> int:
        """Wait until no message waits in a queue. Return how many are received and not acknowledged."""
        counts = poll(
            lambda: self._count_messages(queue),
            lambda counts: counts[_COUNT] == counts[f"{_COUNT}Delayed"] == 0,
            seconds=seconds,
        )
        return counts[f"{_COUNT}NotVisible"]

    def _count_messages(self, queue: str) -> dict[str, int]:
        answer = self._sqs.get_queue_attributes(QueueUrl=self._queue_urls[queue], AttributeNames=["All"])
        return {name: int(value) for name, value in answer["Attributes"].items() if name.startswith(_COUNT)}

    @contextmanager
    def pause(self, queue: str) -> Iterator[None]:
        """Let Lambda receive nothing from a queue during the block. It then receives the messages as one batch."""
        mapping = self._find_mapping(queue)
        self._lambda.update_event_source_mapping(UUID=mapping, Enabled=False)
        try:
            yield
        finally:
            self._lambda.update_event_source_mapping(UUID=mapping, Enabled=True)

    def _find_mapping(self, queue: str) -> str:
        arn = f"arn:aws:sqs:{self._region}:000000000000:{self._queue_urls[queue].rpartition('/')[2]}"
        (mapping,) = self._lambda.list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"]
        identifier: str = mapping["UUID"]
        return identifier

    def find_queue(self, call: str) -> str:
        """Return the name of the queue to which a recorded call of SQS sent a message."""
        (queue,) = (queue for queue, url in self._queue_urls.items() if f'"{url}"' in call)
        return queue
