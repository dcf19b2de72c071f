"""Function zips: the modules of a function and the shared modules that they import, with their paths unchanged."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

from local.package.archive import compile_bytecode, write_zip
from local.package.manifest import Artifact
from local.package.platform import Platform

OWN_PACKAGES = ("functions", "shared")


def list_functions(root: Path) -> list[str]:
    """Return the names of the project's functions, which are the folders below `functions/` that hold a handler."""
    return sorted(handler.parent.name for handler in root.glob("functions/*/handler.py"))


def get_layer_name(function: str) -> str:
    """Return the name of a function's layer. The worker has its own layer, and the other functions share one."""
    return "worker" if function == "worker" else "api"


def find_sources(root: Path, name: str) -> list[Path]:
    """Return a function's modules and all modules of the project that they import, directly or not.

    The paths are relative to `root` and sorted.
    """
    todo = {path.relative_to(root) for path in (root / "functions" / name).rglob("*.py")}
    seen: set[Path] = set()
    while todo:
        path = todo.pop()
        seen.add(path)
        todo |= set(_list_imported_files(root, path)) - seen
    return sorted(seen)


def make_function(root: Path, sources: list[Path], file: Path, *, work: Path, platform: Platform) -> Artifact:
    """Zip the sources with their bytecode into `file`. `work` is an empty folder for temporary files."""
    for path in sources:
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, work / path)
    compile_bytecode(work, installed_at="/var/task", platform=platform)
    return write_zip(work, file, level=platform.compression)


def _list_imported_files(root: Path, path: Path) -> Iterator[Path]:
    """Yield the project's files that a module imports, and the `__init__.py` of their packages."""
    package = path.parent.parts
    for node in _walk_runtime_nodes(ast.parse((root / path).read_text(encoding="utf-8"), filename=str(path))):
        for name in _list_imported_names(node, package):
            yield from _list_module_files(root, name)


def _walk_runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield every node of a module except those below `if TYPE_CHECKING`, which do not run."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _is_type_checking(child.test):
            for otherwise in child.orelse:
                yield from _walk_runtime_nodes(otherwise)
        else:
            yield from _walk_runtime_nodes(child)


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def _list_imported_names(node: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    """Yield the dotted names in an import that may be modules: both `a` and `a.b` for `from a import b`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else ()
        base = ".".join((*above, *filter(None, [node.module])))
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def _list_module_files(root: Path, name: str) -> Iterator[Path]:
    """Yield the files that run when a dotted name is imported: the `__init__.py` of each package, then the module."""
    parts = name.split(".")
    if parts[0] not in OWN_PACKAGES:
        return
    for depth in range(1, len(parts) + 1):
        stem = Path(*parts[:depth])
        for path in (stem / "__init__.py", stem.with_suffix(".py")):
            if (root / path).is_file():
                yield path
