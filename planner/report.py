"""The trade-off as a picture (SVG), and everything as a page (HTML); both hold all they need."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from planner.plans import Line, rows_of_jobs, rows_of_money

WIDTH, HEIGHT = 860, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 560, 30, 380  # of the plot itself; the strategies' names are beside it
LEAST_USD = 0.01  # the price's scale is logarithmic
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}"
    "th,td{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ddd}"
    "th:first-child,td:first-child{text-align:left}svg{max-width:100%}pre{background:#f5f5f5;padding:1rem;overflow:auto}"
)


def best(lines: Sequence[Line]) -> list[Line]:
    """Those that no other beats in both the price and the time of the slowest twentieth, the cheapest first."""
    found: list[Line] = []
    for line in sorted(lines, key=lambda one: (one.usd, one.p95)):
        if not found or line.p95 < found[-1].p95:
            found.append(line)
    return found


def svg(lines: Sequence[Line]) -> str:
    """USD a month against p95; a curve joins the best."""
    plot = _Plot(lines)
    curve = " ".join(f"{plot.x(line):.1f},{plot.y(line):.1f}" for line in best(lines))
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13" role="img">',
            "<title>Price and time to result of each strategy</title>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            *plot.axes(),
            f'<polyline points="{curve}" fill="none" stroke="#b5651d" stroke-width="2"/>',
            *plot.marks(lines),
            "</svg>\n",
        ]
    )


class _Plot:
    """The scales: the price's logarithmic in whole decades, the time's linear from 0."""

    def __init__(self, lines: Sequence[Line]) -> None:
        prices = [max(line.usd, LEAST_USD) for line in lines]
        self._low = math.floor(math.log10(min(prices)))
        self._high = max(math.ceil(math.log10(max(prices))), self._low + 1)
        self._most = max(max(line.p95 for line in lines) * 1.1, 1e-3)

    def x(self, line: Line) -> float:
        return self._across(math.log10(max(line.usd, LEAST_USD)))

    def y(self, line: Line) -> float:
        return BOTTOM - (BOTTOM - TOP) * line.p95 / self._most

    def _across(self, decade: float) -> float:
        return LEFT + (RIGHT - LEFT) * (decade - self._low) / (self._high - self._low)

    def axes(self) -> Iterator[str]:
        for decade in range(self._low, self._high + 1):
            x = self._across(decade)
            yield f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{BOTTOM}" stroke="#ddd"/>'
            yield f'<text x="{x:.1f}" y="{BOTTOM + 18}" text-anchor="middle">{10.0**decade:g}</text>'
        for part in range(5):
            y = BOTTOM - (BOTTOM - TOP) * part / 4
            yield f'<line x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}" stroke="#ddd"/>'
            yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{self._most * part / 4:.3g}</text>'
        yield f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 42}" text-anchor="middle">USD a month</text>'
        yield f'<text x="{LEFT}" y="{TOP - 12}">seconds to result, 95 of 100 jobs are faster</text>'

    def marks(self, lines: Sequence[Line]) -> Iterator[str]:
        """A numbered dot for each strategy; what the numbers mean is beside the plot, since dots lie close together."""
        chosen = best(lines)
        for number, line in sorted(enumerate(lines, start=1), key=lambda one: one[1] in chosen):  # the best on top
            colour = "#b5651d" if line in chosen else "#888"
            x, y, row = self.x(line), self.y(line), TOP + 22 * number
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>'
            yield f'<text x="{x + 7:.1f}" y="{y + (16 if number % 2 else -7):.1f}" fill="{colour}">{number}</text>'
            named = f"{number}  {line.strategy}: {line.usd:,.2f} USD, {line.p95:.2f} s"
            yield f'<text x="{RIGHT + 24}" y="{row}" fill="{colour}">{escape(named)}</text>'


def html(lines: Sequence[Line], *, heading: str, inputs: str) -> str:
    """A page: the heading, the picture, both tables, and what was put in."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Warming: what it costs</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>Warming: what it costs</h1>\n<p>{escape(heading)}</p>\n"
        f"{svg(lines)}{_table(rows_of_jobs(lines))}\n{_table(rows_of_money(lines))}\n"
        f"<h2>What was put in</h2>\n<pre>{escape(inputs)}</pre>\n</body></html>\n"
    )


def _table(rows: list[list[str]]) -> str:
    def row(cells: list[str], kind: str) -> str:
        return "<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in cells) + "</tr>"

    return "<table>" + row(rows[0], "th") + "".join(row(cells, "td") for cells in rows[1:]) + "</table>"
