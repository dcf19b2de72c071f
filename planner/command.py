"""The command line of the planner: `samovar plan`, or `python -m planner`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, time
from pathlib import Path

from planner import plans, report, strategies, traffic
from planner.costs import PRICES, Prices
from planner.errors import PlannerError
from planner.measurements import Measurements
from planner.options import Parser, seconds, whole
from planner.outcome import Limits
from planner.windows import Window, time_zone

INVALID = 2  # the exit status for input that cannot be used
_DESCRIPTION = """Simulate the strategies of warming over your traffic, and say what each costs.

TRAFFIC is a CSV file (`timestamp,event` with the events token and submit, or `app,func,end_timestamp,duration`), or
`office` for a profile of clients in office hours. `measure` takes the measurements from a live deployment."""


def main(arguments: Sequence[str] | None = None, *, prog: str = "samovar plan") -> int:
    """Run the planner with these arguments; returns the exit status: 2 when the input cannot be used."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["measure"]:
            return _measure(given[1:], f"{prog} measure")
        return _plan(_parser(prog).parse_args(given))
    except PlannerError as error:
        sys.stderr.write(f"{prog}: {error}\n")
        return INVALID


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = Parser(prog=prog, description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("traffic", metavar="TRAFFIC", help="a file, `office` or `measure`")
    add("--measurements", type=Path, help="JSON of measured times (default: those in docs/warming.md)")
    add("--prices", type=Path, default=PRICES, help="JSON of prices (default: those of the package, with their date)")
    add("--strategies", type=Path, help="JSON with a list of strategies (default: each one, and some together)")
    add("--environments", type=int, default=10, help="of B, A and always on (default: %(default)s)")
    add("--every", type=float, default=240, help="seconds between the pings of B (default: %(default)s)")
    add("--account-limit", type=int, default=1000, help="environments at a time (default: %(default)s)")
    add("--mapping-limit", type=int, default=50, help="batches at a time from the queue (default: %(default)s)")
    add("--token-lead", type=float, default=1.0, help="seconds from a token to its first job (default: %(default)s)")
    add("--seed", type=int, default=1, help="of chance; the same seed gives the same figures (default: %(default)s)")
    add("--plot", type=Path, metavar="FILE.svg", help="write a picture of the trade-off")
    add("--html", type=Path, metavar="FILE", help="write a report")
    add("--json", action="store_true", help="JSON instead of a table")
    _office_options(parser)
    return parser


def _office_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("office hours (of the profile, and of the windows of A and B)").add_argument
    add("--timezone", default="UTC", help="IANA name (default: %(default)s)")
    add("--hours", default="09:00-17:00", help="Monday to Friday (default: %(default)s)")
    add("--clients", type=int, default=40, help="how many (default: %(default)s)")
    add("--jobs", type=float, default=20, help="of a client on a day, on average (default: %(default)s)")
    add("--month", default=f"{datetime.now().astimezone():%Y-%m}", help="such as 2026-11 (default: this one)")


def _plan(options: argparse.Namespace) -> int:
    whole("seed", options.seed, least=0)
    measured = Measurements.read(options.measurements) if options.measurements else Measurements()
    prices = Prices.read(options.prices)
    if options.plot and options.plot.suffix != ".svg":
        raise PlannerError("plot", f"{options.plot} does not end with .svg")
    window = _window(options)
    simulated = _traffic(options, window)
    chosen = _strategies(options, window)
    limits = Limits(
        account=whole("account-limit", options.account_limit, most=100_000),
        mapping=whole("mapping-limit", options.mapping_limit, least=2, most=1_000),
    )
    lines = list(plans.plan(simulated, chosen, measured=measured, prices=prices, limits=limits, seed=options.seed))
    heading = _heading(options.traffic, simulated, prices, options.seed)
    if options.plot:
        _write("plot", options.plot, report.svg(lines))
    if options.html:
        _write("html", options.html, report.html(lines, heading=heading, inputs=_inputs(measured, chosen)))
    print(plans.as_json(lines) if options.json else f"{heading}\n{plans.as_table(lines)}")
    return 0


def _write(field: str, path: Path, content: str) -> None:
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise PlannerError(field, f"{path} cannot be written: {error.strerror}") from None


def _inputs(measured: Measurements, chosen: Sequence[strategies.Strategy]) -> str:
    switches = "\n".join(one.model_dump_json(exclude_none=True) for one in chosen)
    return f"{measured.model_dump_json()}\n\n{switches}"


def _heading(name: str, simulated: traffic.Traffic, prices: Prices, seed: int) -> str:
    return (
        f"{name}: {len(simulated.submits):,} jobs and {len(simulated.tokens):,} tokens in "
        f"{simulated.seconds / 86_400:,.2f} days from {simulated.began:%Y-%m-%d %H:%M} UTC, "
        f"counted as {simulated.per_month:,.2f} of it a month.\n"
        f"Prices of {prices.date}, {prices.region}, without free tiers; seed {seed}.\n"
    )


def _window(options: argparse.Namespace) -> Window:
    time_zone(options.timezone, field="timezone")
    try:
        start, end = (time.fromisoformat(edge) for edge in options.hours.split("-"))
    except ValueError:
        raise PlannerError("hours", f"{options.hours!r} is not like 09:00-17:00") from None
    if start.tzinfo or end.tzinfo:
        raise PlannerError("hours", f"{options.hours!r} has an offset: that is --timezone's")
    if end <= start:
        raise PlannerError("hours", f"the end, {end:%H:%M}, is not after the start, {start:%H:%M}")
    return Window(start=start, end=end, timezone=options.timezone)


def _traffic(options: argparse.Namespace, window: Window) -> traffic.Traffic:
    lead = seconds("token-lead", options.token_lead, least=0, below=traffic.TOKEN_SECONDS)
    if options.traffic != "office":
        return traffic.read(Path(options.traffic), token_lead_seconds=lead)
    return traffic.office(
        window,
        clients=options.clients,
        month=options.month,
        jobs_a_day=options.jobs,
        token_lead_seconds=lead,
        seed=options.seed,
    )


def _strategies(options: argparse.Namespace, window: Window) -> list[strategies.Strategy]:
    if options.strategies:
        return strategies.read(options.strategies)
    every = seconds("every", options.every, least=1, below=1e9)
    environments = whole("environments", options.environments)
    return strategies.defaults(environments=environments, windows=(window,), every_seconds=every)


def _measure(arguments: Sequence[str], prog: str) -> int:
    from planner import measure  # needs httpx, which planning does not

    run: Callable[[Sequence[str], str], int] = measure.main
    return run(arguments, prog)
