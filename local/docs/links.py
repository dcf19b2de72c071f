"""The check of links: every relative link in a Markdown page leads to a file, and to an anchor that the file has."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from urllib.parse import unquote

from local.docs.pages import Page, Problem, Repository, Snippet

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def check_links(pages: Mapping[str, Page], repository: Repository) -> Iterator[Problem]:
    """Find the relative links whose file or anchor does not exist. Links to other sites are not followed."""
    for page in pages.values():
        for link in page.links:
            message = _find_fault(page, link, pages, repository)
            if message:
                yield Problem(page.path, link.line, message)


def _find_fault(page: Page, link: Snippet, pages: Mapping[str, Page], repository: Repository) -> str | None:
    if _SCHEME.match(link.text) or link.text.startswith("//"):
        return None
    target, _, fragment = link.text.partition("#")
    if target.startswith("/"):
        return f"The link `{link.text}` begins with `/`. Make it relative to the page, so that it works everywhere."
    path = resolve(page.path, unquote(target))
    if not repository.has(path):
        return f"The link `{link.text}` leads to `{path}`, which is not in the repository."
    if fragment and path in pages and unquote(fragment) not in pages[path].anchors:
        return f"The link `{link.text}` leads to an anchor that `{path}` does not have. Name one of its headings."
    return None


def resolve(page: str, target: str) -> str:
    """Return the path, from the repository's root, that a link on `page` leads to; an empty target is the page."""
    return posixpath.normpath(PurePosixPath(page).parent / target) if target else page
