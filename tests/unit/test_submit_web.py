"""The form in which a response is passed to the gateway."""

from __future__ import annotations

import base64
import json

import pytest

from functions.submit.bodies import BODY_LIMIT
from functions.submit.web import Response

LAMBDA_ANSWER_LIMIT = 6_291_556  # bytes


@pytest.mark.parametrize("character", ["a", '"', "\\", "\n", "é", "語", "👩"])
def test_answer_with_a_text_of_the_longest_body_fits_into_lambda(character: str) -> None:
    """The runtime of Python 3.11 sends an answer in ASCII. A text of `é` then has three times as many bytes."""
    size = len(json.dumps(character, ensure_ascii=False).encode()) - 2  # bytes of the character in the request's body
    document = {"text": character * (BODY_LIMIT // size)}
    answer = Response(200, document).to_gateway()
    assert len(json.dumps(answer)) < LAMBDA_ANSWER_LIMIT
    assert answer["isBase64Encoded"]
    assert json.loads(base64.b64decode(answer["body"])) == document


def test_small_body_is_sent_as_text() -> None:
    answer = Response(200, {"text": "é"}, {"etag": "x"}).to_gateway()
    assert answer == {
        "statusCode": 200,
        "headers": {"content-type": "application/json", "etag": "x"},
        "body": '{"text":"é"}',
        "isBase64Encoded": False,
    }


def test_response_without_a_document_has_an_empty_body() -> None:
    assert Response(204).to_gateway() == {"statusCode": 204, "headers": {}, "body": ""}
