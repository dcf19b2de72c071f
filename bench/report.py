"""How benchmarks say what they measured."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).parents[1] / ".samovar" / "bench"


@dataclass(frozen=True)
class Figure:
    """A measured figure and what it must reach: at least `least`, or at most `most`."""

    name: str
    value: float
    unit: str
    least: float | None = None
    most: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether the target, if there is one, is met."""
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    @property
    def verdict(self) -> str:
        """Whether the target is met, and what it is; empty when there is none."""
        if self.least is None and self.most is None:
            return ""
        bound = f"at most {self.most:g}" if self.least is None else f"at least {self.least:g}"
        return f"  {'met' if self.is_met else 'MISSED'}: {bound}"


def report(benchmark: str, figures: list[Figure]) -> int:
    """Print the figures and leave them as JSON; 1 when a target is missed."""
    for figure in figures:
        print(f"  {figure.name:<58} {figure.value:10.3f} {figure.unit:<8}{figure.verdict}", flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = json.dumps([asdict(figure) for figure in figures], indent=2)
    (RESULTS / f"{benchmark}.json").write_text(content + "\n", encoding="utf-8")
    return int(not all(figure.is_met for figure in figures))
