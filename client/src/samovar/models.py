"""What the API answers, as types. What a newer service adds is kept and can be read as an attribute."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from samovar.errors import DocumentFailed, SamovarError

if TYPE_CHECKING:
    from spacy.tokens import Doc
    from spacy.vocab import Vocab

Feature = Literal["ents", "sents", "tokens", "noun_chunks"]
TERMINAL = frozenset({"succeeded", "failed", "canceled", "expired"})


class Answer(BaseModel):
    """A part of an answer: unknown fields are welcome."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Span(Answer):
    """A stretch of a document, in Unicode characters: `text[span.start:span.end]`."""

    start: int
    end: int
    label: str | None = None


class Document(Answer):
    """One analyzed document, in the vocabulary of spaCy's `Doc.to_json`; what was not asked for is empty."""

    id: str | None = None
    text: str | None = None
    ents: list[Span] = []
    sents: list[Span] = []
    tokens: list[dict[str, Any]] = []
    noun_chunks: list[Span] = []
    error: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The document as it came."""
        return self.model_dump(exclude_unset=True)

    def doc(self, vocab: Vocab) -> Doc:
        """The document as spaCy's `Doc`; needs the package spaCy, and the feature `tokens`.

        Raises:
            DocumentFailed: when the model failed on it.
            SamovarError: when the job was not asked for `tokens`.
        """
        from spacy.tokens import Doc

        if self.error:
            raise DocumentFailed(f"Document {self.id or ''}: {self.error.get('title') or self.error}")
        if "tokens" not in self.model_fields_set:
            raise SamovarError("A Doc is made of tokens: ask for the feature `tokens`")
        made: Doc = Doc(vocab).from_json(self.to_json())
        return made


class Result(Answer):
    """What a job found, document by document, in the order in which they were sent."""

    documents: list[Document]

    def docs(self, vocab: Vocab) -> list[Doc]:
        """All documents as spaCy's; see `Document.doc`."""
        return [document.doc(vocab) for document in self.documents]


class Progress(Answer):
    """Shards, or documents, done and in all."""

    done: int = 0
    total: int = 1


class Failure(Answer):
    """Why a job failed; `code` is stable."""

    code: str
    title: str = ""
    detail: str = ""
    retryable: bool = False


class WebhookState(Answer):
    """Where a job's end is announced, and how that goes: pending, delivered, failed or disabled."""

    url: str | None = None
    state: str | None = None
    attempts: int = 0


class JobData(Answer):
    """A job as the API shows it. Times are in UTC."""

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
    result_url: str | None = Field(default=None, repr=False)  # whoever has it may read the result
    error: Failure | None = None
    webhook: WebhookState | None = None
    metrics: dict[str, Any] = {}
    links: dict[str, str] = {}


class Attempt(Answer):
    """One attempt of a delivery: the receiver's `status`, or the `error` that took its place."""

    at: datetime
    status: int | None = None
    error: str | None = None
    latency_ms: int = 0
    excerpt: str = ""


class Delivery(Answer):
    """One announcement of a job's end; `attempts` counts all of them, `log` has the last ones."""

    webhook_id: str
    run: int = 1
    type: str = ""
    url: str = ""
    state: str = ""
    created_at: datetime | None = None
    attempts: int = 0
    next_attempt_at: datetime | None = None
    log: list[Attempt] = []


class Event(Answer):
    """A webhook that was verified; `id` is the same each time it is delivered."""

    id: str
    type: str
    timestamp: datetime
    data: JobData
