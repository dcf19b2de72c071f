"""Lists of a client's jobs, page by page.

A cursor holds the id of the last job that the page before looked at, and a digest of that id and of the client. The
digest detects a cursor that was invented or belongs to another client. A cursor gives no access: every query is for the
client of the token.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import uuid
from datetime import datetime

from functions.submit.requests import ListQuery, to_milliseconds
from shared.errors import InvalidRequest
from shared.jobs.job import Job
from shared.jobs.store import JobStore

INDEX_PAGES_LIMIT = 10  # pages of the index that are read for one page of a list

_DIGEST_BYTES = 8
_FIRST, _LAST = "0", "g"  # sort before and after every job id


def list_jobs(store: JobStore, client_id: str, query: ListQuery, *, now: int) -> tuple[list[Job], str | None]:
    """Return at most `query.limit` of the client's jobs at `now` (ms), newest first, and the cursor of the next page.

    The cursor is None on the last page. The search for jobs of a rare status stops after ten pages of the index. So a
    page can be short, or empty, although more pages follow.

    Raises:
        InvalidRequest: If the cursor or the times are not valid.
        Transient: If DynamoDB is throttled or unreachable.
    """
    _check_times(query, now)
    since, until = _get_first_id(query), _get_last_id(query)
    if since > until:
        return [], None
    after = None if query.cursor is None else read_cursor(client_id, query.cursor, since=since, until=until)
    found: list[Job] = []
    for _ in range(INDEX_PAGES_LIMIT):
        jobs, after = store.list_page(client_id, since=since, until=until, after=after, limit=query.limit)
        for job in jobs:
            found += [job] if _is_listed(job, query, now) else []
            if len(found) == query.limit:
                is_last = after is None and job is jobs[-1]
                return found, None if is_last else make_cursor(client_id, job.id)
        if after is None:
            return found, None
    return found, make_cursor(client_id, after or "")


def make_cursor(client_id: str, job_id: str) -> str:
    """Return the cursor of the page that continues after `job_id`."""
    raw = uuid.UUID(job_id).bytes
    return base64.urlsafe_b64encode(raw + _compute_digest(client_id, raw)).decode()


def read_cursor(client_id: str, cursor: str, *, since: str, until: str) -> str:
    """Return the job id in a cursor of the client.

    Raises:
        InvalidRequest: If no page for this client ended with the cursor, or if its id is not from `since` to `until`.
    """
    try:
        raw = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    if len(raw) != 16 + _DIGEST_BYTES or raw[16:] != _compute_digest(client_id, raw[:16]):
        raise _invalid("cursor", "This is not one of your cursors")
    job_id = str(uuid.UUID(bytes=raw[:16]))
    if not since <= job_id <= until:
        raise _invalid("cursor", "This cursor belongs to a list with other times")
    return job_id


def _is_listed(job: Job, query: ListQuery, now: int) -> bool:
    exists = job.deleted_at is None and job.expires_at * 1000 > now
    return exists and query.status in {None, job.status}


def _check_times(query: ListQuery, now: int) -> None:
    after, before = query.created_after, query.created_before
    if after and to_milliseconds(after) > now:
        raise _invalid("created_after", "It is in the future")
    if after and before and before <= after:
        raise _invalid("created_before", "It is not later than `created_after`")


def _get_first_id(query: ListQuery) -> str:
    """Return a text that sorts at or before the id of each job created after `created_after`."""
    return _make_lowest_id(query.created_after, plus=1) if query.created_after else _FIRST


def _get_last_id(query: ListQuery) -> str:
    """Return a text that sorts after the id of each job created before `created_before`."""
    return _make_lowest_id(query.created_before) if query.created_before else _LAST


def _make_lowest_id(instant: datetime, *, plus: int = 0) -> str:
    """Return a text that sorts before every id of the given millisecond (UUIDv7: RFC 9562, section 5.7)."""
    digits = f"{max(to_milliseconds(instant) + plus, 0) & (1 << 48) - 1:012x}"
    return f"{digits[:8]}-{digits[8:]}"


def _compute_digest(client_id: str, raw: bytes) -> bytes:
    return hashlib.sha256(client_id.encode() + raw).digest()[:_DIGEST_BYTES]


def _invalid(parameter: str, detail: str) -> InvalidRequest:
    return InvalidRequest(f"`{parameter}`: {detail}", errors=[{"parameter": parameter, "detail": detail}])
