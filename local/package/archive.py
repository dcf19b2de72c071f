"""Archives that depend only on their content, not on times, on owners or on the order of the file system."""

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

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold
FILE_MODE = 0o100644
CHUNK = 1 << 20


def list_files(folder: Path) -> list[Path]:
    """Return all files below a folder, in an order that is the same on every machine.

    Raises:
        PackagingError: If the folder holds anything but files and folders, such as a link.
    """
    entries = sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).parts)
    for path in entries:
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise PackagingError(
                f"{path} is a link or a special file. Replace it by a plain file: only plain files can be packaged"
            )
    return [path for path in entries if path.is_file()]


def write_zip(tree: Path, file: Path, *, level: int) -> Artifact:
    """Zip all files below `tree` into `file`. `level` is the zlib level; 0 stores without compressing."""
    method = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
    unzipped = 0
    with zipfile.ZipFile(file, "w") as archive:
        for path in list_files(tree):
            entry = zipfile.ZipInfo(path.relative_to(tree).as_posix(), EPOCH)
            entry.create_system = 3  # Unix, so that the mode below counts
            entry.external_attr = FILE_MODE << 16
            content = path.read_bytes()
            unzipped += len(content)
            archive.writestr(entry, content, compress_type=method, compresslevel=level or None)
    return Artifact(file=file.name, sha256=compute_sha256(file), size=file.stat().st_size, unzipped=unzipped)


def write_tar(folder: Path, file: Path) -> None:
    """Write the files below `folder` to an uncompressed tar without owners and times."""
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in list_files(folder):
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size = path.stat().st_size
            entry.mode = FILE_MODE & 0o777
            with path.open("rb") as content:
                archive.addfile(entry, content)


def compute_sha256(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def compile_bytecode(tree: Path, *, installed_at: str, platform: Platform) -> bool:
    """Write `.pyc` files beside all sources below `tree`. Return False if this machine has no Python of the runtime.

    The files hold the hash of their source, and Python does not check them. Times do not matter, because a zip does not
    keep them. The files name their sources by paths below `installed_at`, so nothing in them depends on this machine.

    Raises:
        PackagingError: If a source does not compile.
    """
    if platform.interpreter is None:
        return False
    sources = [path for path in list_files(tree) if path.suffix == ".py"]
    # Each process gets a fixed share of the files, because the files that a process has compiled before influence the
    # bytecode of the next one.
    shares = [share for share in (sources[0::2], sources[1::2]) if share]
    compilers = [_start_compiler(platform.interpreter, share, tree=tree, installed_at=installed_at) for share in shares]
    outputs = [compiler.communicate()[0] for compiler in compilers]
    if any(compiler.returncode for compiler in compilers):
        raise PackagingError(f"Some sources do not compile for {platform.runtime}:\n{''.join(outputs)}")
    return True


def _start_compiler(interpreter: str, share: list[Path], *, tree: Path, installed_at: str) -> subprocess.Popen[str]:
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
            env={"PYTHONHASHSEED": "0"},  # otherwise the order of constants in a set would change every time
        )


def strip_libraries(tree: Path, *, platform: Platform) -> bool:
    """Remove the symbols that running code does not need from libraries. Return False if there is no `strip` for them.

    Libraries below `*.libs`, which wheels bring along, are left alone, because stripping breaks OpenBLAS.
    """
    libraries = [path for path in list_files(tree) if path.suffix == ".so" and not _is_vendored(path)]
    if platform.strip is None or not libraries:
        return not libraries
    for library in libraries:
        _copy_out_of_cache(library)
    done = subprocess.run(
        [platform.strip, "--strip-unneeded", *map(str, libraries)], capture_output=True, text=True, check=False
    )
    return done.returncode == 0


def _is_vendored(path: Path) -> bool:
    return any(part.endswith(".libs") for part in path.parts)


def _copy_out_of_cache(file: Path) -> None:
    """Replace `file` by a copy, because the installed file may be a hard link to the file in the package cache."""
    own = file.with_name(file.name + ".own")
    shutil.copyfile(file, own)
    own.replace(file)
