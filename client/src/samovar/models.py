"""The API's answers as types. Fields that a newer service adds are kept and can be read as attributes."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from samovar.errors import DocumentFailed, SamovarError

if TYPE_CHECKING:
    from spacy.tokens import Doc
    from spacy.vocab import Vocab

TERMINAL = frozenset({"succeeded", "failed", "canceled", "expired"})


class ResponseModel(BaseModel):
    """A part of an answer. Unknown fields are allowed."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Span(ResponseModel):
    """A range of a document's text in Unicode characters: `text[span.start:span.end]`."""

    start: int
    end: int
    label: str | None = None


class Stats(ResponseModel):
    """The counts of a document, which the feature `stats` computes.

    Attributes:
        characters: The Unicode characters of the text.
        words: The tokens, as spaCy counts them.
        sentences: The sentences.
        ents: The entities of each label, such as `{"PERSON": 2, "GPE": 1}`.
    """

    characters: int
    words: int
    sentences: int
    ents: dict[str, int]


class Document(ResponseModel):
    """One analyzed document, with the field names of spaCy's `Doc.to_json`.

    A feature that the job did not ask for is empty or None. If the model failed on the document, `error` says why.
    """

    id: str | None = None
    text: str | None = None
    ents: list[Span] = []
    sents: list[Span] = []
    tokens: list[dict[str, Any]] = []
    noun_chunks: list[Span] = []
    stats: Stats | None = None
    error: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the document as the API sent it."""
        return self.model_dump(exclude_unset=True)

    def doc(self, vocab: Vocab) -> Doc:
        """Return the document as a spaCy `Doc`. This needs the package spaCy, and a job with the feature `tokens`.

        Raises:
            DocumentFailed: If the model failed on the document.
            SamovarError: If the job did not ask for the feature `tokens`.
        """
        from spacy.tokens import Doc

        if self.error:
            raise DocumentFailed(f"Document {self.id or ''}: {self.error.get('title') or self.error}")
        if "tokens" not in self.model_fields_set:
            raise SamovarError("The result has no tokens, which a spaCy Doc needs: submit with the feature `tokens`")
        doc: Doc = Doc(vocab).from_json(self.to_json())
        return doc


class InputDocument(ResponseModel):
    """One document of a job's input: its text, and the client's id for it."""

    id: str | None = None
    text: str


class Result(ResponseModel):
    """The result of a job: one entry for each document, in the order in which the documents were submitted."""

    documents: list[Document]

    def docs(self, vocab: Vocab) -> list[Doc]:
        """Return all documents as spaCy's `Doc`. See `Document.doc`."""
        return [document.doc(vocab) for document in self.documents]


class Progress(ResponseModel):
    """The progress of a job: the shards or documents that are done, and the total."""

    done: int = 0
    total: int = 1


class Failure(ResponseModel):
    """The reason why a job failed. `code` is stable."""

    code: str
    title: str = ""
    detail: str = ""
    retryable: bool = False


class WebhookState(ResponseModel):
    """A job's webhook: its URL and the state of the delivery, which is pending, delivered, failed or disabled."""

    url: str | None = None
    state: str | None = None
    attempts: int = 0


class JobData(ResponseModel):
    """A job as the API returns it. Times are in UTC."""

    id: str
    status: str
    status_reason: str | None = None
    eta_seconds: float | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    deadline: datetime | None = None
    expires_at: datetime | None = None
    result_expires_at: datetime | None = None
    run: int = 1
    attempt: int = 0
    model: dict[str, Any] = {}
    features: list[str] = []
    metadata: dict[str, Any] = {}
    progress: Progress = Progress()
    result: Result | None = Field(default=None, repr=False)
    result_url: str | None = Field(default=None, repr=False)  # everyone who has this URL can read the result
    error: Failure | None = None
    webhook: WebhookState | None = None
    metrics: dict[str, Any] = {}
    links: dict[str, str] = {}


class DeliveryAttempt(ResponseModel):
    """One attempt of a delivery: the receiver's HTTP `status`, or the `error` if the receiver sent no answer."""

    at: datetime
    status: int | None = None
    error: str | None = None
    latency_ms: int = 0
    excerpt: str = ""


class Delivery(ResponseModel):
    """The delivery of one webhook event to a URL. `attempts` counts all attempts, `log` contains the latest ones."""

    webhook_id: str
    run: int = 1
    type: str = ""
    url: str = ""
    state: str = ""
    created_at: datetime | None = None
    attempts: int = 0
    next_attempt_at: datetime | None = None
    log: list[DeliveryAttempt] = []


class WebhookEvent(ResponseModel):
    """A received and verified webhook event. Each delivery of the same event has the same `id`."""

    id: str
    type: str
    timestamp: datetime
    data: JobData
