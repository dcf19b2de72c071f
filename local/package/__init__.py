"""The build: a zip per function, a zip per layer, the model artifact, and the manifest that Terraform reads.

`python -m local.package` builds from the command line, and `build` from Python, for AWS or for the local cloud.
The same sources on the same machine give the same files, byte for byte. A file is built only if its inputs changed.
"""

from local.package.assemble import build
from local.package.manifest import Artifact, Manifest, ModelArtifact, PackagingError

__all__ = ["Artifact", "Manifest", "ModelArtifact", "PackagingError", "build"]
