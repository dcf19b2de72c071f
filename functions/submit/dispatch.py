"""The dispatch of queued jobs to workers: by a message, or by the warm-up that is in progress."""

from __future__ import annotations

from dataclasses import dataclass

from functions.submit.estimates import Estimates
from shared.aws.queue import Queue
from shared.errors import Transient
from shared.jobs.job import Job
from shared.jobs.message import JobMessage
from shared.log import logger


@dataclass(frozen=True)
class Dispatcher:
    """The queues `jobs` and `isolated`, and the warm-up, for jobs whose run begins."""

    jobs: Queue
    isolated: Queue
    estimates: Estimates

    def dispatch(self, job: Job) -> None:
        """Assign the job to the warm-up, or send its message.

        A message that cannot be sent is only logged: the job is stored, so the janitor sends the message again.
        """
        message = JobMessage(job=job.id, run=job.run)
        # The message of a big job only splits it. Its shards need other environments, and the sooner the better.
        if job.queue == "jobs" and self.estimates.assign(message):
            return
        queue = self.jobs if job.queue == "jobs" else self.isolated
        try:
            queue.send(message, client_id=job.client_id)
        except Transient as error:
            logger.warning("Cannot send the message of a job; the janitor will", job=job.id, reason=str(error))
