"""`python -m bench [NAME…]`: runs the benchmarks, all of them or those named; 1 when one misses its target."""

from __future__ import annotations

import argparse
import importlib
import sys

from bench import command

NAMES = {
    "cold": "a cold process to its first result, against plain spaCy",
    "throughput": "the worker over an in-memory store, against nlp.pipe",
    "model": "a model of 220 MB from an empty folder to its first result, against the naive way",
    "planner": "a million jobs under six strategies, time and memory",
    "replay": "cold starts of ten minutes on a local cloud of its own, against the planner's",
    "webhooks": "from a job's end to its webhook's arrival, and beside dead receivers",
    "client": "the command line's first word, and the memory of many texts, on a local cloud of its own",
    "api": "submits beside a bare function, and how even reads are, on a local cloud of its own",
    "warming": "a job cold, warmed by a token before it, warm, and at a fleet, on a local cloud of its own",
    "cloud": "a warm job, big texts and many jobs on a local cloud of its own",
}


def main() -> int:
    """Run them one after the other, since each wants the machine for itself."""
    described = "\n".join(f"  {name:<12} {what}" for name, what in NAMES.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog=f"benchmarks:\n{described}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which to run (default: all)")
    command.add_common_options(parser)
    options = parser.parse_args()
    names = options.names or list(NAMES)
    if unknown := set(names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    missed = 0
    for name in names:
        print(f"\n== {name}: {NAMES[name]}", flush=True)
        missed |= importlib.import_module(f"bench.{name}").main(command.forward(options))
    return missed


if __name__ == "__main__":
    sys.exit(main())
