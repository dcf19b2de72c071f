"""Function zips: a function's own modules and the shared modules they import, under the same paths as here."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

from local.package.archive import compile_bytecode, write_zip
from local.package.manifest import Artifact
from local.package.platform import Platform

OWN_PACKAGES = ("functions", "shared")


def function_names(root: Path) -> list[str]:
    """The functions of the project: the folders below `functions/` that hold a handler."""
    return sorted(handler.parent.name for handler in root.glob("functions/*/handler.py"))


def layer_of(function: str) -> str:
    """The layer a function runs on: the worker's own, or the one the others share."""
    return "worker" if function == "worker" else "api"


def function_sources(root: Path, name: str) -> list[Path]:
    """A function's modules and, transitively, all modules of the project they import, sorted; relative to `root`."""
    todo = {path.relative_to(root) for path in (root / "functions" / name).rglob("*.py")}
    seen: set[Path] = set()
    while todo:
        path = todo.pop()
        seen.add(path)
        todo |= set(_imported_files(root, path)) - seen
    return sorted(seen)


def make_function(root: Path, sources: list[Path], file: Path, *, work: Path, platform: Platform) -> Artifact:
    """Zips the sources with their bytecode, in the empty folder `work`."""
    for path in sources:
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, work / path)
    compile_bytecode(work, installed_at="/var/task", platform=platform)
    return write_zip(work, file, level=platform.compression)


def _imported_files(root: Path, path: Path) -> Iterator[Path]:
    """The project's files that a module imports, with the packages they lie in."""
    package = path.parent.parts
    for node in _running_nodes(ast.parse((root / path).read_text(encoding="utf-8"), filename=str(path))):
        for name in _imported_names(node, package):
            yield from _files_of(root, name)


def _running_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Every node of a module but what only type checkers see."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _is_type_checking(child.test):
            for otherwise in child.orelse:
                yield from _running_nodes(otherwise)
        else:
            yield from _running_nodes(child)


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def _imported_names(node: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    """Dotted names that may be modules: of `from a import b` both `a` and `a.b`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else ()
        base = ".".join((*above, *filter(None, [node.module])))
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def _files_of(root: Path, name: str) -> Iterator[Path]:
    """The files that importing a dotted name of the project runs: each package's `__init__.py`, then the module."""
    parts = name.split(".")
    if parts[0] not in OWN_PACKAGES:
        return
    for depth in range(1, len(parts) + 1):
        stem = Path(*parts[:depth])
        for path in (stem / "__init__.py", stem.with_suffix(".py")):
            if (root / path).is_file():
                yield path
