"""`python -m local.package`: build the files that Terraform uploads."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from local.package.assemble import build
from local.package.functions import get_layer_name
from local.package.manifest import MEGABYTE, Manifest, PackagingError


def main() -> int:
    """Run the command line. Return 0, or 1 if the build failed."""
    options = _parser().parse_args()
    output = options.output or Path(".samovar") / "build" / options.target
    began = time.monotonic()
    try:
        manifest = build(
            target=options.target,
            output=output,
            model=options.model or None,
            runtime=options.runtime,
            architecture=options.architecture,
        )
    except PackagingError as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    print(f"{output}: {_summarise(manifest)}, {time.monotonic() - began:.1f} s")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.package", description=__doc__)
    parser.add_argument(
        "--target",
        choices=["aws", "local"],
        default="aws",
        help="platform that will run the code (default: %(default)s)",
    )
    parser.add_argument("--runtime", default="python3.13", help="Lambda runtime on AWS (default: %(default)s)")
    parser.add_argument(
        "--architecture",
        choices=["x86_64", "arm64"],
        default="x86_64",
        help="architecture on AWS (default: %(default)s)",
    )
    parser.add_argument("--model", help="folder, wheel or tar of a spaCy pipeline (default: the small English one)")
    parser.add_argument("--output", type=Path, help="build folder (default: .samovar/build/<target>)")
    return parser


def _summarise(manifest: Manifest) -> str:
    sizes = (
        f"{name} {(function.unzipped + manifest.layers[get_layer_name(name)].unzipped) / MEGABYTE:.1f} MB unzipped"
        for name, function in manifest.functions.items()
    )
    return f"{manifest.runtime} {manifest.architecture}, {', '.join(sizes)}"


if __name__ == "__main__":
    sys.exit(main())
