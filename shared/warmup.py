"""Warm-up rounds: what gets the worker ready, and what is known about how ready it is.

One item per worker version keeps the latest round: when it began, which environments its pings reached, and which are
ready. `auth` and the janitor begin rounds, the worker reports to them, and what is said about warmth is computed from
the item: a round claims the environments that it counted, not as many as it sent pings.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

from pydantic import Field

from shared import aws
from shared.errors import Transient
from shared.log import logger
from shared.models import Message, Record, Warmth, WarmUp

WARM_MS = 5 * 60_000  # an environment that was ready this recently is taken to live still
PING_AGE_MS = 60_000  # Lambda drops a ping that could not be placed for this long
_THREADS = 16
OVERDUE_SECONDS = 0.5  # what is said when it should be ready by now
TYPICAL_READY_MS = 10_000  # until a round has measured its own
WAITING_LIMIT = 10  # messages that wait for an environment: it does them in one go, as it does a batch


class Environment(Record):
    """One Lambda execution environment, as its last ping left it."""

    ready_at: int
    cold: bool
    load_ms: int
    init_ms: int = 0


class Round(Record):
    """A warm-up round of one worker version.

    `arrived` are the environments that its pings reached, with the time of each; `environments` those that were ready
    lately, in this round or one before. `ready_ms` is how long a cold environment last took, from ping to ready.
    `waiting` is what the first environment that gets ready is to do at once.
    """

    key: str = Field(alias="id")
    round: str = ""
    began_at: int = 0
    wanted: int = 0
    arrived: dict[str, int] = Field(default_factory=dict)
    ready_ms: int = TYPICAL_READY_MS
    environments: dict[str, Environment] = Field(default_factory=dict)
    waiting: list[Message] = Field(default_factory=list)

    @property
    def is_gathered(self) -> bool:
        """Whether its pings have reached as many environments as they should."""
        return len(self.arrived) >= self.wanted

    def ping(self) -> WarmUp:
        """The ping of this round."""
        return WarmUp(key=self.key, round=self.round, began_at=self.began_at, environments=self.wanted)

    def warmth(self, now: int) -> Warmth:
        """The state at `now` (ms), estimated from what the pings recorded."""
        warm = sum(environment.ready_at >= now - WARM_MS for environment in self.environments.values())
        if warm:
            return Warmth(state="warm", ready_in_seconds=0, environments=warm)
        if self.began_at < now - PING_AGE_MS:
            return Warmth(state="cold", ready_in_seconds=None, environments=0)
        left = round((self.began_at + self.ready_ms - now) / 1000, 1)
        return Warmth(state="warming", ready_in_seconds=max(left, OVERDUE_SECONDS), environments=0)


class Rounds:
    """The rounds of every worker version, in the table `jobs`."""

    def __init__(self, table: str) -> None:
        """Of the DynamoDB table `table`; the AWS client is built at first use."""
        self._table = table

    def latest(self, version: str) -> Round:
        """The latest round of worker `version`; an empty one when there was none.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        return self.of(f"warmup#{version}")

    def of(self, key: str) -> Round:
        """The round kept under `key`, as a ping names it.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        with aws.translated("Reading the warm-up round"):
            answer = self._dynamodb.get_item(TableName=self._table, Key=_key(key), ConsistentRead=True)
        return Round.model_validate(aws.from_item(answer["Item"]) if "Item" in answer else {"id": key})

    def begin(self, previous: Round, *, environments: int, now: int) -> Round | None:
        """Begin a round of `environments` after `previous`; None when somebody else just did. One conditional write.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        alive = {name: env for name, env in previous.environments.items() if env.ready_at >= now - WARM_MS}
        begun = {"round": secrets.token_hex(8), "began_at": now, "wanted": environments, "arrived": {}}
        following = previous.model_copy(update={**begun, "environments": alive})
        write = aws.expression(
            {**following.model_dump(mode="json"), "previous": previous.round},
            UpdateExpression="SET #round = :round, #began_at = :began_at, #wanted = :wanted, #arrived = :arrived, "
            "#environments = :environments",
            ConditionExpression="attribute_not_exists(#id) OR #round = :previous",
        )
        return following if self._write(previous.key, write) is not None else None

    def abandon(self, begun: Round) -> None:
        """Forget that a round began, because its pings could not be sent: the next token tries again.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        values = {"never": 0, "round": begun.round}
        write = aws.expression(values, UpdateExpression="SET #began_at = :never", ConditionExpression="#round = :round")
        self._write(begun.key, write)

    def arrive(self, ping: WarmUp, environment_id: str, *, now: int) -> None:
        """Record that a ping reached an environment; nothing when another round has begun since.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        write = aws.expression(
            {"now": now, "round": ping.round},
            UpdateExpression=f"SET #arrived.#{environment_id} = :now",
            ConditionExpression="#round = :round",
        )
        self._write(ping.key, write)

    def wait(self, latest: Round, message: Message) -> bool:
        """Leave `message` to the environment that gets ready next.

        Returns:
            False when one has become ready since `latest` was read, or too many messages wait already.

        Raises:
            Transient: when nobody knows.
        """
        if len(latest.waiting) >= WAITING_LIMIT:
            return False  # without a write, which would cost the whole item
        write = aws.expression(
            {
                "messages": [message.model_dump(exclude_defaults=True)],
                "none": [],
                "ready": len(latest.environments),
                "limit": WAITING_LIMIT,
            },
            UpdateExpression="SET #waiting = list_append(if_not_exists(#waiting, :none), :messages)",
            ConditionExpression="size(#environments) = :ready"
            " AND (attribute_not_exists(#waiting) OR size(#waiting) < :limit)",
        )
        return self._write(latest.key, write) is not None

    def ready(self, ping: WarmUp, environment_id: str, environment: Environment, *, ready_ms: int) -> list[Message]:
        """Record that an environment is ready, `ready_ms` after the ping's round began; what has waited for it.

        Raises:
            Transient: when DynamoDB is busy or away.
        """
        change = f"SET #environments.#{environment_id} = :environment"
        # Only a cold start says how long the next one will take.
        change += ", #ready_ms = :ready_ms" if environment.cold else ""
        change += " REMOVE #waiting"
        write = aws.expression(
            {"environment": environment.model_dump(mode="json"), "ready_ms": ready_ms},
            UpdateExpression=change,
            ConditionExpression="attribute_exists(#environments)",
        )
        before = self._write(ping.key, {**write, "ReturnValues": "UPDATED_OLD"}) or {}
        return [Message.model_validate(message) for message in before.get("waiting", [])]

    def _write(self, key: str, write: Mapping[str, Any]) -> dict[str, Any] | None:
        """What the write was asked to return; None when its condition does not hold."""
        try:
            with aws.translated("Writing the warm-up round"):
                answer = self._dynamodb.update_item(TableName=self._table, Key=_key(key), **write)
        except aws.ConditionFailed:
            return None
        return aws.from_item(answer.get("Attributes", {}))

    @cached_property
    def _dynamodb(self) -> Any:
        return aws.client("dynamodb", read_timeout=1, attempts=2)


