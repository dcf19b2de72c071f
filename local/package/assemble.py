"""The build itself: the inputs of each file of a build folder, and the function that makes it."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from local.package.archive import compute_sha256
from local.package.build_cache import BuildCache, lock, write_atomically
from local.package.functions import find_sources, get_layer_name, list_functions, make_function
from local.package.layers import LAYERS, Report, make_layer
from local.package.manifest import MEGABYTE, Artifact, Manifest, ModelArtifact, PackagingError
from local.package.model import find_model_source, make_model
from local.package.platform import Platform, Target, choose_platform
from local.paths import ROOT

UNZIPPED_LIMIT = 250 * MEGABYTE  # of a function and its layers


def build(
    *,
    target: Target,
    output: Path,
    model: str | None = None,
    runtime: str = "python3.13",
    architecture: str = "x86_64",
    report: Report = print,
    root: Path = ROOT,
) -> Manifest:
    """Bring a build folder up to date. Return its manifest, which is also written to `manifest.json` there.

    Args:
        target: `aws` or `local`. For `local`, the runtime and the architecture are always those of this machine.
        output: the build folder; made if missing.
        model: the path of a pipeline's folder, wheel or tar; by default the installed small English pipeline.
        runtime: the name of a runtime of AWS Lambda, such as `python3.13`.
        architecture: `x86_64` or `arm64`.
        report: gets a line for each file that is made, and indented lines for steps of making it.
        root: the folder of the project.

    Raises:
        PackagingError: If a file cannot be built, or a function is too large.
    """
    platform = choose_platform(target, runtime=runtime, architecture=architecture)
    output = output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    with lock(output, report=report):
        cache = BuildCache(output, report=report)
        manifest = _build(cache, platform, model=model, report=report, root=root)
        _refuse_too_large(manifest, output)
        cache.close()
        write_atomically(output / "manifest.json", manifest.model_dump_json(indent=2) + "\n")
    return manifest


def _build(cache: BuildCache, platform: Platform, *, model: str | None, report: Report, root: Path) -> Manifest:
    artifact = _get_model(cache, model, report=report)  # first, because a wrong `model` should fail at once
    return Manifest(
        runtime=platform.runtime,
        architecture=platform.architecture,
        functions={name: _get_function(cache, name, root=root, platform=platform) for name in list_functions(root)},
        layers={name: _get_layer(cache, name, root=root, platform=platform, report=report) for name in LAYERS},
        model=artifact,
    )


def _get_function(cache: BuildCache, name: str, *, root: Path, platform: Platform) -> Artifact:
    sources = find_sources(root, name)
    key = _compute_key(repr(platform), platform.interpreter, *_read_sources(root, sources), _compute_own_digest())
    make = partial(_make_function, root, sources, f"{name}.zip", platform=platform)
    return cache.get_or_make(name, key=key, kind=Artifact, make=make)


def _make_function(root: Path, sources: list[Path], name: str, work: Path, *, platform: Platform) -> Artifact:
    (work / "code").mkdir()
    return make_function(root, sources, work / name, work=work / "code", platform=platform)


def _get_layer(cache: BuildCache, name: str, *, root: Path, platform: Platform, report: Report) -> Artifact:
    requirements = root / "requirements" / f"{name}.txt"
    tools = (platform.interpreter, platform.strip)
    key = _compute_key(repr(platform), *tools, requirements.read_text(), _compute_own_digest())

    def make(work: Path) -> Artifact:
        return make_layer(requirements, work / f"layer-{name}.zip", work=work, platform=platform, report=report)

    return cache.get_or_make(f"layer-{name}", key=key, kind=Artifact, make=make)


def _get_model(cache: BuildCache, model: str | None, *, report: Report) -> ModelArtifact:
    source = find_model_source(model)
    paths = sorted(source.rglob("*")) if source.is_dir() else [source]
    stats = [(str(path), path.lstat()) for path in paths if "__pycache__" not in path.parts]
    key = _compute_key(*(f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats), _compute_own_digest())

    def make(work: Path) -> ModelArtifact:
        report("  model: packing")
        return make_model(source, work, work=work)

    return cache.get_or_make("model", key=key, kind=ModelArtifact, make=make)


def _refuse_too_large(manifest: Manifest, output: Path) -> None:
    for name, function in manifest.functions.items():
        layer = manifest.layers[get_layer_name(name)]
        if (total := function.unzipped + layer.unzipped) > UNZIPPED_LIMIT:
            raise PackagingError(
                f"{name} and its layer are {total / MEGABYTE:.0f} MB unzipped, "
                f"but AWS Lambda takes {UNZIPPED_LIMIT // MEGABYTE} MB. Remove or replace a package. "
                f"The largest: {', '.join(_list_largest(output / layer.file))}"
            )


def _list_largest(layer: Path) -> list[str]:
    sizes: Counter[str] = Counter()
    with zipfile.ZipFile(layer) as archive:
        for entry in archive.infolist():
            sizes[entry.filename.split("/")[1]] += entry.file_size
    return [f"{package} {size / MEGABYTE:.1f} MB" for package, size in sizes.most_common(5)]


def _read_sources(root: Path, sources: list[Path]) -> Iterator[str]:
    for path in sources:
        yield from (path.as_posix(), (root / path).read_text(encoding="utf-8"))


def _compute_own_digest() -> str:
    """Return the digests of this package's own code, which is an input of every file."""
    return "".join(compute_sha256(path) for path in sorted(Path(__file__).parent.glob("*.py")))


def _compute_key(*inputs: str | None) -> str:
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()
