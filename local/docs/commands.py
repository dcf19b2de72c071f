"""The check of commands: what Markdown pages tell a reader to type exists.

Checked are make's targets and variables, modules run with `python -m`, subcommands and options of `samovar`, and the
paths of files between backticks.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import click
from samovar.cli import cli

from local.docs.pages import Page, Problem, Repository, Snippet

_SHELLS = frozenset({"sh", "bash", "shell", "console"})
_COMMENT = re.compile(r"(?:^|(?<=\s))#[^\n]*")
_OPERATORS = "();<>|&\n"
_CONTINUED = "\x1f"  # stands for a backslash and a line's end
_TARGET = re.compile(r"^([a-z][\w-]*):(?!=)", re.MULTILINE)
_MAKE_VARIABLE = re.compile(r"[A-Z][A-Z_]*=")
_PYTHON = re.compile(r"(?:.*/)?python[\d.]*")
_PATH = re.compile(r"[\w.*-]+(?:/[\w.*-]+)*/?")
_SOURCES = frozenset({".py", ".tf", ".tftpl", ".md"})  # a name with one of these endings is a file of the repository
_HISTORY = frozenset({"CHANGELOG.md"})  # names that were true when they were written


def check_commands(page: Page, repository: Repository, *, makefile: str) -> Iterator[Problem]:
    """Find the commands and paths on a page that do not exist. `makefile` is the Makefile's text."""
    if page.path in _HISTORY:
        return
    for snippet in [*page.code_spans, *page.fences(_SHELLS)]:
        for line, words in split_commands(snippet):
            for message in _check_command(words, makefile, repository):
                yield Problem(page.path, line, message)
    for span in page.code_spans:
        if fault := check_path(span.text, repository):
            yield Problem(page.path, span.line, fault)


def split_commands(snippet: Snippet) -> Iterator[tuple[int, list[str]]]:
    """Split a shell's text into simple commands, each with the line where it begins.

    Text that is not shell, such as an odd quote in a code span, is split at spaces.
    """
    text = _COMMENT.sub("", snippet.text.replace("\\\n", f" {_CONTINUED} "))
    lexer = shlex.shlex(text, posix=True, punctuation_chars=_OPERATORS)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    try:
        tokens = list(lexer)
    except ValueError:
        tokens = text.split()
    yield from _group(tokens, snippet.line)


def _group(tokens: Sequence[str], line: int) -> Iterator[tuple[int, list[str]]]:
    began, words = line, list[str]()
    for token in [*tokens, "\n"]:
        if token == _CONTINUED:
            line += 1
        elif set(token) - set(_OPERATORS):
            words.append(token)
        else:
            if words:
                yield began, words
            line += token.count("\n")
            began, words = line, []


def _check_command(words: Sequence[str], makefile: str, repository: Repository) -> Iterator[str]:
    program, arguments = words[0], words[1:]
    if program == "make":
        yield from check_make(arguments, makefile)
    elif PurePosixPath(program).name == "samovar":
        yield from check_samovar(arguments)
    elif _PYTHON.fullmatch(program) and arguments[:1] == ["-m"]:
        yield from _check_module(arguments[1:2], repository)


def check_make(arguments: Sequence[str], makefile: str) -> Iterator[str]:
    """Say which targets and variables of a `make` command the Makefile does not have."""
    targets = set(_TARGET.findall(makefile))
    for argument in arguments:
        variable = _MAKE_VARIABLE.match(argument)
        if variable and not re.search(rf"\b{variable[0][:-1]}\b", makefile):
            yield f"`make` has no variable `{variable[0][:-1]}`. The Makefile must read it."
        if re.fullmatch(r"[a-z][\w-]*", argument) and argument not in targets:
            yield f"`make` has no target `{argument}`. Its targets are {', '.join(sorted(targets))}."


def check_samovar(arguments: Sequence[str], command: click.Command = cli, name: str = "samovar") -> Iterator[str]:
    """Say which subcommands and options of a `samovar` command do not exist."""
    if command.context_settings.get("ignore_unknown_options"):
        return  # another program reads the rest
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word.startswith("-") and word != "-":
            option = _find_option(command, word.partition("=")[0])
            if option is None:
                yield f"`{name}` has no option `{word}`."
            elif not option.is_flag and "=" not in word:
                words = words[1:]
        elif isinstance(command, click.Group):
            yield from _check_subcommand(word, words, command, name)
            return


def _check_subcommand(word: str, rest: Sequence[str], group: click.Group, name: str) -> Iterator[str]:
    if word in group.commands:
        yield from check_samovar(rest, group.commands[word], f"{name} {word}")
    elif re.fullmatch(r"[a-z][\w-]*", word):  # else it is a placeholder, such as SUBCOMMAND or …
        yield f"`{name}` has no subcommand `{word}`. Its subcommands are {', '.join(group.commands)}."


def _find_option(command: click.Command, spelling: str) -> click.Option | None:
    context = click.Context(command, **command.context_settings)
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option) and spelling in [*parameter.opts, *parameter.secondary_opts]:
            return parameter
    return None


def _check_module(names: Sequence[str], repository: Repository) -> Iterator[str]:
    for name in names:
        path = name.replace(".", "/")
        ours = repository.has(path.partition("/")[0])
        runs = f"{path}.py" in repository.files or f"{path}/__main__.py" in repository.files
        if ours and not runs:
            yield f"`python -m {name}` cannot run: there is neither `{path}.py` nor `{path}/__main__.py`."
        if not ours and importlib.util.find_spec(name.partition(".")[0]) is None:
            yield f"`python -m {name}` cannot run: no package of that name is installed."


def check_path(text: str, repository: Repository) -> str | None:
    """Say that a code span names a file of the repository which does not exist; None if it exists or is no path."""
    path = text.partition("::")[0].rstrip("/")  # a test's name follows ::
    if not _PATH.fullmatch(path):
        return None
    top = path.partition("/")[0]
    if top != path and top in repository.folders:
        known = repository.has(path) or ("*" in path and _matches(path, repository))
    elif PurePosixPath(path).suffix in _SOURCES:
        known = _matches(f"*/{path}", repository) or _matches(path, repository)
    else:
        return None
    return None if known else f"`{text}` looks like a path, but the repository has no such file or folder."


def _matches(pattern: str, repository: Repository) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in [*repository.files, *repository.folders])
