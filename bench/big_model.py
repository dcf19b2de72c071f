"""Makes a model of 220 MB: the installed small pipeline, and 180,000 random vectors of 300 numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

from local.package.model import find_pipeline, model_source

VECTORS, DIMENSIONS = 180_000, 300
SEED = 7


def installed() -> Path:
    """The folder of the installed small pipeline."""
    source = model_source(None)
    return find_pipeline(source, called=source).folder


def make(folder: Path) -> Path:
    """The model in `folder`, made unless it is there; the same bytes every time."""
    if folder.is_dir():
        return folder
    import numpy as np
    import spacy
    from spacy.vectors import Vectors  # type: ignore[import-not-found] # compiled, ships no stub

    nlp = spacy.load(installed())
    data = np.random.default_rng(SEED).standard_normal((VECTORS, DIMENSIONS), dtype="float32")
    nlp.vocab.vectors = Vectors(data=data, keys=[f"word{number}" for number in range(VECTORS)])
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    nlp.to_disk(part)
    part.rename(folder)
    return folder
