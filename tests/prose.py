"""A counter of the symptoms of hard-to-read prose in Python files, and the limits that product code must keep.

Usage: `python -m tests.prose [PATH ...]` prints the figures and every offending line of the given files and folders.
Without a path it reads the product code that git tracks. The exit status is 1 if a limit is exceeded.

Definitions:

- *Docstring*: the docstring of a module, class, function, method or property. Every docstring counts once.
- *Free relative clause*: the first paragraph contains `what`, `whatever`, `whoever` or `whichever`, or a `who` that has
  no noun directly before it. Indirect questions (`let the caller know what to do`) count too. `A client who has no
  quota` does not count. Words inside backticks do not count.
- *Opening*: the first word of the docstring is a preposition or a wh-word. A hyphenated word (`On-token`) and a word
  in backticks are neither.
- *Participle name*: the first word of a function's name is a participle, as in `packed` or `checked_addresses`.
  All functions count, also methods, properties and nested functions. Verbs that equal their participle
  (`put`, `read`, `split`) and predicates (`is_packed`) do not count.
- *Function length*: the lines from `def` to the last line of the body, docstring included, decorators excluded.
  The 95th percentile is the item at index `int(0.95 * n)` of the sorted lengths.

Calibration: an earlier counter gave the targets below for three published packages and for this project's `shared` and
`functions` before their prose was rewritten. The definitions above were chosen to come within one percentage point of
them on httpx, on procrastinate and on this project. The columns are free relative clauses, openings and participle
names in percent, then the function length as median/95th percentile/longest in lines.

    tree                           target                               this counter
    shared and functions, before   22.6  25.4  6.2         5/19/34      22.6  25.2  6.1  5/19/34
    httpx 0.28.1                    0.0   0.9  0.7 to 1.4  9/47/133      0.0   0.9  0.4  9/47/133
    procrastinate 3.10.0            0.5   1.1  0.7 to 1.4  8/45/126      0.6   1.7  1.1  8/47/124
    aws-lambda-powertools 3.37.0    0.4   2.0  0.7 to 1.4                0.2   1.7  2.5  5/52/206

Powertools has many properties that are named after AWS fields (`invoked_function_arn`), hence its 2.5 %. To repeat a
line, run `pip install --no-deps --target FOLDER procrastinate`, then `python -m tests.prose FOLDER/procrastinate`.

Free relative clauses in any paragraph have a limit of their own (httpx 0.4 %, procrastinate 1.7 %, Powertools 0.7 %).
Without it, a hard sentence could move to the second paragraph.
"""

from __future__ import annotations

import argparse
import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PRODUCT = ("shared", "functions", "local", "planner", "client/src", "bench")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PREPOSITIONS = _words(
    "about above across after against along among around as at before behind below beneath beside besides between "
    "beyond by despite during except for from in inside into like near of off on onto out outside over per since than "
    "through throughout to toward towards under unlike until upon via with within without"
)
_WH_WORDS = _words(
    "what whatever when whenever where wherever whether which whichever while who whoever whom whose why how"
)
# A "who" after one of these words has no noun that it belongs to.
_NO_ANTECEDENT = _PREPOSITIONS | _words(
    "and or but nor than that if is are was were be ask asks check checks choose chooses decide decides find finds "
    "know knows learn learns matter matters mean means record records remember remembers say says see sees show shows "
    "tell tells"
)
_FREE = re.compile(r"\b(?:what|whatever|whoever|whichever)\b", re.IGNORECASE)
_WHO = re.compile(r"(?:(?P<before>[\w'’]+)\s+)?\bwho\b(?!-)", re.IGNORECASE)
_OPENING = re.compile(r"[\s\"'(*_“]*([A-Za-z]+)(?![\w'’-])")
_CODE = re.compile(r"``[^`]*``|`[^`]*`")
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+")

_IRREGULAR = _words(
    "begun bought brought broken built caught chosen done drawn driven eaten fallen fed felt forgotten fought found "
    "frozen given gone grown heard held hidden kept known laid led left lent lost made meant met paid proven rebuilt "
    "resent rewritten said seen sent shaken shown sold sought spent spoken stolen stuck sung sunk sworn taken taught "
    "thought thrown told torn understood unknown unseen unsent won worn woven written"
)
_NOT_PARTICIPLES = _words(
    "bed bleed breed creed deed embed exceed feed greed heed hundred indeed need proceed red reed seed shed shred sled "
    "speed succeed wed weed"
)


