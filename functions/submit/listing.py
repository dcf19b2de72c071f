"""Which of a client's jobs a list shows, and the cursor that leads on.

A cursor is the id of the last job looked at, with a digest of it and of the client: nobody makes one up by accident,
and another client's is noticed. It opens nothing: every query is for the token's own client.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator

from shared.errors import InvalidRequest
from shared.models import Status

_DIGEST_BYTES = 8
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def _not_a_number(given: object) -> object:
    if not isinstance(given, str) or not _RFC_3339.fullmatch(given):
        raise ValueError("Input should be a date and time with an offset, as in 2026-11-24T12:00:00Z (RFC 3339)")
    return given


# By itself pydantic takes seconds since the epoch as well.
Instant = Annotated[AwareDatetime, BeforeValidator(_not_a_number)]


@dataclass(frozen=True)
class Filters:
    """What a list is narrowed to; `created_after` and `created_before` are exclusive."""

    status: Status | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def check(self, now: int) -> None:
        """Raises InvalidRequest for a window in which no job can be, at `now` (ms)."""
        if self.created_after and _ms(self.created_after) > now:
            raise _invalid("created_after", "It is in the future")
        if self.created_after and self.created_before and self.created_before <= self.created_after:
            raise _invalid("created_before", "It is not later than `created_after`")

    @property
    def since(self) -> str:
        """What no id of the window is below."""
        return _first_id(_ms(self.created_after) + 1) if self.created_after else "0"

    @property
    def until(self) -> str:
        """What no id of the window is above."""
        return _first_id(_ms(self.created_before)) if self.created_before else "g"


def cursor(client_id: str, job_id: str) -> str:
    """The cursor that leads on after `job_id`."""
    raw = uuid.UUID(job_id).bytes
    return base64.urlsafe_b64encode(raw + _digest(client_id, raw)).decode()


def position(client_id: str, given: str, filters: Filters) -> str:
    """The job id that a client's cursor stands for.

    Raises:
        InvalidRequest: when it is not one of this client's cursors, or of another list than `filters` narrow down to.
    """
    try:
        raw = base64.b64decode(given.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    if len(raw) != 16 + _DIGEST_BYTES or raw[16:] != _digest(client_id, raw[:16]):
        raise _invalid("cursor", "This is not a cursor of yours")
    job_id = str(uuid.UUID(bytes=raw[:16]))
    if not filters.since <= job_id <= filters.until:
        raise _invalid("cursor", "This cursor is of another list: of other times")
    return job_id


def _digest(client_id: str, raw: bytes) -> bytes:
    return hashlib.sha256(client_id.encode() + raw).digest()[:_DIGEST_BYTES]


def _first_id(milliseconds: int) -> str:
    """What sorts before every id of that millisecond, and after all earlier ones (UUIDv7: RFC 9562, section 5.7)."""
    digits = f"{max(milliseconds, 0) & (1 << 48) - 1:012x}"
    return f"{digits[:8]}-{digits[8:]}"


def _ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def _invalid(parameter: str, detail: str) -> InvalidRequest:
    return InvalidRequest(f"`{parameter}`: {detail}", errors=[{"parameter": parameter, "detail": detail}])
