"""The command line of the planner: `samovar plan`, or `python -m planner`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, time
from pathlib import Path

from planner import strategies
from planner.combinations import Combination, build_default_combinations, read_combinations
from planner.comparison import Forecast, compare, render_json, render_tables
from planner.costs import read_prices
from planner.engine.outcome import Limits
from planner.errors import PlannerError
from planner.measurements import Measurements
from planner.office import generate_office_traffic
from planner.options import Parser, check_count, check_seconds
from planner.prices import PRICES, Prices
from planner.report import render_html, render_svg
from planner.strategies.protocol import Parameters
from planner.traffic import TOKEN_SECONDS, Traffic, read_traffic
from planner.windows import Window, load_time_zone

INVALID = 2  # the exit status for invalid input
_DESCRIPTION = """Simulate warming strategies over your traffic, and show the cost and the times of each.

TRAFFIC is a CSV file (`timestamp,event` with the events token and submit, or `app,func,end_timestamp,duration`), or
`office` for random traffic in office hours. `measure` takes measurements from a live deployment."""


def main(arguments: Sequence[str] | None = None, *, prog: str = "samovar plan") -> int:
    """Run the planner with these arguments. Return the exit status: 2 if the input is not valid."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["measure"]:
            return _measure(given[1:], f"{prog} measure")
        return _plan(_build_parser(prog).parse_args(given))
    except PlannerError as error:
        sys.stderr.write(f"{prog}: {error}\n")
        return INVALID


