"""Markdown pages, read as CommonMark with tables: their links, their anchors and the code they show."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]

_HTML_ANCHOR = re.compile(r"<[a-z][^>]*\s(?:id|name)=[\"']([^\"']+)[\"']", re.IGNORECASE)
_NOT_IN_A_SLUG = re.compile(r"[^\w\- ]")
_PARSER = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True, order=True)
class Problem:
    """Something on a page that is not true of the repository."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        """Return the problem as compilers write theirs, so that editors can jump to it."""
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Snippet:
    """A piece of a page and the line where it begins: a link's target, a code span, or a fenced block's text."""

    line: int
    text: str


@dataclass(frozen=True)
class Repository:
    """The files of the repository, as paths from its root: those in git, and new ones that git does not ignore."""

    files: frozenset[str]

    @classmethod
    def read(cls, root: Path = ROOT) -> Repository:
        """Ask git for the files below `root` that exist.

        Raises:
            CalledProcessError: If `root` is not a git work tree.
        """
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
        return cls(frozenset(name for name in listed if name and (root / name).is_file()))

    @cached_property
    def folders(self) -> frozenset[str]:
        """Return the folders that hold the files; `.` is the root."""
        return frozenset(str(folder) for name in self.files for folder in PurePosixPath(name).parents)

    def has(self, path: str) -> bool:
        """Return whether `path` is a file or a folder of the repository."""
        return path in self.files or path in self.folders

    def pages(self, root: Path = ROOT) -> Iterator[Page]:
        """Read the Markdown pages in the order of their names."""
        for name in sorted(self.files):
            if name.endswith(".md"):
                yield Page(name, (root / name).read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Page:
    """A Markdown page: its path from the repository's root, and its text."""

    path: str
    text: str

    @cached_property
    def _tokens(self) -> list[Token]:
        return _PARSER.parse(self.text)

    @cached_property
    def anchors(self) -> frozenset[str]:
        """Return the fragments that links can name, made of headings as GitHub makes them, or written in HTML."""
        slugs: Counter[str] = Counter()
        found = set(_HTML_ANCHOR.findall(self.text))
        for opening, inline in zip(self._tokens, self._tokens[1:], strict=False):
            if opening.type == "heading_open":
                slug = make_slug("".join(child.content for child in inline.children or []))
                found.add(f"{slug}-{slugs[slug]}" if slugs[slug] else slug)
                slugs[slug] += 1
        return frozenset(found)

    @cached_property
    def links(self) -> list[Snippet]:
        """Return the targets of links and images."""
        found = []
        for line, token in self._inline():
            target = token.attrGet("href" if token.type == "link_open" else "src")
            if token.type in {"link_open", "image"} and isinstance(target, str):
                found.append(Snippet(line, target))
        return found

    @cached_property
    def code_spans(self) -> list[Snippet]:
        """Return the texts between backticks."""
        return [Snippet(line, token.content) for line, token in self._inline() if token.type == "code_inline"]

    def fences(self, languages: frozenset[str]) -> list[Snippet]:
        """Return the texts of fenced blocks in one of the languages."""
        return [
            Snippet(token.map[0] + 2, token.content)
            for token in self._tokens
            if token.type == "fence" and token.map and token.info.strip() in languages
        ]

    def _inline(self) -> Iterator[tuple[int, Token]]:
        for block in self._tokens:
            line = block.map[0] + 1 if block.map else 1
            for token in block.children or []:
                yield line, token
                line += token.type in {"softbreak", "hardbreak"}


def make_slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading: lower case, no punctuation, hyphens for spaces."""
    return _NOT_IN_A_SLUG.sub("", heading.strip().lower()).replace(" ", "-")
