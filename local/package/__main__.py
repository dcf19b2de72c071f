"""`python -m local.package`: builds what Terraform uploads."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from local.package.assemble import build
from local.package.functions import layer_of
from local.package.manifest import MEGABYTE, Manifest, PackagingError


def main() -> int:
    """Builds as the command line says; 1 if it cannot."""
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
        print(f"package: {error}", file=sys.stderr)
        return 1
    print(f"{output}: {_summary(manifest)}, {time.monotonic() - began:.1f} s")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.package", description=__doc__)
    parser.add_argument("--target", choices=["aws", "local"], default="aws", help="whose Lambda it is for")
    parser.add_argument("--runtime", default="python3.13", help="Lambda runtime on AWS (default: %(default)s)")
    parser.add_argument("--architecture", choices=["x86_64", "arm64"], default="x86_64", help="the same for AWS")
    parser.add_argument("--model", help="folder, wheel or tar of a spaCy pipeline (default: the small English one)")
    parser.add_argument("--output", type=Path, help="build directory (default: .samovar/build/<target>)")
    return parser


def _summary(manifest: Manifest) -> str:
    sizes = (
        f"{name} {(function.unzipped + manifest.layers[layer_of(name)].unzipped) / MEGABYTE:.1f} MB unzipped"
        for name, function in manifest.functions.items()
    )
    return f"{manifest.runtime} {manifest.architecture}, {', '.join(sizes)}"


if __name__ == "__main__":
    sys.exit(main())