def _build_parser(prog: str) -> argparse.ArgumentParser:
    listed = [f"  {kind.title} (`{kind.key}`): {kind.summary}" for kind in strategies.STRATEGIES]
    parser = Parser(
        prog=prog,
        description=_DESCRIPTION,
        epilog="\n".join(["strategies, and their keys in a strategies file:", *listed]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("traffic", metavar="TRAFFIC", help="a file, `office` or `measure`")
    add("--measurements", type=Path, help="JSON file of measured times (default: those in docs/warming.md)")
    add("--prices", type=Path, default=PRICES, help="JSON file of prices (default: those of the package)")
    add("--token-lead", type=float, default=1.0, help="seconds from a token to its first job (default: %(default)s)")
    add("--seed", type=int, default=1, help="of random numbers; the same seed gives the same figures (default: 1)")
    add("--plot", type=Path, metavar="FILE.svg", help="write a picture of cost and time to result")
    add("--html", type=Path, metavar="FILE", help="write a report with the Terraform of each row")
    add("--json", action="store_true", help="print JSON instead of tables")
    _add_strategy_options(parser)
    _add_office_options(parser)
    return parser


def _add_strategy_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("strategies").add_argument
    add("--strategies", type=Path, help="JSON file with a list of strategies (default: each alone, and some together)")
    add(
        "--environments",
        type=int,
        default=10,
        help="kept warm by strategies with a fixed number (default: %(default)s)",
    )
    add("--account-limit", type=int, default=1000, help="environments at a time (default: %(default)s)")
    add("--mapping-limit", type=int, default=50, help="batches at a time from the queue (default: %(default)s)")
    for kind in strategies.STRATEGIES:
        for option in kind.command_options:
            help_text = f"{option.help} (default: %(default)s)"
            add(f"--{option.name}", type=option.kind, default=option.default, help=help_text)


def _add_office_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("office hours, of the random traffic and of the strategies").add_argument
    add("--timezone", default="UTC", help="IANA name (default: %(default)s)")
    add("--hours", default="09:00-17:00", help="on Monday to Friday (default: %(default)s)")
    add("--clients", type=int, default=40, help="number of clients (default: %(default)s)")
    add("--jobs", type=float, default=20, help="of a client on a day, on average (default: %(default)s)")
    add("--month", default=f"{datetime.now().astimezone():%Y-%m}", help="such as 2026-11 (default: this month)")


def _plan(options: argparse.Namespace) -> int:
    check_count("seed", options.seed, least=0)
    measured = Measurements.read(options.measurements) if options.measurements else Measurements()
    prices = read_prices(options.prices)
    if options.plot and options.plot.suffix != ".svg":
        raise PlannerError("plot", f"{options.plot} does not end with .svg")
    window = _build_window(options)
    traffic = _load_traffic(options, window)
    combinations = _load_combinations(options, window)
    limits = _build_limits(options)
    forecasts = list(compare(traffic, combinations, measured=measured, prices=prices, limits=limits, seed=options.seed))
    heading = _render_heading(options.traffic, traffic, prices, options.seed)
    if options.plot:
        _write("plot", options.plot, render_svg(forecasts))
    if options.html:
        _write("html", options.html, _render_page(forecasts, heading, measured, combinations))
    print(render_json(forecasts) if options.json else f"{heading}\n{render_tables(forecasts)}")
    return 0


def _build_limits(options: argparse.Namespace) -> Limits:
    return Limits(
        account=check_count("account-limit", options.account_limit, most=100_000),
        mapping=check_count("mapping-limit", options.mapping_limit, least=2, most=1_000),
    )


def _write(field: str, path: Path, content: str) -> None:
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise PlannerError(field, f"{path} cannot be written: {error.strerror}") from None


def _render_page(
    forecasts: Sequence[Forecast], heading: str, measured: Measurements, combinations: Sequence[Combination]
) -> str:
    """Return the report, with the inputs in the formats of the files that the planner reads."""
    listed = "\n".join(json.dumps(one.dump(), ensure_ascii=False) for one in combinations)
    inputs = f"{measured.model_dump_json()}\n\n{listed}"
    terraform = {one.name: one.render_terraform() for one in combinations}
    return render_html(forecasts, heading=heading, inputs=inputs, terraform=terraform)


def _render_heading(name: str, traffic: Traffic, prices: Prices, seed: int) -> str:
    return (
        f"{name}: {len(traffic.submits):,} jobs and {len(traffic.tokens):,} tokens in "
        f"{traffic.seconds / 86_400:,.2f} days from {traffic.began:%Y-%m-%d %H:%M} UTC, "
        f"counted {traffic.monthly_factor:,.2f} times for a month.\n"
        f"Prices of {prices.date}, {prices.region}, without free tiers; seed {seed}.\n"
    )


def _build_window(options: argparse.Namespace) -> Window:
    load_time_zone(options.timezone, field="timezone")
    try:
        start, end = (time.fromisoformat(edge) for edge in options.hours.split("-"))
    except ValueError:
        raise PlannerError("hours", f"{options.hours!r} is not like 09:00-17:00") from None
    if start.tzinfo or end.tzinfo:
        raise PlannerError("hours", f"{options.hours!r} has an offset from UTC: use --timezone instead")
    if end <= start:
        raise PlannerError("hours", f"the end, {end:%H:%M}, is not after the start, {start:%H:%M}")
    return Window(start=start, end=end, timezone=options.timezone)


def _load_traffic(options: argparse.Namespace, window: Window) -> Traffic:
    lead = check_seconds("token-lead", options.token_lead, least=0, below=TOKEN_SECONDS)
    if options.traffic != "office":
        return read_traffic(Path(options.traffic), token_lead_seconds=lead)
    return generate_office_traffic(
        window,
        clients=options.clients,
        month=options.month,
        jobs_a_day=options.jobs,
        token_lead_seconds=lead,
        seed=options.seed,
    )


def _load_combinations(options: argparse.Namespace, window: Window) -> list[Combination]:
    if options.strategies:
        return read_combinations(options.strategies)
    names = [option.name for kind in strategies.STRATEGIES for option in kind.command_options]
    parameters = Parameters(
        environments=check_count("environments", options.environments),
        windows=(window,),
        own={name: getattr(options, name.replace("-", "_")) for name in names},
    )
    return build_default_combinations(parameters)


def _measure(arguments: Sequence[str], prog: str) -> int:
    from planner import measure  # imports httpx, which the simulation does not need

    run: Callable[[Sequence[str], str], int] = measure.main
    return run(arguments, prog)
