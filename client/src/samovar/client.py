"""The class `Client`: the calls of the API."""

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

from samovar.batch import map_in_order
from samovar.errors import ApiError, Conflict, Gone, SamovarError
from samovar.features import Feature
from samovar.inputs import NDJSON, NDJSON_SUFFIXES, parse_input
from samovar.jobs import Job
from samovar.models import Delivery, InputDocument, JobData, Result
from samovar.transport import Deadline, Response, Transport

TRANSFER_SECONDS = 300  # for 20 MB over a slow connection
BATCH_WAIT_SECONDS = 10
_DELIVERIES = TypeAdapter(list[Delivery])
_INPUT_DOCUMENTS = TypeAdapter(list[InputDocument])

DocumentLike = str | Mapping[str, str]


class Client:
    """A client of the API, which submits jobs and finds them again.

        client = samovar.Client(url, client_id, client_secret)

    A client is thread-safe. Close it, or use it in a `with` statement. A call that fails is repeated if that is safe,
    until its timeout. `samovar.errors` lists the exceptions.
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
        """Configure the client without sending anything.

        Args:
            url: The URL of the API.
            client_id: The client's id.
            client_secret: The client's secret.
            timeout: The seconds that a call may take, all its attempts included.
            transport: A replacement of the network, for tests.

        Raises:
            ValueError: If `url` is not a URL, or is neither https nor on this machine.
        """
        self.timeout = timeout
        self._transport = Transport(url, client_id, client_secret, timeout=timeout, transport=transport)

    @classmethod
    def from_environment(cls, *, timeout: float = 60) -> Client:
        """Return a client for SAMOVAR_URL, SAMOVAR_CLIENT_ID and SAMOVAR_CLIENT_SECRET.

        Raises:
            SamovarError: If one of these environment variables is not set.
        """
        names = ("SAMOVAR_URL", "SAMOVAR_CLIENT_ID", "SAMOVAR_CLIENT_SECRET")
        if missing := [name for name in names if not os.environ.get(name)]:
            raise SamovarError(f"Environment variables are missing: set {', '.join(missing)}")
        return cls(*(os.environ[name] for name in names), timeout=timeout)

    @property
    def worker(self) -> Mapping[str, Any]:
        """Return how warm the worker was at the latest token: `state`, `ready_in_seconds`, `environments`."""
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
        """Fetch an access token, unless a valid one is there, and return `worker`. Fetching one warms the worker."""
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
        """Submit a job, and return it. Give exactly one of `text`, `documents` and `upload_id`.

        Args:
            text: The text of one document.
            documents: Several documents, each a text or `{"id": …, "text": …}`.
            upload_id: The id that `upload` returned.
            features: The features to compute. The API's default is `ents` and `sents`.
            webhook: The URL to notify when the job ends, or `{"url": …, "events": […]}`.
            metadata: Names and values that the API returns with the job.
            result_ttl_seconds: The seconds for which the API keeps the result.
            idempotency_key: A key that makes one job of several equal calls. The default is a random key.
            wait: The seconds, at most 25, that the API waits for the job to end before it answers.
            timeout: The seconds that the call may take. The default is the client's timeout.
        """
        body = {
            "text": text,
            "documents": _convert_documents(documents),
            "upload_id": upload_id,
            "features": None if features is None else list(features),
            "webhook": {"url": webhook} if isinstance(webhook, str) else webhook,
            "metadata": metadata,
            "result_ttl_seconds": result_ttl_seconds,
        }
        return self._submit(_remove_none(body), idempotency_key or str(uuid.uuid4()), wait=wait, timeout=timeout)

    def _submit(self, body: Mapping[str, Any], idempotency_key: str, *, wait: int, timeout: float | None) -> Job:
        # The key makes the call idempotent: repeating it cannot create a second job.
        headers = {"idempotency-key": idempotency_key}
        if wait:
            headers["prefer"] = f"wait={wait}"
        return self._parse_job(self._call("POST", "/analyze", timeout=timeout, json=body, headers=headers))

    def analyze_many(
        self,
        texts: Iterable[DocumentLike],
        *,
        concurrency: int = 8,
        features: Sequence[Feature] | None = None,
        timeout: float = 3600,
        on_error: Callable[[int, SamovarError], None] | None = None,
    ) -> Iterator[Job]:
        """Submit a job for each text, and yield each job after it has ended, in the order of the texts.

        Args:
            texts: The texts or `{"id": …, "text": …}` documents. They are read while jobs end, so there may be any
                number.
            concurrency: The largest number of open jobs.
            features: The features to compute. The API's default is `ents` and `sents`.
            timeout: The seconds to wait for each job.
            on_error: A function that is called with the position and the error of a text whose job could not be
                submitted or did not end in time. Without it, the error is raised.
        """

        def run(item: DocumentLike) -> Job:
            source: dict[str, Any] = {"text": item} if isinstance(item, str) else {"documents": [item]}
            return self.analyze(**source, features=features, wait=BATCH_WAIT_SECONDS).wait(timeout)

        return map_in_order(run, texts, concurrency=concurrency, on_error=on_error)

    def upload(self, source: str | os.PathLike[str] | bytes, *, content_type: str | None = None) -> str:
        """Upload a file or bytes of at most 20 MB, and return the `upload_id` for `analyze`.

        Args:
            source: The path of a file, or its content. The content is UTF-8 text, or NDJSON with one
                `{"id": …, "text": …}` document per line.
            content_type: text/plain or application/x-ndjson. The default is application/x-ndjson for a file whose name
                ends in .ndjson or .jsonl, and text/plain otherwise.
        """
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
        if content_type is None:
            is_ndjson = not isinstance(source, bytes) and Path(source).suffix.lower() in NDJSON_SUFFIXES
            content_type = NDJSON if is_ndjson else "text/plain"
        upload = self._call("POST", "/uploads", json={"content_type": content_type, "size": len(content)}).json()
        self._put_upload(upload, content)
        upload_id: str = upload["upload_id"]
        return upload_id

    def _put_upload(self, upload: Mapping[str, Any], content: bytes) -> None:
        deadline = Deadline(max(self.timeout, TRANSFER_SECONDS))
        method, url, headers = upload["method"], upload["url"], upload["headers"]
        try:
            self._transport.send(method, url, idempotent=True, deadline=deadline, content=content, headers=headers)
        except ApiError as error:
            # The URL accepts one object, and only this call knows the URL: an earlier attempt has stored the content.
            if not (error.is_ambiguous and error.status == httpx.codes.PRECONDITION_FAILED):
                raise

    def get(self, job_id: str, *, wait: int = 0, timeout: float | None = None) -> Job:
        """Return a job.

        Args:
            job_id: The job's id.
            wait: The seconds, at most 25, that the API waits for the job to end before it answers.
            timeout: The seconds that the call may take. The default is the client's timeout.
        """
        job = self.get_if_changed(job_id, wait=wait, timeout=timeout)
        assert job is not None  # noqa: S101 (the API answers 304 only to an ETag)
        return job

    def get_if_changed(
        self, job_id: str, *, wait: int = 0, timeout: float | None = None, etag: str | None = None
    ) -> Job | None:
        """Return a job like `get`, or None if its ETag is still `etag`."""
        headers = {"if-none-match": etag} if etag else {}
        params = {"wait": wait} if wait else {}
        answer = self._call("GET", _build_path(job_id), timeout=timeout, params=params, headers=headers)
        return None if answer.status == httpx.codes.NOT_MODIFIED else self._parse_job(answer)

    def jobs(
        self,
        *,
        status: str | None = None,
        created_after: datetime | str | None = None,
        created_before: datetime | str | None = None,
        page_size: int | None = None,
    ) -> Iterator[Job]:
        """Yield the client's jobs, newest first, without results. Each page is fetched when it is needed."""
        filters = {
            "status": status,
            "created_after": _format_time(created_after),
            "created_before": _format_time(created_before),
            "limit": page_size,
        }
        params = _remove_none(filters)
        while True:
            page = self._call("GET", "/jobs", params=params).json()
            for job in page["jobs"]:
                yield Job(self, JobData.model_validate(job))
            if not page.get("next_cursor"):
                return
            params["cursor"] = page["next_cursor"]

    def cancel(self, job_id: str) -> Job:
        """Cancel a queued or running job, and return it.

        Raises:
            Conflict: If the job has already ended.
        """
        try:
            return self._parse_job(self._call("POST", f"{_build_path(job_id)}/cancel"))
        except Conflict as error:
            job = self.get(job_id)
            # An earlier attempt of this call may have canceled the job before its answer was lost.
            if error.is_ambiguous and job.status == "canceled":
                return job
            raise

    def retry(self, job_id: str) -> Job:
        """Start the next run of a job that failed, was canceled or expired, and return the job.

        The call is not repeated if the API may have carried it out.

        Raises:
            Conflict: If the job is queued or running, or has succeeded.
        """
        return self._parse_job(self._call("POST", f"{_build_path(job_id)}/retry", idempotent=False))

    def delete(self, job_id: str) -> None:
        """Delete a job with its input and its result. A queued or running job is canceled first.

        Raises:
            Gone: If the job was already deleted.
        """
        try:
            self._call("DELETE", _build_path(job_id))
        except Gone as error:
            # An earlier attempt of this call may have deleted the job before its answer was lost.
            if not error.is_ambiguous:
                raise

    def input(self, job_id: str) -> list[InputDocument]:
        """Return the submitted documents of a job. An upload or a big input is downloaded from its URL.

        Raises:
            NotFound: If there is no such job, or it belongs to another client.
            Gone: If the job was deleted, and its input with it.
            SamovarError: If the job is of an upload that is not valid text or NDJSON.
        """
        answer = self._call("GET", f"{_build_path(job_id)}/input").json()
        if "documents" in answer:
            return _INPUT_DOCUMENTS.validate_python(answer["documents"])
        return parse_input(self._download(answer["input_url"]), answer["content_type"])

    def deliveries(self, job_id: str) -> list[Delivery]:
        """Return the deliveries of a job's webhook events, with their attempts."""
        return _DELIVERIES.validate_python(self._call("GET", f"{_build_path(job_id)}/deliveries").json()["deliveries"])

    def redeliver(self, job_id: str) -> Delivery:
        """Deliver the job's latest webhook event again, under the same id, and return the delivery."""
        return Delivery.model_validate(self._call("POST", f"{_build_path(job_id)}/deliveries").json())

    def fetch_result(self, url: str) -> Result:
        """Return the result at a job's `result_url`, which needs no access token."""
        return Result.model_validate_json(self._download(url))

    def _download(self, url: str) -> bytes:
        # The URL is signed: the access token must not be sent to another host.
        deadline = Deadline(max(self.timeout, TRANSFER_SECONDS))
        return self._transport.send("GET", url, idempotent=True, deadline=deadline).content

    def _call(self, method: str, path: str, *, timeout: float | None = None, **request: Any) -> Response:
        deadline = Deadline(self.timeout if timeout is None else timeout)
        return self._transport.call(method, path, deadline=deadline, **request)

    def _parse_job(self, answer: Response) -> Job:
        data = JobData.model_validate(answer.json())
        return Job(self, data, etag=answer.headers.get("etag"), retry_after=answer.retry_after)

    def __repr__(self) -> str:
        return f"<samovar.Client {self._transport.url} as {self._transport.client_id}>"


def _build_path(job_id: str) -> str:
    """Return the path of a job. Parse the id first, so that it cannot lead to another path.

    Raises:
        ValueError: If `job_id` is not a UUID.
    """
    try:
        return f"/jobs/{uuid.UUID(job_id)}"
    except ValueError:
        raise ValueError(f"{job_id!r} is not the id of a job: a job's id is a UUID") from None


def _convert_documents(documents: Iterable[DocumentLike] | None) -> list[Mapping[str, str]] | None:
    if isinstance(documents, str):
        raise TypeError("`documents` must be several documents: give one text as `text`")
    if documents is None:
        return None
    return [{"text": document} if isinstance(document, str) else document for document in documents]


def _remove_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _format_time(time: datetime | str | None) -> str | None:
    """Return a time in UTC and in the format of RFC 3339.

    Raises:
        ValueError: If a datetime has no time zone.
    """
    if time is None or isinstance(time, str):
        return time
    if time.tzinfo is None:
        raise ValueError(f"The time {time} has no time zone: give one, as in datetime.now(timezone.utc)")
    return time.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
