"""The input of a job, as the SDK returns it."""

from __future__ import annotations

import pytest
import samovar
from samovar.models import InputDocument

from tests.client.api import NDJSON, FakeApi


def test_an_inline_input_has_the_texts_and_ids_that_were_submitted(api: FakeApi) -> None:
    job = api.client().analyze(documents=["Ada", {"id": "b", "text": "Bob"}])
    assert job.input() == [InputDocument(text="Ada"), InputDocument(id="b", text="Bob")]


def test_a_big_input_is_downloaded_without_the_access_token(api: FakeApi) -> None:
    """The bucket in memory refuses a request with a token, as S3 does."""
    api.inline_characters = 3
    job = api.client().analyze(documents=[{"id": "a", "text": "Ada wrote."}, {"id": "b", "text": "Bob"}])
    assert job.input() == [InputDocument(id="a", text="Ada wrote."), InputDocument(id="b", text="Bob")]
    assert api.requests[-1].url == f"https://bucket.example/inputs/{job.id}"


def test_an_uploaded_text_is_one_document_without_its_byte_order_mark(api: FakeApi) -> None:
    client = api.client()
    job = client.analyze(upload_id=client.upload("\ufeffAda\r\nwrote.\n".encode()))
    assert job.input() == [InputDocument(text="Ada\r\nwrote.\n")]


def test_an_uploaded_ndjson_file_has_a_document_per_line_that_is_not_blank(api: FakeApi) -> None:
    """A JSON string may contain U+2028, which is a line separator for `str.splitlines`."""
    client = api.client()
    content = '{"id": "a", "text": "Ada\u2028wrote."}\r\n\r\n{"text": "Bob"}\n'
    job = client.analyze(upload_id=client.upload(content.encode(), content_type=NDJSON))
    assert job.input() == [InputDocument(id="a", text="Ada\u2028wrote."), InputDocument(text="Bob")]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b'{"text": "Ada"}\n{"id": "b"}\n', "Line 2"), (b"Ada\n", "Line 1"), (b"\xff", "not UTF-8")],
)
def test_an_invalid_upload_raises_an_error_that_says_where(api: FakeApi, content: bytes, message: str) -> None:
    api.polls = 10  # the job has not read the upload yet
    client = api.client()
    job = client.analyze(upload_id=client.upload(content, content_type=NDJSON))
    with pytest.raises(samovar.SamovarError, match=message):
        job.input()


def test_the_input_of_a_deleted_job_raises_gone(api: FakeApi) -> None:
    job = api.client().analyze("Ada")
    job.delete()
    with pytest.raises(samovar.Gone):
        job.input()


def test_the_input_of_an_unknown_job_raises_not_found(api: FakeApi) -> None:
    with pytest.raises(samovar.NotFound):
        api.client().input("0198a0b0-0000-7000-8000-000000000001")
