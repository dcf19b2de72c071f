"""Uploads: files that clients put into the bucket themselves, and pin when they submit a job."""

from __future__ import annotations

import secrets
from typing import Any

from functions.submit.requests import UploadRequest
from shared.aws.blobs import Blobs
from shared.aws.client import Missing
from shared.clock import format_rfc3339
from shared.errors import InvalidRequest
from shared.jobs.job import Upload

UPLOAD_URL_SECONDS = 900


def create_upload(blobs: Blobs, client_id: str, request: UploadRequest, *, now: int) -> dict[str, Any]:
    """Return the id of a new upload, and the URL and headers with which to send the file within 15 minutes."""
    upload_id = secrets.token_urlsafe(16)
    url, headers = blobs.presign_put(
        _make_key(client_id, upload_id),
        content_type=request.content_type,
        size=request.size,
        seconds=UPLOAD_URL_SECONDS,
    )
    expires_at = format_rfc3339(now + UPLOAD_URL_SECONDS * 1000)
    return {"upload_id": upload_id, "method": "PUT", "url": url, "headers": headers, "expires_at": expires_at}


def pin_upload(blobs: Blobs, client_id: str, upload_id: str) -> tuple[Upload, int]:
    """Return the record that pins the content of an uploaded file, and the file's size in bytes.

    Raises:
        InvalidRequest: If the client has sent no such file.
        Transient: If S3 is throttled or unreachable.
    """
    key = _make_key(client_id, upload_id)
    try:
        etag, content_type, size = blobs.head(key)
    except Missing:
        detail = "There is no such upload, or its file has not been sent yet"
        raise InvalidRequest(detail, errors=[{"pointer": "#/upload_id", "detail": detail}]) from None
    return Upload(key=key, etag=etag, content_type=content_type), size


def _make_key(client_id: str, upload_id: str) -> str:
    return f"uploads/{client_id}/{upload_id}"
