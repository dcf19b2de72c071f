"""`python -m bench [NAME…]`: the benchmarks. The exit status is 1 if one of them misses a target."""

from __future__ import annotations

import argparse
import importlib
import sys

from bench import command

BENCHMARKS = {
    "cold": "time of a cold process to its first result, against plain spaCy",
    "throughput": "throughput of the worker over an in-memory store, against nlp.pipe",
    "model": "time from an empty folder to the first result of a model of 220 MB, against the naive way",
    "planner": "CPU time and memory of the planner for a million jobs under six strategies",
    "replay": "cold starts of ten minutes of traffic, on a local cloud and in the planner's simulation",
    "webhooks": "time from a job's end to the arrival of its webhook, also beside dead receivers",
    "client": "time of `samovar --help`, and memory of the SDK with many texts",
    "api": "rate of submits against a minimal function, and spread of the latency of reads",
    "warming": "time of a job with a cold, a warming and a warm worker, and with a fleet",
    "cloud": "a warm job, long jobs, a big text and many jobs on a local cloud",
}


def main() -> int:
    """Run the named benchmarks, or all of them, one after the other."""
    described = "\n".join(f"  {name:<12} {what}" for name, what in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog=f"benchmarks:\n{described}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run (default: all)")
    command.add_common_options(parser)
    options = parser.parse_args()
    names = options.names or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    missed = 0
    for name in names:
        print(f"\n== {name}: {BENCHMARKS[name]}", flush=True)
        missed |= importlib.import_module(f"bench.{name}").main(command.forward(options))
    return missed


if __name__ == "__main__":
    sys.exit(main())