class Pings:
    """Asynchronous invokes of the worker's alias `live`."""

    def __init__(self, alias_arn: str) -> None:
        """Of the alias `alias_arn`; the AWS client is built at first use."""
        self._alias_arn = alias_arn

    def send(self, ping: WarmUp) -> None:
        """Ask Lambda to place the round's pings, all at once. Not repeated: the next token is the repetition.

        Raises:
            Transient: when none of them is known to be placed.
        """
        payload = json.dumps({"warm_up": ping.model_dump()})
        service = self._lambda  # built before the threads are
        with ThreadPoolExecutor(max_workers=min(ping.environments, _THREADS)) as threads:
            failures = list(threads.map(lambda _: self._send(service, payload), range(ping.environments)))
        failed = [failure for failure in failures if failure is not None]
        if len(failed) == ping.environments:
            raise failed[0]
        if failed:
            logger.warning("Some pings were not sent", failed=len(failed), reason=str(failed[0]))

    def _send(self, service: Any, payload: str) -> Transient | None:
        try:
            with aws.translated("Sending a warm-up ping"):
                # The alias in the name, not in `Qualifier`: the policy allows the alias's ARN alone.
                service.invoke(FunctionName=self._alias_arn, InvocationType="Event", Payload=payload)
        except Transient as error:
            return error
        return None

    @cached_property
    def _lambda(self) -> Any:
        return aws.client("lambda", read_timeout=1, attempts=1)


def begin_round(rounds: Rounds, pings: Pings, *, version: str, environments: int, cooldown_ms: int, now: int) -> Warmth:
    """Begin a round unless one as big began less than `cooldown_ms` ago; how warm the worker is now.

    Raises:
        Transient: when the round could not be begun or none of its pings be sent; then no round has begun.
    """
    latest = rounds.latest(version)
    if latest.began_at > now - cooldown_ms and latest.wanted >= environments:
        return latest.warmth(now)
    begun = rounds.begin(latest, environments=environments, now=now)
    if begun is None:
        return rounds.latest(version).warmth(now)
    try:
        pings.send(begun.ping())
    except Transient:
        rounds.abandon(begun)
        raise
    return begun.warmth(now)


def _key(key: str) -> dict[str, Any]:
    return aws.to_item({"id": key, "part": "round"})
