"""The features that a job can ask for. This module imports no library, so that `samovar --help` starts fast."""

from __future__ import annotations

from typing import Literal, get_args

Feature = Literal["ents", "sents", "tokens", "noun_chunks", "stats"]
FEATURES: tuple[Feature, ...] = get_args(Feature)
