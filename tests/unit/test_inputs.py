"""Parsing of uploads: only the worker sees their content."""

from __future__ import annotations

import json

import pytest

from functions.worker.inputs import NDJSON, parse_input
from shared.errors import InvalidInput
from shared.jobs.job import Job, Model, Upload


def make_job(content_type: str | None) -> Job:
    upload = Upload(key="uploads/c/x", etag="e", content_type=content_type) if content_type else None
    return Job(
        id="j", client_id="c", model=Model(name="m", version="1"), characters=1, created_at=1, queued_at=1,
        deadline=2, expires_at=3, upload=upload,
    )  # fmt: skip


def test_posted_documents_are_returned() -> None:
    payload = json.dumps({"documents": [{"id": None, "text": "a\x00"}, {"id": "x", "text": "👩"}]}).encode()
    source = parse_input(make_job(None), payload)
    assert (source.texts, source.ids) == (["a\x00", "👩"], [None, "x"])


def test_text_upload_is_one_document() -> None:
    assert parse_input(make_job("text/plain"), "\ufeffÄda\r\n".encode()).texts == ["Äda\r\n"]


def test_each_line_of_ndjson_is_a_document_and_blank_lines_are_skipped() -> None:
    source = parse_input(make_job(NDJSON), b'{"text": "a"}\r\n\n{"id": "2", "text": "b\\u2028"}\n')
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
def test_error_of_an_unreadable_upload_names_the_place(content_type: str, payload: bytes, detail: str) -> None:
    with pytest.raises(InvalidInput, match=detail):
        parse_input(make_job(content_type), payload)
