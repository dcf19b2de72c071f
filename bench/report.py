"""The figures of a benchmark, and their report."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from local.paths import GENERATED

RESULTS = GENERATED / "bench"


@dataclass(frozen=True)
class Figure:
    """A measured figure and its target: at least `least`, or at most `most`."""

    name: str
    value: float
    unit: str
    least: float | None = None
    most: float | None = None

    @property
    def is_met(self) -> bool:
        """Return whether the target is met, or True if there is none."""
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    def render_verdict(self, *, is_judged: bool) -> str:
        """Return the target and whether it is met, or an empty text if there is none."""
        if self.least is None and self.most is None:
            return ""
        bound = f"at most {self.most:g}" if self.least is None else f"at least {self.least:g}"
        if not is_judged:
            return f"  not judged: {bound}"
        return f"  {'met' if self.is_met else 'MISSED'}: {bound}"


def report(benchmark: str, figures: Iterable[Figure], *, smallest: bool) -> int:
    """Print the figures and write them as JSON. Return 1 if a target is missed.

    Figures of the smallest size mean nothing, so they are neither judged nor written.
    """
    measured = list(figures)
    for figure in measured:
        verdict = figure.render_verdict(is_judged=not smallest)
        print(f"  {figure.name:<58} {figure.value:10.3f} {figure.unit:<8}{verdict}", flush=True)
    if smallest:
        return 0
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = json.dumps([asdict(figure) for figure in measured], indent=2)
    (RESULTS / f"{benchmark}.json").write_text(content + "\n", encoding="utf-8")
    return int(not all(figure.is_met for figure in measured))
