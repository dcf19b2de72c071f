"""The manifest of a build, `manifest.json`. Terraform reads it instead of the zips."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from local.errors import CommandError

MEGABYTE = 1 << 20  # bytes, as AWS Lambda counts them


class PackagingError(CommandError):
    """A build that failed. The message says why and names the file, package or option to change."""


class Entry(BaseModel):
    """A file of the build folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str  # its name in the folder
    sha256: str  # hexadecimal
    size: int  # bytes


class Artifact(Entry):
    """The zip of a function or of a layer."""

    unzipped: int  # bytes


class ModelArtifact(Entry):
    """The tar of a spaCy pipeline. Its name and version come from the pipeline's `meta.json`."""

    name: str
    version: str


class Manifest(BaseModel):
    """All files of a build folder that Terraform uploads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runtime: str  # as AWS Lambda names it: python3.13
    architecture: str  # x86_64 or arm64
    functions: dict[str, Artifact]
    layers: dict[str, Artifact]
    model: ModelArtifact
