"""The documentation site: the pages in docs/ and at the repository's root, built by MkDocs into .samovar/site.

`mkdocs.yml` names this module as a hook, so MkDocs calls the functions `on_…`. Pages are written for readers of the
repository: they link to files that the site does not have. The hook adds the pages of the root to the site, adapts
links to them, and turns links to other files into text.
"""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.commands.build import build as build_pages
from mkdocs.config import load_config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import Abort
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from local.docs import mermaid
from local.docs.links import resolve
from local.docs.pages import ROOT

# Pages outside docs/, and their names in the site. index.md is the site's own start page.
OUTSIDE = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "bench/README.md": "benchmarks.md",
}
_MERMAID = "javascripts/mermaid.min.js"
_FENCED = re.compile(r"(^[ \t]*(?:```|~~~).*?^[ \t]*(?:```|~~~)[ \t]*$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s:]+)\)")


def build(*, output: Path | None = None) -> int:
    """Build the site strictly, into `output` instead of .samovar/site if given. Return the exit status.

    MkDocs prints its warnings, for example of a page that the navigation lacks. In a strict build each is an error.
    """
    configuration = load_config(str(ROOT / "mkdocs.yml"), strict=True)
    if output:
        configuration.site_dir = str(output)
    try:
        build_pages(configuration)
    except Abort as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages of the repository's root and the Mermaid script, and write out the navigation's patterns."""
    for path, name in OUTSIDE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    if mermaid.SCRIPT.is_file():
        files.append(File.generated(config, _MERMAID, abs_src_path=str(mermaid.SCRIPT)))
    config.nav = expand(config.nav, [file.src_uri for file in files.documentation_pages()])
    return files


def on_page_markdown(markdown: str, *, page: Page, files: Files, **_: Any) -> str:
    """Adapt the links of a page."""
    return adapt_links(markdown, page=page.file.src_uri, pages=frozenset(file.src_uri for file in files))


def on_post_page(output: str, *, page: Page, **_: Any) -> str:
    """Load the Mermaid script on a page with a diagram. It is too big for every page."""
    if 'class="mermaid"' not in output or not mermaid.SCRIPT.is_file():
        return output
    source = posixpath.relpath(_MERMAID, PurePosixPath(page.url).parent)
    return output.replace("</body>", f'<script src="{source}"></script></body>')


def expand(nav: Any, names: Sequence[str]) -> Any:
    """Replace each pattern in the navigation, such as `howto/*.md`, by the sorted `names` that it matches."""
    if isinstance(nav, dict):
        return {title: expand([entry] if _is_pattern(entry) else entry, names) for title, entry in nav.items()}
    if isinstance(nav, list):
        return [expanded for entry in nav for expanded in _expand_entry(entry, names)]
    return nav


def _expand_entry(entry: Any, names: Sequence[str]) -> Iterator[Any]:
    if _is_pattern(entry):
        yield from sorted(name for name in names if fnmatchcase(name, entry))
    else:
        yield expand(entry, names)


def _is_pattern(entry: Any) -> bool:
    return isinstance(entry, str) and "*" in entry


def adapt_links(markdown: str, *, page: str, pages: frozenset[str]) -> str:
    """Return the Markdown of the site's page `page` with links that work among the site's `pages`.

    A link to a file that the site does not have becomes its text, followed by the file's path.
    """
    texts = _FENCED.split(markdown)  # every second one is code
    texts[::2] = [_LINK.sub(lambda link: _adapt(link, page, pages), text) for text in texts[::2]]
    return "".join(texts)


def _adapt(link: re.Match[str], page: str, pages: frozenset[str]) -> str:
    target, hash_, fragment = link["target"].partition("#")
    if not target:
        return link[0]
    path = resolve(_find_source(page), target)
    place = next((name for name in _find_places(path) if name in pages), None)
    if place is None:
        return link[0] if link["image"] else f"{link['text']} (`{path}`)"
    relative = posixpath.relpath(place, PurePosixPath(page).parent)
    return f"{link['image']}[{link['text']}]({relative}{hash_}{fragment})"


def _find_source(page: str) -> str:
    """Return the path in the repository of a page of the site."""
    return next((path for path, name in OUTSIDE.items() if name == page), f"docs/{page}")


def _find_places(path: str) -> Iterator[str]:
    """Yield where the site may have a file or folder of the repository."""
    if path == "README.md":
        yield "index.md"
    for candidate in (path, f"{path}/README.md"):
        yield OUTSIDE.get(candidate, "")
        yield candidate.removeprefix("docs/") if candidate.startswith("docs/") else ""
