"""Jobs for tests that need them stored or claimed."""

from __future__ import annotations

from shared.jobs.job import DEADLINE_MS, LIFETIME_SECONDS, Job, Model, new_job_id
from shared.jobs.message import JobMessage
from shared.jobs.store import JobStore
from tests.fakes import MemoryJobs

NOW = 1_800_000_000_000


def new_job(**changes: object) -> Job:
    """Return a new job that was created at `NOW`, with some changes."""
    job = Job(
        id=new_job_id(NOW),
        client_id="c_1",
        model=Model(name="m", version="1"),
        characters=5,
        created_at=NOW,
        queued_at=NOW,
        deadline=NOW + DEADLINE_MS,
        expires_at=NOW // 1000 + LIFETIME_SECONDS,
    )
    return job.model_copy(update=changes)


def message_for(job: Job) -> JobMessage:
    """Return the message of the job's current run."""
    return JobMessage(job=job.id, run=job.run)


def claim(jobs: MemoryJobs | JobStore, job: Job, claim_token: str = "a", now: int = NOW) -> Job:
    """Claim a job, and return the claimed job."""
    claimed = jobs.claim(message_for(job), claim_token=claim_token, now=now)
    assert claimed is not None
    return claimed
