"""The janitor: it does the scheduled checks, and then drains the dead-letter queues.

The table is the truth. A check makes one conditional write and then sends a message. The write comes first: if two
ticks run at once, one of them wins the write, and if a tick dies before its message, the item is checked again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from functions.janitor.dead_letters import DeadLetters
from functions.janitor.jobs import JobChecker, compute_next_check
from functions.janitor.outcomes import CheckOutcome, DeadLetterOutcome
from shared.aws.queue import Queue
from shared.clock import now_ms
from shared.errors import Transient
from shared.jobs.checks import CHECK_PARTITIONS, JobChecks, ScheduledCheck
from shared.jobs.job import QueueName
from shared.jobs.shards import ShardStore
from shared.jobs.store import JobStore
from shared.log import logger
from shared.webhooks.delivery import Delivery
from shared.webhooks.store import DeliveryStore

PAGE = 500  # checks of one partition that are read at a time
THREADS = 16
_NO_PROGRESS: frozenset[CheckOutcome] = frozenset({"changed_meanwhile", "failed_to_check"})

_Check = Callable[[], CheckOutcome]


@dataclass(frozen=True, kw_only=True)
class Janitor:
    """The janitor, with the stores and queues that it uses. `now` returns the current time (ms)."""

    checks: JobChecks
    jobs: JobStore
    shards: ShardStore
    deliveries: DeliveryStore
    queues: Mapping[QueueName, Queue]
    webhooks: Queue
    dead_letters: DeadLetters
    now: Callable[[], int] = now_ms

    def tick(self, has_time: Callable[[], bool] = lambda: True) -> Counter[CheckOutcome | DeadLetterOutcome]:
        """Do all checks whose time has passed, then drain the dead-letter queues. Return the count of each outcome.

        `has_time` returns whether the tick may begin another page of checks, or another batch of dead letters.

        Raises:
            Transient: If the length of a queue cannot be read. The tick has then done nothing.
        """
        tick = _Tick(self, has_time)
        tick.check_all()
        return tick.outcomes + self.dead_letters.drain(has_time)


class _Tick:
    """The checks of one tick, and the count of their outcomes."""

    def __init__(self, janitor: Janitor, has_time: Callable[[], bool]) -> None:
        # Read the lengths before the checks: the messages that the checks send are no backlog.
        backlogged = frozenset(name for name, queue in janitor.queues.items() if queue.has_visible_messages())
        self._janitor = janitor
        self._has_time = has_time
        self._checker = JobChecker(
            janitor.checks, janitor.shards, janitor.queues, janitor.webhooks, backlogged, janitor.now
        )
        self.outcomes: Counter[CheckOutcome] = Counter()

    def check_all(self) -> None:
        with ThreadPoolExecutor(max_workers=THREADS) as threads:
            for partition in range(CHECK_PARTITIONS):
                self._try_partition(partition, threads)

    def _try_partition(self, partition: int, threads: ThreadPoolExecutor) -> None:
        try:
            self._check_partition(partition, threads)
        except Transient as error:
            logger.warning("Cannot read scheduled checks; the next tick will", partition=partition, reason=str(error))

    def _check_partition(self, partition: int, threads: ThreadPoolExecutor) -> None:
        """Check page by page, until no check is left or a page makes no progress."""
        while self._has_time():
            scheduled = self._janitor.checks.list_due(partition, now=self._janitor.now(), limit=PAGE)
            checks = [*self._list_job_checks(scheduled), *self._list_delivery_checks(scheduled)]
            outcomes = Counter(threads.map(_try_check, checks))
            self.outcomes += outcomes
            if len(scheduled) < PAGE or not checks or outcomes.keys() <= _NO_PROGRESS:
                return

    def _list_job_checks(self, scheduled: Sequence[ScheduledCheck]) -> list[_Check]:
        # Skip stale index entries: their time is not the job's.
        times = {check.id: check.next_check_at for check in scheduled if check.part == "job"}
        jobs = self._janitor.jobs.get_many(times)
        found = [jobs[job_id] for job_id in times if job_id in jobs]
        return [partial(self._checker.check, job) for job in found if job.next_check_at == times[job.id]]

    def _list_delivery_checks(self, scheduled: Sequence[ScheduledCheck]) -> list[_Check]:
        deliveries = self._janitor.deliveries.get_scheduled(scheduled)
        return [partial(self._check_delivery, delivery) for delivery in deliveries]

    def _check_delivery(self, delivery: Delivery) -> CheckOutcome:
        """Send the message for the next attempt: its time has come, or the process that made the last one died."""
        now = self._janitor.now()
        next_at = compute_next_check(now, now - (delivery.next_attempt_at or 0))
        if not self._janitor.deliveries.reschedule(delivery, next_check_at=next_at):
            return "changed_meanwhile"
        self._janitor.webhooks.send(delivery.message, client_id=delivery.client)
        return "delivery_resent"


def _try_check(check: _Check) -> CheckOutcome:
    try:
        return check()
    except Transient as error:
        logger.warning("Cannot check an item; the next tick tries again", reason=str(error))
        return "failed_to_check"