@dataclass(frozen=True)
class Finding:
    """An offending place: the file and line, and the sentence or name found there."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        """Return the finding as `file:line: text`."""
        return f"{self.path}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Check:
    """A measured figure, its limit, the places that raise it, and the advice for rewriting them."""

    title: str
    unit: str
    measured: float
    limit: float
    findings: tuple[Finding, ...]
    advice: str

    @property
    def is_passed(self) -> bool:
        """Return whether the figure is within its limit."""
        return self.measured <= self.limit

    @property
    def figure(self) -> str:
        """Return the title, the figure and the limit in one line."""
        return f"{self.title}: {round(self.measured, 1):g}{self.unit} (limit {self.limit:g}{self.unit})"

    @property
    def message(self) -> str:
        """Return the figure, the advice and all findings."""
        return "\n".join([self.figure, f"  {self.advice}", *(f"  {finding}" for finding in self.findings)])


@dataclass
class Measurements:
    """The counts of a set of files."""

    docstrings: int = 0
    free_relatives: list[Finding] = field(default_factory=list)
    free_relatives_anywhere: list[Finding] = field(default_factory=list)
    openings: list[Finding] = field(default_factory=list)
    participles: list[Finding] = field(default_factory=list)
    functions: list[tuple[int, Finding]] = field(default_factory=list)
    modules: list[tuple[int, Finding]] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Return the median length of a function, in lines."""
        return statistics.median(self._lengths) if self.functions else 0

    @property
    def p95(self) -> int:
        """Return the 95th percentile of the function lengths, in lines."""
        return self._lengths[int(0.95 * len(self._lengths))] if self.functions else 0

    @property
    def longest(self) -> int:
        """Return the length of the longest function, in lines."""
        return max(self._lengths, default=0)

    @property
    def _lengths(self) -> list[int]:
        return sorted(lines for lines, _ in self.functions)

    def checks(self) -> list[Check]:
        """Return all checks of product code, in the order in which they are printed."""
        return [*self._prose_checks(), *self._length_checks()]

    def _prose_checks(self) -> list[Check]:
        docstrings, functions = self.docstrings, len(self.functions)
        return [
            _share("docstrings with a free relative clause", 1, self.free_relatives, docstrings, _NAME_THE_THING),
            _share(
                "docstrings with a free relative clause in any paragraph",
                2,
                self.free_relatives_anywhere,
                docstrings,
                _NAME_THE_THING,
            ),
            _share("docstrings opened by a preposition or wh-word", 2, self.openings, docstrings, _OPEN_WITH_A_VERB),
            _share("functions named by a participle", 1.5, self.participles, functions, _NAME_BY_A_VERB),
        ]

    def _length_checks(self) -> list[Check]:
        over_20, over_40 = _longer(self.functions, 20), _longer(self.functions, 40)
        longest_module = max((lines for lines, _ in self.modules), default=0)
        return [
            Check("function length, median", " lines", self.median, 6, over_20, _SPLIT_FUNCTION),
            Check("function length, 95th percentile", " lines", self.p95, 20, over_20, _SPLIT_FUNCTION),
            Check("function length, longest", " lines", self.longest, 40, over_40, _SPLIT_FUNCTION),
            Check("module length, longest", " lines", longest_module, 400, _longer(self.modules, 400), _SPLIT_MODULE),
        ]


_NAME_THE_THING = (
    "Name the thing instead of describing it: 'Return the scheduled checks', not 'What is due'; "
    "'the janitor', not 'whoever looks at it'."
)
_OPEN_WITH_A_VERB = (
    "Open a function's or property's docstring with a verb ('Return whether ...', 'Use the bucket ...'), "
    "a class's or module's with a noun ('The consumer side of an SQS queue.')."
)
_NAME_BY_A_VERB = (
    "Name a function by a verb (`pack`, `check_addresses`, not `packed`, `checked_addresses`), "
    "a Boolean by `is_...` or `has_...`, a property by a noun."
)
_SPLIT_FUNCTION = "Split the longest functions, which are listed here: one task per function."
_SPLIT_MODULE = "Split the module: one idea per module."


def measure(files: Iterable[Path]) -> Measurements:
    """Return the measurements of the Python files `files`.

    Raises:
        SyntaxError: If a file is not valid Python.
    """
    found = Measurements()
    for path in files:
        source = path.read_text(encoding="utf-8")
        lines = len(source.splitlines())
        found.modules.append((lines, Finding(path, 1, f"{lines} lines")))
        for node in ast.walk(ast.parse(source, filename=str(path))):
            _measure_node(found, path, node)
    return found


