"""The report: a picture of cost against time (SVG), and a page with all figures (HTML). Both load nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from planner.comparison import Forecast, build_cost_rows, build_job_rows

WIDTH, HEIGHT = 980, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 560, 30, 380  # edges of the plot itself; the names of the combinations are beside it
LEAST_USD = 0.01  # the scale of the cost is logarithmic, so it cannot start at 0
_ON_FRONT, _BEHIND = "#b5651d", "#888"
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}"
    "th,td{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ddd}"
    "th:first-child,td:first-child{text-align:left}svg{max-width:100%}pre{background:#f5f5f5;padding:1rem;overflow:auto}"
)


def find_pareto_front(forecasts: Sequence[Forecast]) -> list[Forecast]:
    """Return the forecasts that no other beats in both cost and 95th percentile of the time, the cheapest first."""
    front: list[Forecast] = []
    for forecast in sorted(forecasts, key=lambda one: (one.usd, one.p95)):
        if not front or forecast.p95 < front[-1].p95:
            front.append(forecast)
    return front


def render_svg(forecasts: Sequence[Forecast]) -> str:
    """Return the picture: a dot for each forecast, and a curve along the Pareto front."""
    plot = _Plot(forecasts)
    curve = " ".join(f"{plot.x(one):.1f},{plot.y(one):.1f}" for one in find_pareto_front(forecasts))
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13" role="img">',
            "<title>Cost and time to result of each strategy</title>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            *plot.draw_axes(),
            f'<polyline points="{curve}" fill="none" stroke="{_ON_FRONT}" stroke-width="2"/>',
            *plot.draw_marks(forecasts),
            "</svg>\n",
        ]
    )


class _Plot:
    """The scales of the picture. Cost is logarithmic, in whole decades. Time is linear and starts at 0."""

    def __init__(self, forecasts: Sequence[Forecast]) -> None:
        costs = [max(one.usd, LEAST_USD) for one in forecasts]
        self._low = math.floor(math.log10(min(costs)))
        self._high = max(math.ceil(math.log10(max(costs))), self._low + 1)
        self._most = max(max(one.p95 for one in forecasts) * 1.1, 1e-3)

    def x(self, forecast: Forecast) -> float:
        return self._place_decade(math.log10(max(forecast.usd, LEAST_USD)))

    def y(self, forecast: Forecast) -> float:
        return BOTTOM - (BOTTOM - TOP) * forecast.p95 / self._most

    def _place_decade(self, decade: float) -> float:
        return LEFT + (RIGHT - LEFT) * (decade - self._low) / (self._high - self._low)

    def draw_axes(self) -> Iterator[str]:
        for decade in range(self._low, self._high + 1):
            x = self._place_decade(decade)
            yield f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{BOTTOM}" stroke="#ddd"/>'
            yield f'<text x="{x:.1f}" y="{BOTTOM + 18}" text-anchor="middle">{10.0**decade:g}</text>'
        for part in range(5):
            y = BOTTOM - (BOTTOM - TOP) * part / 4
            yield f'<line x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}" stroke="#ddd"/>'
            yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{self._most * part / 4:.3g}</text>'
        yield f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 42}" text-anchor="middle">USD a month</text>'
        yield f'<text x="{LEFT}" y="{TOP - 12}">seconds to result, 95 of 100 jobs are faster</text>'

    def draw_marks(self, forecasts: Sequence[Forecast]) -> Iterator[str]:
        """Yield a numbered dot for each forecast. A legend beside the plot explains the numbers, since dots overlap."""
        front = find_pareto_front(forecasts)
        # Dots of the Pareto front come last, so that they cover the others.
        for number, forecast in sorted(enumerate(forecasts, start=1), key=lambda one: one[1] in front):
            colour = _ON_FRONT if forecast in front else _BEHIND
            x, y, row = self.x(forecast), self.y(forecast), TOP + 22 * number
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>'
            yield f'<text x="{x + 7:.1f}" y="{y + (16 if number % 2 else -7):.1f}" fill="{colour}">{number}</text>'
            label = f"{number}  {forecast.strategy}: {forecast.usd:,.2f} USD, {forecast.p95:.2f} s"
            yield f'<text x="{RIGHT + 24}" y="{row}" fill="{colour}">{escape(label)}</text>'


def render_html(forecasts: Sequence[Forecast], *, heading: str, inputs: str, terraform: Mapping[str, str]) -> str:
    """Return a page with the heading, the picture, both tables, the Terraform by combination, and the inputs."""
    snippets = "\n".join(
        f"<h3>{escape(name)}</h3>\n<pre>{escape(snippet)}</pre>" for name, snippet in terraform.items()
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Cost of warming</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>Cost of warming</h1>\n<p>{escape(heading)}</p>\n"
        f"{render_svg(forecasts)}{_render_table(build_job_rows(forecasts))}\n"
        f"{_render_table(build_cost_rows(forecasts))}\n"
        f"<h2>Terraform</h2>\n{snippets}\n<h2>Inputs</h2>\n<pre>{escape(inputs)}</pre>\n</body></html>\n"
    )


def _render_table(rows: list[list[str]]) -> str:
    head, *body = rows
    return "<table>" + _render_row(head, "th") + "".join(_render_row(cells, "td") for cells in body) + "</table>"


def _render_row(cells: list[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
