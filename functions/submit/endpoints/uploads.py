"""The endpoint that creates uploads."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AnyHttpUrl, Field

from functions.submit import uploads
from functions.submit.requests import UploadRequest
from functions.submit.schema import Answer
from functions.submit.services import Services
from functions.submit.web import Request, Response


class UploadView(Answer):
    """An upload: the URL to send the file to, and the headers to send with it."""

    upload_id: str
    method: Literal["PUT"]
    url: AnyHttpUrl
    headers: Annotated[dict[str, str], Field(description="Send exactly these headers.")]
    expires_at: datetime


def create_upload(services: Services, request: Request) -> Response:
    """Create an upload and return it."""
    body: UploadRequest = request.body
    return Response(201, uploads.create_upload(services.blobs, request.client_id, body, now=services.now()))
