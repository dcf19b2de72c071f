"""Packages what Terraform uploads: a zip per function, a zip per layer and the model artifact, with their manifest.

`python -m local.package` for AWS or for the local cloud; `build` is the same as a function.
The same sources on the same machine give the same files, byte for byte, and only what changed is built again.
"""

from local.package.assemble import build
from local.package.manifest import Artifact, Manifest, ModelArtifact, PackagingError

__all__ = ["Artifact", "Manifest", "ModelArtifact", "PackagingError", "build"]
