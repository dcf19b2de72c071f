"""Archives that depend on their content alone: no clock, no owner, no order of the file system."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

from local.package.manifest import Artifact, PackagingError
from local.package.platform import Platform

EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time a zip can hold
FILE_MODE = 0o100644
CHUNK = 1 << 20


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, in an order that is the same everywhere.

    Raises:
        PackagingError: something below is neither a file nor a folder, such as a link.
    """
    entries = sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).parts)
    for path in entries:
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise PackagingError(f"{path} is a link or a special file; only plain files can be packaged")
    return [path for path in entries if path.is_file()]


def write_zip(tree: Path, file: Path, *, level: int) -> Artifact:
    """Zips everything below `tree` into `file`; level 0 stores without compressing."""
    method = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
    unzipped = 0
    with zipfile.ZipFile(file, "w") as archive:
        for path in files_below(tree):
            entry = zipfile.ZipInfo(path.relative_to(tree).as_posix(), EPOCH)
            entry.create_system = 3  # Unix, whose modes follow
            entry.external_attr = FILE_MODE << 16
            content = path.read_bytes()
            unzipped += len(content)
            archive.writestr(entry, content, compress_type=method, compresslevel=level or None)
    return Artifact(file=file.name, sha256=sha256_of(file), size=file.stat().st_size, unzipped=unzipped)


def write_tar(folder: Path, file: Path) -> None:
    """Puts the content of `folder` into an uncompressed tar without owners and times."""
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in files_below(folder):
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size = path.stat().st_size
            entry.mode = FILE_MODE & 0o777
            with path.open("rb") as content:
                archive.addfile(entry, content)


def sha256_of(file: Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def compile_bytecode(tree: Path, *, installed_at: str, platform: Platform) -> bool:
    """Writes `.pyc` files beside all sources below `tree`; False if no interpreter of the runtime is here.

    They carry the hash of their source and are never checked against it: times, which a zip does not keep, do not
    matter. Their paths are those below `installed_at`, so they say nothing about this machine.
    """
    if platform.interpreter is None:
        return False
    sources = [path for path in files_below(tree) if path.suffix == ".py"]
    # Each process gets a fixed share of the files: what it compiled before shows in the references of the next file.
    shares = [share for share in (sources[0::2], sources[1::2]) if share]
    compilers = [_compiler(platform.interpreter, share, tree=tree, installed_at=installed_at) for share in shares]
    outputs = [compiler.communicate()[0] for compiler in compilers]
    if any(compiler.returncode for compiler in compilers):
        raise PackagingError(f"some sources do not compile for {platform.runtime}:\n{''.join(outputs)}")
    return True


def _compiler(interpreter: str, share: list[Path], *, tree: Path, installed_at: str) -> subprocess.Popen[str]:
    options = ["-q", "-s", str(tree), "-p", installed_at, "--invalidation-mode", "unchecked-hash", "-i", "-"]
    with tempfile.TemporaryFile("w+") as names:
        names.write("\n".join(map(str, share)))
        names.seek(0)
        return subprocess.Popen(
            [interpreter, "-S", "-m", "compileall", *options],
            stdin=names,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={"PYTHONHASHSEED": "0"},  # else sets of constants come out in another order every time
        )


def strip_libraries(tree: Path, *, platform: Platform) -> bool:
    """Removes symbols that nothing links against any more; False if no `strip` for the architecture is here.

    Libraries that wheels bring along, below `*.libs`, stay as they are: stripping breaks OpenBLAS.
    """
    libraries = [path for path in files_below(tree) if path.suffix == ".so" and not _is_vendored(path)]
    if platform.strip is None or not libraries:
        return not libraries
    for library in libraries:
        _unlink_from_cache(library)
    done = subprocess.run(
        [platform.strip, "--strip-unneeded", *map(str, libraries)], capture_output=True, text=True, check=False
    )
    return done.returncode == 0


def _is_vendored(path: Path) -> bool:
    return any(part.endswith(".libs") for part in path.parts)


def _unlink_from_cache(file: Path) -> None:
    """Gives `file` bytes of its own: as installed it may be one and the same as the package cache's."""
    own = file.with_name(file.name + ".own")
    shutil.copyfile(file, own)
    own.replace(file)
