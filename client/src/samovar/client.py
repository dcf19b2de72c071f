"""The API of Samovar, as one of its clients."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from pydantic import TypeAdapter

from samovar.errors import ApiError, Conflict, Gone, SamovarError
from samovar.jobs import Job
from samovar.many import in_order
from samovar.models import Delivery, Feature, JobData, Result
from samovar.transport import Answered, Deadline, Transport

WRITE_ONCE_SECONDS = 300  # for an upload of 20 MB over a slow line
NDJSON_SUFFIXES = {".ndjson", ".jsonl"}
_DELIVERIES = TypeAdapter(list[Delivery])

DocumentLike = str | Mapping[str, str]


class Client:
    """Submits jobs and finds them again. For any number of threads; close it, or use it in a `with`.

        client = samovar.Client(url, client_id, client_secret)

    A call is repeated where that is safe, at most until `timeout` seconds are over; see `samovar.errors` for what it
    raises.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: str,
        *,
        timeout: float = 60,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`timeout`: seconds that a call may take, its repetitions included; `transport` replaces the network.

        Raises:
            ValueError: when the URL is none, or is not https and not this machine's.
        """
        self.timeout = timeout
        self._transport = Transport(url, client_id, client_secret, timeout=timeout, transport=transport)

    @classmethod
    def from_environment(cls, *, timeout: float = 60) -> Client:
        """The client that SAMOVAR_URL, SAMOVAR_CLIENT_ID and SAMOVAR_CLIENT_SECRET name.

        Raises:
            SamovarError: when one of them is not set.
        """
        names = ("SAMOVAR_URL", "SAMOVAR_CLIENT_ID", "SAMOVAR_CLIENT_SECRET")
        if missing := [name for name in names if not os.environ.get(name)]:
            raise SamovarError(f"Set {', '.join(missing)}")
        return cls(*(os.environ[name] for name in names), timeout=timeout)

    @property
    def worker(self) -> Mapping[str, Any]:
        """How warm the worker was when the last token was issued: `state`, `ready_in_seconds`, `environments`."""
        return self._transport.worker

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def authenticate(self) -> Mapping[str, Any]:
        """Fetch a token, unless there is one; it warms the worker, too. Returns `worker`."""
        self._transport.authenticate()
        return self.worker

    def analyze(
        self,
        text: str | None = None,
        *,
        documents: Iterable[DocumentLike] | None = None,
        upload_id: str | None = None,
        features: Sequence[Feature] | None = None,
        webhook: str | Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        result_ttl_seconds: int | None = None,
        idempotency_key: str | None = None,
        wait: int = 0,
        timeout: float | None = None,
    ) -> Job:
        """Submit a job: a text, or documents (texts, or `{"id": …, "text": …}`), or what was uploaded.

        A job is made once, however often the call is repeated: it carries `idempotency_key`, a random one if none is
        given. With `wait` (seconds, at most 25) the answer comes when the job has ended, if that is sooner.
        """
        if isinstance(documents, str):
            raise TypeError("`documents` is several: give one text as `text`")
        given = {
            "text": text,
            "documents": None if documents is None else [_document(one) for one in documents],
            "upload_id": upload_id,
            "features": None if features is None else list(features),
            "webhook": {"url": webhook} if isinstance(webhook, str) else webhook,
            "metadata": metadata,
            "result_ttl_seconds": result_ttl_seconds,
        }
        headers = {"idempotency-key": idempotency_key or str(uuid.uuid4())}
        if wait:
            headers["prefer"] = f"wait={wait}"
        body = {name: value for name, value in given.items() if value is not None}
        return self._job(self._call("POST", "/analyze", timeout=timeout, json=body, headers=headers))

    def analyze_many(
        self,
        texts: Iterable[DocumentLike],
        *,
        concurrency: int = 8,
        features: Sequence[Feature] | None = None,
        timeout: float = 3600,
        on_error: Callable[[int, SamovarError], None] | None = None,
    ) -> Iterator[Job]:
        """A job for each text, in their order, each once it has ended; at most `concurrency` are open at a time.

        `texts` may be endless: it is read as jobs end. What has no end within `timeout` seconds, or cannot be
        submitted, raises its error; with `on_error`, that is told its position and its error, and the others go on.
        """

        def run(one: DocumentLike) -> Job:
            source: dict[str, Any] = {"text": one} if isinstance(one, str) else {"documents": [one]}
            return self.analyze(**source, features=features, wait=10).wait(timeout)

        return in_order(run, texts, concurrency=concurrency, on_error=on_error)

    def upload(self, source: str | os.PathLike[str] | bytes, *, content_type: str | None = None) -> str:
        """Upload a file, or bytes, too big to post (up to 20 MB), and return the `upload_id` for `analyze`.

        UTF-8 text; or NDJSON, a document (`{"id": …, "text": …}`) a line, when the name ends in .ndjson or .jsonl, or
        `content_type` is application/x-ndjson.
        """
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
        if content_type is None:
            lines = not isinstance(source, bytes) and Path(source).suffix.lower() in NDJSON_SUFFIXES
            content_type = "application/x-ndjson" if lines else "text/plain"
        announced = self._call("POST", "/uploads", json={"content_type": content_type, "size": len(content)}).json()
        self._put(announced, content)
        upload_id: str = announced["upload_id"]
        return upload_id

    def _put(self, announced: Mapping[str, Any], content: bytes) -> None:
        deadline = Deadline(max(self.timeout, WRITE_ONCE_SECONDS))
        try:
            self._transport.send(
                announced["method"],
                announced["url"],
                repeat="safe",
                deadline=deadline,
                content=content,
                headers=announced["headers"],
            )
        except ApiError as error:
            # The place is this upload's alone and takes one object: an attempt whose answer was lost has filled it.
            if not (error.repeated and error.status == httpx.codes.PRECONDITION_FAILED):
                raise

    def get(self, job_id: str, *, wait: int = 0, timeout: float | None = None) -> Job:
        """The job; with `wait` (seconds, at most 25) as soon as it has ended, if that is sooner."""
        job = self.ask(job_id, wait=wait, timeout=timeout)
        assert job is not None  # noqa: S101 (without an ETag there is no 304)
        return job

    def ask(self, job_id: str, *, wait: int = 0, timeout: float | None = None, etag: str | None = None) -> Job | None:
        """As `get`; None when the job is still what it was at `etag`."""
        headers = {"if-none-match": etag} if etag else {}
        params = {"wait": wait} if wait else {}
        answer = self._call("GET", _path(job_id), timeout=timeout, params=params, headers=headers)
        return None if answer.status == httpx.codes.NOT_MODIFIED else self._job(answer)

    def jobs(
        self,
        *,
        status: str | None = None,
        created_after: datetime | str | None = None,
        created_before: datetime | str | None = None,
        page_size: int | None = None,
    ) -> Iterator[Job]:
        """The client's jobs, newest first, fetched page by page while they are iterated over; without results."""
        given = {
            "status": status,
            "created_after": _time(created_after),
            "created_before": _time(created_before),
            "limit": page_size,
        }
        params = {name: value for name, value in given.items() if value is not None}
        while True:
            page = self._call("GET", "/jobs", params=params).json()
            for job in page["jobs"]:
                yield Job(self, JobData.model_validate(job))
            if not page.get("next_cursor"):
                return
            params["cursor"] = page["next_cursor"]

    def cancel(self, job_id: str) -> Job:
        """End an open job at once.

        Raises:
            Conflict: when it has ended already.
        """
        try:
            return self._job(self._call("POST", f"{_path(job_id)}/cancel"))
        except Conflict as error:
            job = self.get(job_id)
            # An attempt whose answer was lost may have canceled it.
            if error.repeated and job.status == "canceled":
                return job
            raise

    def retry(self, job_id: str) -> Job:
        """Begin the next run of a job that failed, was canceled or has expired. Not repeated when it is in doubt.

        Raises:
            Conflict: when it is open or has succeeded.
        """
        return self._job(self._call("POST", f"{_path(job_id)}/retry", repeat="unsafe"))

    def delete(self, job_id: str) -> None:
        """Delete a job with its input and its result; it is canceled first if it is open.

        Raises:
            Gone: when it was deleted before.
        """
        try:
            self._call("DELETE", _path(job_id))
        except Gone as error:
            if not error.repeated:
                raise

    def deliveries(self, job_id: str) -> list[Delivery]:
        """What was announced of a job, and every attempt to deliver that."""
        return _DELIVERIES.validate_python(self._call("GET", f"{_path(job_id)}/deliveries").json()["deliveries"])

    def redeliver(self, job_id: str) -> Delivery:
        """Deliver the job's last announcement again, under its own id."""
        return Delivery.model_validate(self._call("POST", f"{_path(job_id)}/deliveries").json())

    def fetch_result(self, url: str) -> Result:
        """The result at a `result_url`, which wants no token and gets none."""
        deadline = Deadline(max(self.timeout, WRITE_ONCE_SECONDS))
        return Result.model_validate_json(self._transport.send("GET", url, repeat="safe", deadline=deadline).content)

    def _call(self, method: str, path: str, *, timeout: float | None = None, **request: Any) -> Answered:
        deadline = Deadline(self.timeout if timeout is None else timeout)
        return self._transport.call(method, path, deadline=deadline, **request)

    def _job(self, answer: Answered) -> Job:
        data = JobData.model_validate(answer.json())
        return Job(self, data, etag=answer.headers.get("etag"), retry_after=answer.retry_after)

    def __repr__(self) -> str:
        return f"<samovar.Client {self._transport.url} as {self._transport.client_id}>"


def _path(job_id: str) -> str:
    """The path of a job; an id that is none must not become another path.

    Raises:
        ValueError: when it is none.
    """
    try:
        return f"/jobs/{uuid.UUID(job_id)}"
    except ValueError:
        raise ValueError(f"Not the id of a job: {job_id!r}") from None


def _document(given: DocumentLike) -> Mapping[str, str]:
    return {"text": given} if isinstance(given, str) else given


def _time(given: datetime | str | None) -> str | None:
    """RFC 3339 in UTC.

    Raises:
        ValueError: when a datetime has no time zone, since nobody knows which is meant.
    """
    if given is None or isinstance(given, str):
        return given
    if given.tzinfo is None:
        raise ValueError("A time needs a time zone, as in datetime.now(timezone.utc)")
    return given.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
