"""`python -m bench [NAME…]`: runs the benchmarks, all of them or those named; 1 when one misses its target."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import time

from rich.console import Console
from rich.text import Text

from bench import report
from local.steps import Steps, duration

NAMES = {
    "cold": "a cold process to its first result, against plain spaCy",
    "throughput": "the worker over an in-memory store, against nlp.pipe",
    "model": "a model of 220 MB, from S3 to its first result, against the naive way",
    "local": "a warm job, long texts, a big text and many jobs, on a local cloud of its own",
}


def main() -> int:
    """Run them one after the other, since each wants the machine for itself."""
    options = _options()
    os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported; more threads cost 13 %
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a stop cleans up as Ctrl-C does
    console = Console(file=sys.stdout, highlight=False)
    try:
        missed = [name for name in options.names or NAMES if not _is_met(name, console, quick=options.quick)]
    except KeyboardInterrupt:
        return 130
    if missed:
        console.print(Text.assemble(("✗", "bold red"), f" targets missed: {', '.join(missed)}"))
    return int(bool(missed))


def _options() -> argparse.Namespace:
    described = "\n".join(f"  {name:<12} {what}" for name, what in NAMES.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog=f"benchmarks:\n{described}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which to run (default: all)")
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that it works, proves nothing")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(NAMES)):
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    return options


def _is_met(name: str, console: Console, *, quick: bool) -> bool:
    """Run one and report it; one that fails does not keep the others from running."""
    console.print(Text.assemble(("\n" + name, "bold"), f": {NAMES[name]}"), soft_wrap=True)
    began = time.monotonic()
    try:
        with Steps(console) as steps:
            measured: report.Measured = importlib.import_module(f"bench.{name}").measure(steps, quick=quick)
    except Exception:  # noqa: BLE001 (whatever it is, it is shown, and the next one runs)
        console.print_exception(max_frames=8)
        return False
    report.show(console, measured)
    file = report.save(name, measured, quick=quick)
    console.print(f"  {duration(time.monotonic() - began)}; details: {file.relative_to(report.ROOT)}", style="dim")
    return measured.is_met


if __name__ == "__main__":
    sys.exit(main())
