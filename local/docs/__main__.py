"""`python -m local.docs check | build`: the checks of `make lint`, and the site of `make docs`."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from local.docs import mermaid, site
from local.docs.commands import check_commands
from local.docs.links import check_links
from local.docs.pages import ROOT, Problem, Repository


def find_problems(repository: Repository) -> Iterator[Problem]:
    """Find what the Markdown pages of the repository say that is not true of it."""
    pages = {page.path: page for page in repository.pages()}
    yield from check_links(pages, repository)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in pages.values():
        yield from check_commands(page, repository, makefile=makefile)


def check() -> int:
    """Print the problems of all pages, and build the site to see that it can be built. Return the exit status."""
    problems = sorted(set(find_problems(Repository.read())))
    for problem in problems:
        print(problem, file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        status = site.build(output=Path(folder))
    return bool(problems) or status


def build() -> int:
    """Build the site with its diagrams. Return the exit status."""
    try:
        mermaid.fetch()
    except mermaid.MermaidMissing as error:
        print(f"Pages will load Mermaid, which draws diagrams, from another host. {error}", file=sys.stderr)
    return site.build()


def main() -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.docs", description=__doc__)
    parser.add_argument("command", choices=["check", "build"])
    logging.basicConfig(level=logging.WARNING, format="%(message)s")  # for what MkDocs has to say
    return check() if parser.parse_args().command == "check" else build()


if __name__ == "__main__":
    sys.exit(main())
