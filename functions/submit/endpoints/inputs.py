"""The endpoint that returns the input of a job."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import AnyHttpUrl, Field

from functions.submit.schema import Answer
from functions.submit.services import Services
from functions.submit.web import Request, Response
from shared.aws.blobs import Blobs
from shared.aws.client import Missing
from shared.errors import InputMissing, NotFound
from shared.jobs.document import Document
from shared.jobs.job import Upload

INPUT_URL_SECONDS = 900

_GONE = "The input of this job is gone"


class InputView(Answer):
    """The input of a job: its documents, or the URL of the uploaded file."""

    documents: Annotated[list[Document] | None, Field(description="Absent if the input was uploaded.")] = None
    input_url: Annotated[
        AnyHttpUrl | None, Field(description="The URL of the uploaded file. Anyone can read it for 15 minutes.")
    ] = None
    content_type: Annotated[str | None, Field(description="The content type of the uploaded file.")] = None


def get_input(services: Services, request: Request) -> Response:
    """Return the documents of a job, or the URL of its upload."""
    job = services.jobs.get(request.client_id, request.job_id)
    if job.upload:
        url = _presign(services.blobs, job.upload)
        return Response(200, {"input_url": url, "content_type": job.upload.content_type})
    try:
        payload = json.loads(services.jobs.store.read_input(job))
    except InputMissing:
        raise NotFound(_GONE) from None
    documents = [{name: value for name, value in one.items() if value is not None} for one in payload["documents"]]
    return Response(200, {"documents": documents})


def _presign(blobs: Blobs, upload: Upload) -> str:
    """Return a URL of the uploaded file if it still has the content that the job was submitted with."""
    try:
        etag, _, _ = blobs.head(upload.key)
    except Missing:
        raise NotFound(_GONE) from None
    if etag != upload.etag:
        raise NotFound(_GONE)
    return blobs.presign_get(upload.key, seconds=INPUT_URL_SECONDS)
