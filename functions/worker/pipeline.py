"""The spaCy pipeline: quick loading, and runs of the needed components only. No other module imports spaCy."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from shared.jobs.features import FEATURES, FeatureName


@contextmanager
def _quick_import() -> Iterator[None]:
    """Import spaCy without the parts that no worker needs.

    Its command line is a third of the import, so a stand-in replaces it. Only the configuration library asks for
    pydantic.v1, and it works without. Garbage collection finds nothing while the imports still fill the heap.
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
    from spacy.vectors import Vectors

Task = tuple[str, Sequence[FeatureName]]  # a text and its features
Component = Callable[[Doc], Doc]

_LONG_RUN = re.compile(r"\S{1000,}")  # the tokenizer takes half a minute for 10,000 times "$"
_RUN_PART = 100  # characters


@dataclass(frozen=True)
class Analysis:
    """A text's part of a result document, in the vocabulary of `Doc.to_json`, and its number of tokens."""

    document: dict[str, Any]
    words: int


class Pipeline:
    """A loaded model. Only one thread may use it at a time."""

    def __init__(self, nlp: Language) -> None:
        """Use the spaCy pipeline `nlp`."""
        self.nlp = nlp
        self._needed: dict[tuple[FeatureName, ...], frozenset[str]] = {}

    def run(self, tasks: Sequence[Task]) -> list[Analysis | Exception]:
        """Analyze the texts together. Each component of the pipeline receives the texts that need it in one call.

        Returns:
            For each task its analysis, or the exception that the model raised on it.
        """
        try:
            return list(self._run(tasks))
        except Exception as error:  # noqa: BLE001 (a model may raise any exception; the other texts must not fail)
            if len(tasks) == 1:
                return [error]
            return [analysis for task in tasks for analysis in self.run([task])]

    def _run(self, tasks: Sequence[Task]) -> Iterable[Analysis]:
        docs = [_tokenize(self.nlp, text) for text, _ in tasks]
        needed = [self._find_needed(tuple(features)) for _, features in tasks]
        for name, component in self.nlp.pipeline:
            positions = [position for position, names in enumerate(needed) if name in names]
            processed = run_component(component, [docs[position] for position in positions])
            for position, doc in zip(positions, processed, strict=True):
                docs[position] = doc
        return (extract(doc, features) for doc, (_, features) in zip(docs, tasks, strict=True))

    def _find_needed(self, features: tuple[FeatureName, ...]) -> frozenset[str]:
        """Return the names of the components that must run for `features`."""
        if features not in self._needed:
            self._needed[features] = _find_needed(self.nlp, features)
        return self._needed[features]


def load(path: Path) -> Pipeline:
    """Return the pipeline that is stored in the folder `path`, as `spacy.load` does, but in less time.

    Components that the pipeline disables are left out. The language's default tokenizer is not built, because the
    stored one replaces it.

    Raises:
        Exception: If the folder does not hold a pipeline of this version. spaCy may raise any exception.
    """
    gc.disable()
    try:
        config = util.load_config(path / "config.cfg")
        if config["nlp"]["tokenizer"] == {"@tokenizers": "spacy.Tokenizer.v1"}:
            config["nlp"]["tokenizer"] = {"@tokenizers": _STORED_TOKENIZER}
        disabled = config["nlp"]["disabled"]
        nlp = util.load_model_from_config(config, meta=util.get_model_meta(path), exclude=disabled)
        _map_vectors(nlp, path / "vocab")
        nlp.from_disk(path, exclude=[*disabled, "vectors"])
    finally:
        gc.enable()
    gc.freeze()  # the model lives as long as the process, so garbage collections can skip it
    return Pipeline(nlp)


def _map_vectors(nlp: Language, folder: Path) -> None:
    """Map the file of the word vectors into memory instead of copying it, because most vectors are never read."""
    vectors, file = nlp.vocab.vectors, folder / "vectors"
    exclude = ["strings"]
    if isinstance(vectors, Vectors) and file.exists():
        vectors.data = np.asarray(np.load(file, mmap_mode="c"))
        exclude.append("vectors")
    vectors.from_disk(folder, exclude=exclude)


_STORED_TOKENIZER = "samovar.StoredTokenizer.v1"


@registry.tokenizers(_STORED_TOKENIZER)
def _make_stored_tokenizer() -> Callable[[Language], Tokenizer]:
    return lambda nlp: Tokenizer(nlp.vocab)


def _tokenize(nlp: Language, text: str) -> Doc:
    """Return the tokens of `text`.

    Long runs without whitespace are cut first, because the tokenizer's time grows with the square of their length.
    """
    if not _LONG_RUN.search(text):
        return nlp.make_doc(text)
    cuts = [0, *(at for run in _LONG_RUN.finditer(text) for at in range(run.start(), run.end(), _RUN_PART)), len(text)]
    parts = [text[start:end] for start, end in pairwise(cuts) if start < end]
    return Doc.from_docs([nlp.make_doc(part) for part in parts], ensure_whitespace=False)


def run_component(component: Component, docs: Sequence[Doc]) -> Iterable[Doc]:
    """Run a component of the pipeline over `docs`."""
    if not docs:
        return ()
    pipe = getattr(component, "pipe", None)
    # The parser and the entity recognizer take a quarter of a batch at a time. Let that be all of the texts.
    return pipe(docs, batch_size=4 * len(docs)) if pipe else map(component, docs)


def _find_needed(nlp: Language, features: Sequence[FeatureName]) -> frozenset[str]:
    """Return the names of the components that `features` need, from the attributes that the components assign."""
    assigned = {name: frozenset(nlp.get_pipe_meta(name).assigns) for name, _ in nlp.pipeline}
    needed = {name for name in assigned if any(FEATURES[feature].needs(assigned[name]) for feature in features)}
    # A shared tok2vec or transformer must run if a needed component listens to it.
    for name, component in nlp.pipeline:
        listeners = getattr(component, "listening_components", ())
        if listeners and needed.isdisjoint(listeners):
            needed.discard(name)
        elif listeners:
            needed.add(name)
    return frozenset(needed)


def extract(doc: Doc, features: Sequence[FeatureName]) -> Analysis:
    """Return the members of `features` from a processed text."""
    document: dict[str, Any] = {}
    for feature in features:
        document.update(FEATURES[feature].extract(doc))
    return Analysis(document=document, words=len(doc))
