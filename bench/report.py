"""How benchmarks say what they measured."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / ".samovar" / "bench"


@dataclass(frozen=True)
class Figure:
    """A measured figure and what it must reach, if anything: at least `least`, or at most `most`."""

    name: str
    value: float
    unit: str = ""
    least: float | None = None
    most: float | None = None

    @property
    def has_target(self) -> bool:
        """Whether there is something to reach."""
        return self.least is not None or self.most is not None

    @property
    def is_met(self) -> bool:
        """Whether it reaches what it must; without a target it does."""
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    @property
    def target(self) -> str:
        """The target as people read it; empty when there is none."""
        if self.most is not None:
            return f"≤ {self.most:g}"
        return f"≥ {self.least:g}" if self.least is not None else ""


@dataclass(frozen=True)
class Measured:
    """What a benchmark brings home: its figures, and whatever else is worth keeping."""

    figures: Sequence[Figure]
    raw: Mapping[str, Any]  # JSON values: single runs, for who wants to look closer

    @property
    def is_met(self) -> bool:
        """Whether every target is."""
        return all(figure.is_met for figure in self.figures)


def show(console: Console, measured: Measured) -> None:
    """Print the figures, one to a line: met or missed, what, how much, and the target."""
    for figure in measured.figures:
        mark, style = ("·", "dim") if not figure.has_target else ("✓", "green") if figure.is_met else ("✗", "bold red")
        amount = f"{figure.value:10,.2f} {figure.unit:<8}"
        line = Text.assemble((mark, style), f" {figure.name:<66}{amount}", (figure.target, style))
        console.print(line, soft_wrap=True)


def save(benchmark: str, measured: Measured, *, quick: bool) -> Path:
    """Leave it as JSON, with the machine it comes from; quick runs, which prove nothing, apart."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": machine(),
        "quick": quick,
        "met": measured.is_met,
        "figures": [{**asdict(figure), "met": figure.is_met} for figure in measured.figures],
        "raw": measured.raw,
    }
    file = RESULTS / (f"{benchmark}-quick.json" if quick else f"{benchmark}.json")
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return file


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "system": _system(),
        "kernel": platform.release(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
