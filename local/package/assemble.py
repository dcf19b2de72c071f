"""The build: what each file of a build directory is made from, and how."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from local.package.archive import sha256_of
from local.package.functions import function_names, function_sources, layer_of, make_function
from local.package.layers import LAYERS, Report, make_layer
from local.package.manifest import MEGABYTE, Artifact, Manifest, ModelArtifact, PackagingError
from local.package.model import make_model, model_source
from local.package.platform import Platform, Target, platform_of
from local.package.shelf import Shelf, alone, write

ROOT = Path(__file__).parents[2]
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
    """Brings a build directory up to date and returns its manifest, also written to `manifest.json` there.

    Args:
        target: `aws`, or `local` for the local cloud, where runtime and architecture are always this machine's.
        output: the build directory; made if missing.
        model: path of a pipeline's folder, wheel or tar; by default the installed small English one.
        runtime: as AWS Lambda names it.
        architecture: x86_64 or arm64.
        report: gets a line for each file that is made.
        root: the folder of the project.

    Raises:
        PackagingError: the message says what is wrong and, for too large a function, what is largest.
    """
    platform = platform_of(target, runtime=runtime, architecture=architecture)
    output = output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    with alone(output):
        shelf = Shelf(output, report=report)
        artifact = _model(shelf, model)  # first, because it is the one thing that the caller may have got wrong
        manifest = Manifest(
            runtime=platform.runtime,
            architecture=platform.architecture,
            functions={name: _function(shelf, name, root=root, platform=platform) for name in function_names(root)},
            layers={name: _layer(shelf, name, root=root, platform=platform, report=report) for name in LAYERS},
            model=artifact,
        )
        _refuse_too_large(manifest, output)
        shelf.close()
        write(output / "manifest.json", manifest.model_dump_json(indent=2) + "\n")
    return manifest


def _function(shelf: Shelf, name: str, *, root: Path, platform: Platform) -> Artifact:
    sources = function_sources(root, name)
    key = _key(repr(platform), platform.interpreter, *_contents(root, sources), _packaging())
    make = partial(_make_function, root, sources, f"{name}.zip", platform=platform)
    return shelf.take(name, key=key, kind=Artifact, make=make)


def _make_function(root: Path, sources: list[Path], name: str, work: Path, *, platform: Platform) -> Artifact:
    (work / "code").mkdir()
    return make_function(root, sources, work / name, work=work / "code", platform=platform)


def _layer(shelf: Shelf, name: str, *, root: Path, platform: Platform, report: Report) -> Artifact:
    requirements = root / "requirements" / f"{name}.txt"
    key = _key(repr(platform), platform.interpreter, platform.strip, requirements.read_text(), _packaging())

    def make(work: Path) -> Artifact:
        return make_layer(requirements, work / f"layer-{name}.zip", work=work, platform=platform, report=report)

    return shelf.take(f"layer-{name}", key=key, kind=Artifact, make=make)


def _model(shelf: Shelf, model: str | None) -> ModelArtifact:
    source = model_source(model)
    paths = sorted(source.rglob("*")) if source.is_dir() else [source]
    stats = [(str(path), path.lstat()) for path in paths if "__pycache__" not in path.parts]
    key = _key(*(f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats), _packaging())
    return shelf.take("model", key=key, kind=ModelArtifact, make=lambda work: make_model(source, work, work=work))


def _refuse_too_large(manifest: Manifest, output: Path) -> None:
    for name, function in manifest.functions.items():
        layer = manifest.layers[layer_of(name)]
        if (total := function.unzipped + layer.unzipped) > UNZIPPED_LIMIT:
            raise PackagingError(
                f"{name} and its layer are {total / MEGABYTE:.0f} MB unzipped, "
                f"AWS Lambda takes {UNZIPPED_LIMIT // MEGABYTE}; largest: {', '.join(_largest(output / layer.file))}"
            )


def _largest(layer: Path) -> list[str]:
    sizes: Counter[str] = Counter()
    with zipfile.ZipFile(layer) as archive:
        for entry in archive.infolist():
            sizes[entry.filename.split("/")[1]] += entry.file_size
    return [f"{package} {size / MEGABYTE:.1f} MB" for package, size in sizes.most_common(5)]


def _contents(root: Path, sources: list[Path]) -> Iterator[str]:
    for path in sources:
        yield from (path.as_posix(), (root / path).read_text(encoding="utf-8"))


def _packaging() -> str:
    """This package's own code is an input of all it makes."""
    return "".join(sha256_of(path) for path in sorted(Path(__file__).parent.glob("*.py")))


def _key(*inputs: str | None) -> str:
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()
