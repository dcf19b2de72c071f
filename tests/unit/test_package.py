"""The build, on a project of two functions and one small wheel per layer."""

from __future__ import annotations

import json
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from local.package import Manifest, PackagingError, build
from local.package.functions import find_sources
from local.package.layers import LEFT_OUT, is_unneeded, read_requirements

ROOT = Path(__file__).parents[2]

SOURCES = {
    "functions/__init__.py": "",
    "functions/auth/__init__.py": "",
    "functions/auth/handler.py": "from shared import tokens\nfrom functions.auth import grants\n",
    "functions/auth/grants.py": "def grant():\n    from shared.errors import Refused\n",
    "functions/worker/__init__.py": "",
    "functions/worker/handler.py": (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from shared.tokens import Token\nelse:\n    from . import jobs\n"
    ),
    "functions/worker/jobs.py": "import shared.store\n",
    "functions/notes/readme.txt": "no handler, no function",
    "shared/__init__.py": "",
    "shared/errors.py": "class Refused(Exception): ...\n",
    "shared/models.py": "WORDS = {'a', 'b', 'c'} & {'b'}\n",
    "shared/store.py": "from shared.models import WORDS\n",
    "shared/tokens.py": "import json\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for name, text in SOURCES.items():
        write(root / name, text)
    entries = dict(read_requirements(ROOT / "requirements" / "worker.txt"))
    write(root / "requirements" / "api.txt", entries["annotated-types"] + entries["requests"])
    write(root / "requirements" / "worker.txt", entries["murmurhash"])
    return root


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return pipeline(tmp_path / "model")


def pipeline(folder: Path, **meta: str) -> Path:
    write(folder / "config.cfg", "[nlp]\nlang = en\n")
    write(folder / "meta.json", json.dumps({"lang": "en", "name": "tiny", "version": "1.2.0", **meta}))
    write(folder / "vocab" / "strings.json", "[]")
    return folder


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def make(project: Path, output: Path, model: Path) -> tuple[Manifest, list[str]]:
    """Return the manifest and the names of the files that were made for it."""
    lines: list[str] = []
    manifest = build(target="local", output=output, model=str(model), root=project, report=lines.append)
    return manifest, [line.split(":")[0] for line in lines if not line.startswith(" ")]


def test_manifest_describes_the_files(project: Path, model: Path, tmp_path: Path) -> None:
    manifest, _ = make(project, tmp_path / "build", model)
    assert json.loads((tmp_path / "build" / "manifest.json").read_text()) == manifest.model_dump()
    assert (set(manifest.functions), set(manifest.layers)) == ({"auth", "worker"}, {"api", "worker"})
    for entry in (*manifest.functions.values(), *manifest.layers.values(), manifest.model):
        assert (tmp_path / "build" / entry.file).stat().st_size == entry.size


def test_same_sources_give_the_same_bytes(project: Path, model: Path, tmp_path: Path) -> None:
    first, _ = make(project, tmp_path / "one", model)
    elsewhere = project.rename(tmp_path / "elsewhere")
    for path in elsewhere.rglob("*"):
        os.utime(path, (1, 1))
    second, _ = make(elsewhere, tmp_path / "deeper" / "two", model)
    assert first == second


def test_a_second_build_makes_nothing(project: Path, model: Path, tmp_path: Path) -> None:
    first, made = make(project, tmp_path, model)
    assert made == ["model", "auth", "worker", "layer-api", "layer-worker"]
    assert make(project, tmp_path, model) == (first, [])


@pytest.mark.parametrize(
    ("changed", "made"),
    [
        ("shared/errors.py", ["auth"]),
        ("shared/models.py", ["worker"]),
        ("functions/worker/jobs.py", ["worker"]),
        ("requirements/api.txt", ["layer-api"]),
        ("functions/notes/readme.txt", []),
    ],
)
def test_only_files_with_changed_inputs_are_made_again(
    project: Path, model: Path, tmp_path: Path, changed: str, made: list[str]
) -> None:
    make(project, tmp_path, model)
    with (project / changed).open("a") as file:
        file.write("# changed\n")
    assert make(project, tmp_path, model)[1] == made


def test_missing_or_incomplete_file_is_made_again(project: Path, model: Path, tmp_path: Path) -> None:
    make(project, tmp_path, model)
    (tmp_path / "auth.zip").unlink()
    (tmp_path / "worker.zip").write_bytes(b"PK")
    assert make(project, tmp_path, model)[1] == ["auth", "worker"]


def test_files_of_an_earlier_build_are_removed_and_other_files_stay(project: Path, model: Path, tmp_path: Path) -> None:
    output = tmp_path / "build"
    make(project, output, model)
    write(output / "notes.txt", "mine")
    make(project, output, pipeline(tmp_path / "next", version="2.0.0"))
    assert sorted(path.name for path in output.glob("*.t*")) == ["en_tiny-2.0.0.tar", "notes.txt"]


def test_leftovers_of_a_killed_build_are_removed(project: Path, model: Path, tmp_path: Path) -> None:
    output = tmp_path / "build"
    write(output / ".work-1" / "half.zip", "PK")
    make(project, output, model)
    assert not list(output.glob(".work-*"))


def test_function_holds_the_modules_that_it_imports_at_run_time(project: Path) -> None:
    """Imports inside of functions and through other modules count. Imports for type checkers do not."""
    assert [path.as_posix() for path in find_sources(project, "worker")] == [
        "functions/__init__.py",
        "functions/worker/__init__.py",
        "functions/worker/handler.py",
        "functions/worker/jobs.py",
        "shared/__init__.py",
        "shared/models.py",
        "shared/store.py",
    ]
    assert "shared/errors.py" in [path.as_posix() for path in find_sources(project, "auth")]


def test_zips_hold_bytecode_that_python_does_not_check(project: Path, model: Path, tmp_path: Path) -> None:
    make(project, tmp_path, model)
    with zipfile.ZipFile(tmp_path / "worker.zip") as archive:
        compiled = [name for name in archive.namelist() if name.endswith(".pyc")]
        assert len(compiled) == len([name for name in archive.namelist() if name.endswith(".py")])
        content = archive.read(next(name for name in compiled if "jobs" in name))
    assert content[4:8] == b"\x01\x00\x00\x00"  # PEP 552: by hash, unchecked
    assert b"/var/task/functions/worker/jobs.py" in content
    assert str(project).encode() not in content


def test_layer_leaves_out_files_that_no_function_needs(project: Path, model: Path, tmp_path: Path) -> None:
    make(project, tmp_path, model)
    with zipfile.ZipFile(tmp_path / "layer-api.zip") as archive:
        assert {name.split("/")[1] for name in archive.namelist()} == {
            "annotated_types",
            "annotated_types-0.8.0.dist-info",
        }
    with zipfile.ZipFile(tmp_path / "layer-worker.zip") as archive:
        names = archive.namelist()
    assert any(name.endswith(".so") for name in names)
    assert not [name for name in names if name.endswith((".pyx", ".h", "RECORD")) or "/tests/" in name]


@pytest.mark.parametrize("name", sorted(LEFT_OUT))
def test_every_package_that_is_left_out_is_in_the_workers_requirements(name: str) -> None:
    """A name that is no longer in the requirements would mislead the reader."""
    assert name in dict(read_requirements(ROOT / "requirements" / "worker.txt"))


@pytest.mark.parametrize(
    ("path", "unneeded"),
    [
        ("numpy/_core/tests", True),
        ("spacy/vocab.pyx", True),
        ("spacy-3.8.0.dist-info/RECORD", True),
        ("bin", True),
        ("spacy-3.8.0.dist-info", False),
        ("spacy-3.8.0.dist-info/entry_points.txt", False),
        ("numpy/testing", False),
        ("thinc/backends/_custom_kernels.cu", False),
    ],
)
def test_unneeded_files_are_recognised(path: str, unneeded: bool) -> None:
    assert is_unneeded(Path(path)) is unneeded


def test_error_about_a_too_large_function_names_its_largest_packages(
    project: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.package.assemble.UNZIPPED_LIMIT", 10_000)
    with pytest.raises(PackagingError, match=r"auth and its layer are .* largest: annotated_types 0\.\d MB"):
        make(project, tmp_path, model)


def test_source_that_does_not_compile_is_an_error(project: Path, model: Path, tmp_path: Path) -> None:
    write(project / "shared" / "models.py", "return\n")
    with pytest.raises(PackagingError, match=r"shared/models\.py"):
        make(project, tmp_path, model)


@pytest.mark.parametrize("runtime", ["nodejs22.x", "python3.x", "3.13"])
def test_runtime_must_be_a_python(project: Path, tmp_path: Path, runtime: str) -> None:
    with pytest.raises(PackagingError, match="runtime"):
        build(target="aws", output=tmp_path, runtime=runtime, root=project)


def test_wheel_that_cannot_be_installed_is_an_error(project: Path, model: Path, tmp_path: Path) -> None:
    write(project / "requirements" / "api.txt", "annotated-types==0.8.0 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(PackagingError, match=r"Cannot install api\.txt"):
        make(project, tmp_path, model)


def test_model_artifact_is_the_pipelines_folder(project: Path, model: Path, tmp_path: Path) -> None:
    manifest, _ = make(project, tmp_path, model)
    assert (manifest.model.name, manifest.model.version, manifest.model.file) == (
        "en_tiny",
        "1.2.0",
        "en_tiny-1.2.0.tar",
    )
    with tarfile.open(tmp_path / "en_tiny-1.2.0.tar", "r:") as tar:
        assert tar.getnames() == ["config.cfg", "meta.json", "vocab/strings.json"]
        assert {(member.mtime, member.uid, member.uname, member.mode) for member in tar} == {(0, 0, "", 0o644)}


def test_model_comes_from_a_package_folder_a_wheel_or_a_tar(project: Path, tmp_path: Path) -> None:
    """All of them hold the same pipeline, so all give the same artifact."""
    package = tmp_path / "en_tiny"
    folder = pipeline(package / "en_tiny-1.2.0")
    write(package / "meta.json", "{}")
    wheel, sdist = tmp_path / "en_tiny.whl", tmp_path / "en_tiny.tar.gz"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in package.rglob("*"):
            archive.write(path, path.relative_to(tmp_path))
    with tarfile.open(sdist, "w:gz") as archive:
        archive.add(package, "en_tiny-1.2.0/en_tiny")
    digests = {make(project, tmp_path / "build", path)[0].model.sha256 for path in (folder, package, wheel, sdist)}
    assert len(digests) == 1


@pytest.mark.parametrize(
    "meta", [{"name": "../evil"}, {"version": "1/2"}, {"version": ".."}, {"lang": ""}, {"name": "a b"}]
)
def test_model_cannot_choose_where_its_file_goes(project: Path, tmp_path: Path, meta: dict[str, str]) -> None:
    with pytest.raises(PackagingError, match="cannot be part of a file's name"):
        make(project, tmp_path / "build", pipeline(tmp_path / "model", **meta))


def test_link_in_a_model_is_refused(project: Path, model: Path, tmp_path: Path) -> None:
    (model / "vocab" / "key").symlink_to("/etc/hostname")
    with pytest.raises(PackagingError, match="link"):
        make(project, tmp_path / "build", model)


def test_archive_cannot_write_outside_itself(project: Path, tmp_path: Path) -> None:
    wheel = tmp_path / "evil.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("../../evil", "")
    with pytest.raises(PackagingError, match="outside itself"):
        make(project, tmp_path / "build", wheel)


@pytest.mark.parametrize("meta", ["", "[]", "{}", '{"lang": "en", "name": "tiny"}', "\ud800"])
def test_invalid_meta_of_a_pipeline_is_an_error(project: Path, model: Path, tmp_path: Path, meta: str) -> None:
    (model / "meta.json").write_bytes(meta.encode("utf-8", "surrogatepass"))
    with pytest.raises(PackagingError, match=r"meta\.json"):
        make(project, tmp_path / "build", model)


def test_source_without_exactly_one_pipeline_is_an_error(project: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("hello")
    two = pipeline(tmp_path / "two" / "one").parent
    pipeline(two / "other")
    for source, reason in [
        (project, "no spaCy pipeline"),
        (two, "more than one spaCy pipeline"),
        (text, "neither a folder nor a wheel nor a tar"),
        (tmp_path / "nowhere", "no file or folder"),
    ]:
        with pytest.raises(PackagingError, match=reason):
            make(project, tmp_path / "build", source)
