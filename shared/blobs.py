"""Objects in S3: the inputs and results too big for an item."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import IO, Any

from shared import aws
from shared.errors import Transient

RANGE_BYTES = 8 * 1024 * 1024
RANGES_AT_ONCE = 8


class Blobs:
    """The objects of one bucket."""

    def __init__(self, bucket: str) -> None:
        """Of `bucket`; the AWS client is built at first use."""
        self._bucket = bucket

    def put(self, key: str, body: bytes | IO[bytes], *, content_type: str) -> None:
        """Store `body`, bytes or a file from its beginning, at `key`, replacing what was there.

        Raises:
            Transient: when it is not known to be stored.
        """
        if not isinstance(body, bytes):
            body.seek(0)
        with aws.translated(f"Storing {key}"):
            self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=content_type)

    def get(self, key: str, *, etag: str | None = None) -> bytes:
        """The object at `key`; with `etag` only if it is still that one.

        Raises:
            aws.Missing: when there is none, or another one.
            Transient: when S3 is busy or away.
        """
        unchanged = {"IfMatch": etag} if etag else {}
        with aws.translated(f"Reading {key}"):
            body: bytes = self._s3.get_object(Bucket=self._bucket, Key=key, **unchanged)["Body"].read()
        return body

    def parts(self, key: str, *, size: int) -> Generator[bytes, None, None]:
        """The object at `key`, of `size` bytes, in order; some parts ahead are fetched at once.

        Raises:
            aws.Missing: when there is none, or none of that size.
            Transient: when S3 is busy or away.
        """
        ranges = [(start, min(start + RANGE_BYTES, size)) for start in range(0, size, RANGE_BYTES)]
        with ThreadPoolExecutor(max_workers=RANGES_AT_ONCE) as executor:
            ahead: deque[Future[bytes]] = deque()
            try:
                for bounds in ranges:
                    ahead.append(executor.submit(self._part, key, size, *bounds))
                    if len(ahead) == RANGES_AT_ONCE:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:  # whoever stops early waits for none that has not begun
                executor.shutdown(wait=False, cancel_futures=True)

    def _part(self, key: str, size: int, start: int, end: int) -> bytes:
        with aws.translated(f"Reading {key}"):
            answer = self._s3.get_object(Bucket=self._bucket, Key=key, Range=f"bytes={start}-{end - 1}")
            if answer["ContentRange"].rpartition("/")[2] != str(size):
                raise aws.Missing(f"{key} with {size} bytes")
            part: bytes = answer["Body"].read()
        if len(part) != end - start:
            raise Transient(f"Reading {key}: {len(part)} of {end - start} bytes arrived")
        return part

    def presigned_get(self, key: str, *, seconds: int) -> str:
        """A URL that anyone may read the object at `key` with, for `seconds`."""
        parameters = {"Bucket": self._bucket, "Key": key}
        url: str = self._s3.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds)
        return url

    def presigned_put(self, key: str, *, content_type: str, size: int, seconds: int) -> tuple[str, dict[str, str]]:
        """A URL that anyone may write the object at `key` with, once, for `seconds`; and the headers to send.

        Length and type are signed, and so is that there is no such object yet.
        """
        parameters = {
            "Bucket": self._bucket,
            "Key": key,
            "ContentType": content_type,
            "ContentLength": size,
            "IfNoneMatch": "*",
        }
        url: str = self._s3.generate_presigned_url("put_object", Params=parameters, ExpiresIn=seconds)
        return url, {"content-type": content_type, "content-length": str(size), "if-none-match": "*"}

    def head(self, key: str) -> tuple[str, str, int]:
        """ETag, content type and size of the object at `key`.

        Raises:
            aws.Missing: when there is none.
            Transient: when S3 is busy or away.
        """
        with aws.translated(f"Looking at {key}"):
            found = self._s3.head_object(Bucket=self._bucket, Key=key)
        return found["ETag"], found["ContentType"], found["ContentLength"]

    def delete_below(self, prefix: str) -> None:
        """Delete every object whose key begins with `prefix`.

        Raises:
            Transient: when some may be left; the same call deletes the rest.
        """
        with aws.translated(f"Deleting {prefix}"):
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                for found in page.get("Contents", []):
                    self._s3.delete_object(Bucket=self._bucket, Key=found["Key"])

    @cached_property
    def _s3(self) -> Any:
        return aws.client("s3", read_timeout=20)
