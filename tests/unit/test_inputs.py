"""Uploads as documents: what is in them is known to the worker only."""

from __future__ import annotations

import json

import pytest

from functions.worker.inputs import NDJSON, read_input
from shared.errors import InvalidInput
from shared.models import Job, Model, Upload


def job(content_type: str | None) -> Job:
    upload = Upload(key="uploads/c/x", etag="e", content_type=content_type) if content_type else None
    return Job(
        id="j", client_id="c", model=Model(name="m", version="1"), characters=1, created_at=1, queued_at=1,
        deadline=2, expires_at=3, upload=upload,
    )  # fmt: skip


def test_posted_documents_come_back() -> None:
    payload = json.dumps({"documents": [{"id": None, "text": "a\x00"}, {"id": "x", "text": "👩"}]}).encode()
    source = read_input(job(None), payload)
    assert (source.texts, source.ids) == (["a\x00", "👩"], [None, "x"])


def test_text_upload_is_one_document() -> None:
    assert read_input(job("text/plain"), "\ufeffÄda\r\n".encode()).texts == ["Äda\r\n"]


def test_lines_are_documents_and_blank_ones_are_skipped() -> None:
    source = read_input(job(NDJSON), b'{"text": "a"}\r\n\n{"id": "2", "text": "b\\u2028"}\n')
    assert (source.texts, source.ids) == (["a", "b\u2028"], [None, "2"])


@pytest.mark.parametrize(
    ("content_type", "payload", "detail"),
    [
        ("text/plain", b"ab\xff", "UTF-8: invalid start byte at byte 2"),
        ("text/plain", b" \n ", "no text"),
        (NDJSON, b'{"text": "a"}\n{"text": ', "Line 2 is not JSON"),
        (NDJSON, b'{"text": "a"}\n\n[]', "Line 3"),
        (NDJSON, b'{"text": " "}', "Line 1: text"),
        (NDJSON, b'{"text": "a", "txet": 1}', "Line 1: txet"),
        (NDJSON, b'{"id": "1", "text": "a"}\n{"id": "1", "text": "b"}', "Line 2 repeats the id"),
        (NDJSON, b"", "0 documents"),
        (NDJSON, b'{"text": "\\ud800"}', "Line 1"),
        (NDJSON, b"[" * 100_000, "Line 1 is not JSON"),
        (NDJSON, b'{"text": "a"}\n' * 20_001, "20001 documents"),
    ],
)
def test_what_cannot_be_read_says_where(content_type: str, payload: bytes, detail: str) -> None:
    with pytest.raises(InvalidInput, match=detail):
        read_input(job(content_type), payload)
