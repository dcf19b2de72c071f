"""S3 objects: inputs, results and artifacts that are too big for a DynamoDB item."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import IO, Any

from shared.aws.client import Missing, make_client, translate_errors
from shared.errors import Transient

RANGE_BYTES = 8 * 1024 * 1024
CONCURRENT_RANGES = 8


class Blobs:
    """The objects of one bucket."""

    def __init__(self, bucket: str) -> None:
        """Use the bucket `bucket`. The AWS client is built at first use."""
        self._bucket = bucket

    def put(self, key: str, body: bytes | IO[bytes], *, content_type: str) -> None:
        """Store `body` at `key` and replace any former object. A file is read from its beginning.

        Raises:
            Transient: If S3 did not confirm the write.
        """
        if not isinstance(body, bytes):
            body.seek(0)
        with translate_errors(f"Storing {key}"):
            self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=content_type)

    def get(self, key: str, *, etag: str | None = None) -> bytes:
        """Return the object at `key`. With `etag`, return it only if its ETag is the same.

        Raises:
            Missing: If there is no object, or its ETag differs.
            Transient: If S3 is throttled or unreachable.
        """
        unchanged = {"IfMatch": etag} if etag else {}
        with translate_errors(f"Reading {key}"):
            body: bytes = self._s3.get_object(Bucket=self._bucket, Key=key, **unchanged)["Body"].read()
        return body

    def stream(self, key: str, *, size: int) -> Generator[bytes, None, None]:
        """Yield the object at `key` in order, in parts of 8 MiB. Fetch up to eight parts at the same time.

        Args:
            key: The object's key.
            size: The object's size in bytes.

        Raises:
            Missing: If there is no object of this size.
            Transient: If S3 is throttled or unreachable.
        """
        ranges = [(start, min(start + RANGE_BYTES, size)) for start in range(0, size, RANGE_BYTES)]
        with ThreadPoolExecutor(max_workers=CONCURRENT_RANGES) as executor:
            pending: deque[Future[bytes]] = deque()
            try:
                for bounds in ranges:
                    pending.append(executor.submit(self._get_range, key, size, *bounds))
                    if len(pending) == CONCURRENT_RANGES:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:  # a caller that stops early must not wait for parts that have not begun
                executor.shutdown(wait=False, cancel_futures=True)

    def _get_range(self, key: str, size: int, start: int, end: int) -> bytes:
        with translate_errors(f"Reading {key}"):
            answer = self._s3.get_object(Bucket=self._bucket, Key=key, Range=f"bytes={start}-{end - 1}")
            if answer["ContentRange"].rpartition("/")[2] != str(size):
                raise Missing(f"{key} with {size} bytes")
            part: bytes = answer["Body"].read()
        if len(part) != end - start:
            raise Transient(f"Reading {key}: {len(part)} of {end - start} bytes arrived")
        return part

    def presign_get(self, key: str, *, seconds: int) -> str:
        """Return a URL with which anyone may read the object at `key` for `seconds`."""
        parameters = {"Bucket": self._bucket, "Key": key}
        url: str = self._s3.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds)
        return url

    def presign_put(self, key: str, *, content_type: str, size: int, seconds: int) -> tuple[str, dict[str, str]]:
        """Return a URL with which anyone may write the object at `key` once, and the headers to send.

        The signature covers the length in bytes, the content type, and the condition that no such object exists.
        The URL is valid for `seconds`.
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
        """Return the ETag, the content type and the size in bytes of the object at `key`.

        Raises:
            Missing: If there is no object.
            Transient: If S3 is throttled or unreachable.
        """
        with translate_errors(f"Looking up {key}"):
            found = self._s3.head_object(Bucket=self._bucket, Key=key)
        return found["ETag"], found["ContentType"], found["ContentLength"]

    def delete_prefix(self, prefix: str) -> None:
        """Delete every object whose key begins with `prefix`.

        Raises:
            Transient: If some objects may remain. The same call deletes the rest.
        """
        with translate_errors(f"Deleting {prefix}"):
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                for found in page.get("Contents", []):
                    self._s3.delete_object(Bucket=self._bucket, Key=found["Key"])

    @cached_property
    def _s3(self) -> Any:
        return make_client("s3", read_timeout=20)