def has_free_relative(text: str) -> bool:
    """Return whether `text` contains a free relative clause or an indirect question."""
    text = _CODE.sub("``", text)
    return bool(_FREE.search(text)) or any(_is_free_who(text, match) for match in _WHO.finditer(text))


def has_weak_opening(text: str) -> bool:
    """Return whether the first word of `text` is a preposition or a wh-word."""
    first = _OPENING.match(text)
    return first is not None and first[1].lower() in _PREPOSITIONS | _WH_WORDS


def is_participle_name(name: str) -> bool:
    """Return whether the first word of the function name `name` is a participle."""
    word = name.strip("_").split("_")[0].lower()
    return word in _IRREGULAR or (word.endswith("ed") and word not in _NOT_PARTICIPLES)


def product_files(root: Path) -> list[Path]:
    """Return the product's Python files in `root`: those that git tracks, or all of them if `root` is no checkout."""
    command = ["git", "ls-files", "-z", "--", *(f"{folder}/*.py" for folder in PRODUCT)]
    try:
        tracked = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return list(python_files(root / folder for folder in PRODUCT))
    files = [root / name for name in tracked.split("\0") if name]
    return [path for path in files if path.is_file()]  # a deleted file is tracked until the deletion is staged


def python_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files among `paths` and the Python files below the folders among them."""
    for path in paths:
        if path.is_dir():
            yield from sorted(path.rglob("*.py"))
        else:
            yield path


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures and findings of the paths in `arguments`; return 1 if a limit is exceeded, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.prose", description="Count the symptoms of hard-to-read prose."
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="file or folder; default: product code")
    paths: list[Path] = parser.parse_args(arguments).paths
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        parser.error(f"no such file or folder: {', '.join(missing)}")
    found = measure(python_files(paths) if paths else product_files(Path()))
    sys.stdout.write(render(found) + "\n")
    return 0 if all(check.is_passed for check in found.checks()) else 1


def render(found: Measurements) -> str:
    """Return the findings of every check, then a table of the figures."""
    checks = found.checks()
    counts = f"{len(found.modules)} modules, {found.docstrings} docstrings, {len(found.functions)} functions"
    figures = [f"{'ok  ' if check.is_passed else 'OVER'} {check.figure}" for check in checks]
    return "\n".join([*(f"{check.message}\n" for check in checks if check.findings), counts, *figures])


def _measure_node(found: Measurements, path: Path, node: ast.AST) -> None:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        _measure_function(found, path, node)
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        _measure_docstring(found, path, node)


def _measure_function(found: Measurements, path: Path, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    found.functions.append((lines, Finding(path, node.lineno, f"{node.name}, {lines} lines")))
    if is_participle_name(node.name):
        found.participles.append(Finding(path, node.lineno, node.name))


def _measure_docstring(
    found: Measurements, path: Path, node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
) -> None:
    text = ast.get_docstring(node)
    if not text:
        return
    line = node.body[0].lineno
    found.docstrings += 1
    summary = text.split("\n\n")[0]
    if has_weak_opening(summary):
        found.openings.append(Finding(path, line, _sentences(summary)[0]))
    if has_free_relative(summary):
        found.free_relatives.append(Finding(path, line, _offending(summary)))
    if has_free_relative(text):
        found.free_relatives_anywhere.append(Finding(path, line, _offending(text)))


def _is_free_who(text: str, match: re.Match[str]) -> bool:
    before = match["before"]
    return before is None or before.lower() in _NO_ANTECEDENT


def _offending(text: str) -> str:
    return " / ".join(sentence for sentence in _sentences(text) if has_free_relative(sentence))


def _sentences(text: str) -> list[str]:
    return [" ".join(sentence.split()) for sentence in _SENTENCE_END.split(text.strip())]


def _share(title: str, limit: float, findings: list[Finding], total: int, advice: str) -> Check:
    percent = 100 * len(findings) / total if total else 0.0
    return Check(title, " %", percent, limit, tuple(findings), advice)


def _longer(sizes: list[tuple[int, Finding]], limit: int) -> tuple[Finding, ...]:
    longest_first = sorted(sizes, key=lambda size: -size[0])
    return tuple(finding for lines, finding in longest_first if lines > limit)


if __name__ == "__main__":
    raise SystemExit(main())
