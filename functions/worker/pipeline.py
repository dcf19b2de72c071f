"""The spaCy pipeline: load it quickly, run only what is needed. The only module that imports spaCy."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any


@contextmanager
def _quick_import() -> Iterator[None]:
    """Import spaCy without what no worker needs.

    Its command-line tools, a third of the import, are replaced by a stand-in; pydantic.v1 is only asked for by the
    configuration library, which does without; and a collector that walks a heap still growing finds nothing.
    """
    package, info = ModuleType("spacy.cli"), ModuleType("spacy.cli.info")
    package.__path__ = []
    package.__dict__["info"] = info.__dict__["info"] = None
    sys.modules.setdefault("spacy.cli", package)
    sys.modules.setdefault("spacy.cli.info", info)
    hidden: dict[str, Any] = {"pydantic.v1": None} if "pydantic.v1" not in sys.modules else {}
    sys.modules.update(hidden)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        for name in hidden:
            del sys.modules[name]


with _quick_import():
    import numpy as np
    from spacy import util
    from spacy.language import Language
    from spacy.tokenizer import Tokenizer
    from spacy.tokens import Doc
    from spacy.util import registry
    from spacy.vectors import Vectors  # type: ignore[import-not-found] # compiled, ships no stub

Task = tuple[str, Sequence[str]]  # a text and its features
Component = Callable[[Doc], Doc]

_ONLY_ENTS = {"doc.ents", "token.ent_iob", "token.ent_type", "token.ent_kb_id"}
_LONG_RUN = re.compile(r"\S{1000,}")  # "$" 10,000 times would take half a minute
_RUN_PART = 100
_SENTS = {"doc.sents", "token.is_sent_start"}


@dataclass(frozen=True)
class Analysis:
    """A text's document, in the vocabulary of `Doc.to_json`, and how many tokens it has."""

    document: dict[str, Any]
    words: int


class Pipeline:
    """A loaded model. Not for use by several threads at once."""

    def __init__(self, nlp: Language) -> None:
        """Of a loaded spaCy pipeline."""
        self._nlp = nlp

    def run(self, tasks: Sequence[Task]) -> list[Analysis | Exception]:
        """Analyze each text; each component of the pipeline sees, in one go, the texts that need it.

        Returns:
            For each task its analysis, or what the model raised on it.
        """
        try:
            return list(self._run(tasks))
        except Exception as error:  # noqa: BLE001 (a model may raise anything; one text must not fail the others)
            if len(tasks) == 1:
                return [error]
            return [outcome for task in tasks for outcome in self.run([task])]

    def _run(self, tasks: Sequence[Task]) -> Iterable[Analysis]:
        docs = [_tokenized(self._nlp, text) for text, _ in tasks]
        needed = [_needed(self._nlp, tuple(features)) for _, features in tasks]
        for name, component in self._nlp.pipeline:
            wanting = [position for position, names in enumerate(needed) if name in names]
            for position, doc in zip(wanting, _through(component, [docs[at] for at in wanting]), strict=True):
                docs[position] = doc
        return (_analysis(doc, features) for doc, (_, features) in zip(docs, tasks, strict=True))


def load(path: Path) -> Pipeline:
    """The pipeline stored in the folder `path`: what `spacy.load` gives, in less time.

    Components that the pipeline disables are left out, and the language's own tokenizer is not built only to be
    replaced by the stored one.

    Raises:
        Exception: whatever spaCy raises on a folder that is not a pipeline of this version.
    """
    gc.disable()
    try:
        config = util.load_config(path / "config.cfg")
        if config["nlp"]["tokenizer"] == {"@tokenizers": "spacy.Tokenizer.v1"}:
            config["nlp"]["tokenizer"] = {"@tokenizers": _STORED_TOKENIZER}
        idle = config["nlp"]["disabled"]
        nlp = util.load_model_from_config(config, meta=util.get_model_meta(path), exclude=idle)
        _map_vectors(nlp, path / "vocab")
        nlp.from_disk(path, exclude=[*idle, "vectors"])
    finally:
        gc.enable()
    gc.freeze()  # the model lives as long as the process: no collection need look at it
    return Pipeline(nlp)


def _map_vectors(nlp: Language, folder: Path) -> None:
    """Word vectors as their file's own pages: read when they are needed, which most never are, and not copied."""
    vectors, file = nlp.vocab.vectors, folder / "vectors"
    exclude = ["strings"]
    if isinstance(vectors, Vectors) and file.exists():
        vectors.data = np.asarray(np.load(file, mmap_mode="c"))
        exclude.append("vectors")
    vectors.from_disk(folder, exclude=exclude)


_STORED_TOKENIZER = "samovar.StoredTokenizer.v1"


@registry.tokenizers(_STORED_TOKENIZER)
def _stored_tokenizer() -> Callable[[Language], Tokenizer]:
    return lambda nlp: Tokenizer(nlp.vocab)


def _tokenized(nlp: Language, text: str) -> Doc:
    """`text` as tokens; long runs without a space are cut, because the tokenizer's time grows with their square."""
    if not _LONG_RUN.search(text):
        return nlp.make_doc(text)
    cuts = [0, *(at for run in _LONG_RUN.finditer(text) for at in range(run.start(), run.end(), _RUN_PART)), len(text)]
    parts = [text[start:end] for start, end in pairwise(cuts) if start < end]
    return Doc.from_docs([nlp.make_doc(part) for part in parts], ensure_whitespace=False)


def _through(component: Component, docs: Sequence[Doc]) -> Iterable[Doc]:
    if not docs:
        return ()
    pipe = getattr(component, "pipe", None)
    # The parser and ner take a quarter of a batch at a time: let that be all of the texts.
    return pipe(docs, batch_size=4 * len(docs)) if pipe else map(component, docs)


@cache
def _needed(nlp: Language, features: tuple[str, ...]) -> frozenset[str]:
    """The names of the components that `features` need, by what their factories declare that they assign."""
    needed = {name for name, _ in nlp.pipeline if _serves(nlp, name, features)}
    # A shared tok2vec or transformer runs when somebody listens to it.
    for name, component in nlp.pipeline:
        listeners = getattr(component, "listening_components", ())
        if listeners and needed.isdisjoint(listeners):
            needed.discard(name)
        elif listeners:
            needed.add(name)
    return frozenset(needed)


def _serves(nlp: Language, name: str, features: tuple[str, ...]) -> bool:
    assigns = set(nlp.get_pipe_meta(name).assigns)
    if assigns & _ONLY_ENTS:
        return "ents" in features
    if "tokens" in features or "noun_chunks" in features:
        return True
    return "sents" in features and not assigns.isdisjoint(_SENTS)


def _analysis(doc: Doc, features: Sequence[str]) -> Analysis:
    document: dict[str, Any] = {}
    for feature in features:
        document.update(_EXTRACT[feature](doc))
    return Analysis(document=document, words=len(doc))


def _ents(doc: Doc) -> dict[str, Any]:
    return {"ents": [{"start": ent.start_char, "end": ent.end_char, "label": ent.label_} for ent in doc.ents]}


def _sents(doc: Doc) -> dict[str, Any]:
    return {"sents": [{"start": sent.start_char, "end": sent.end_char} for sent in doc.sents]}


def _noun_chunks(doc: Doc) -> dict[str, Any]:
    chunks = doc.noun_chunks
    return {"noun_chunks": [{"start": chunk.start_char, "end": chunk.end_char, "label": "NP"} for chunk in chunks]}


def _tokens(doc: Doc) -> dict[str, Any]:
    tokens = [
        {
            "id": token.i,
            "start": token.idx,
            "end": token.idx + len(token),
            "tag": token.tag_,
            "pos": token.pos_,
            "morph": str(token.morph),
            "lemma": token.lemma_,
            "dep": token.dep_,
            "head": token.head.i,
        }
        for token in doc
    ]
    return {"text": doc.text, "tokens": tokens}


_EXTRACT: dict[str, Callable[[Doc], dict[str, Any]]] = {
    "ents": _ents,
    "sents": _sents,
    "tokens": _tokens,
    "noun_chunks": _noun_chunks,
}
