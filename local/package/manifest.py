"""What a build says about itself: `manifest.json`, which Terraform reads instead of the zips."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

MEGABYTE = 1 << 20  # bytes, as AWS Lambda counts them


class PackagingError(Exception):
    """The build cannot go on; the message says why in the developer's words."""


class Entry(BaseModel):
    """A file of the build directory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str  # its name there
    sha256: str  # hexadecimal
    size: int  # bytes


class Artifact(Entry):
    """A zip: of a function or of a layer."""

    unzipped: int  # bytes


class ModelArtifact(Entry):
    """The tar of a spaCy pipeline; name and version are those of its meta.json."""

    name: str
    version: str


class Manifest(BaseModel):
    """Everything in a build directory that Terraform uploads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runtime: str  # as AWS Lambda names it: python3.13
    architecture: str  # x86_64 or arm64
    functions: dict[str, Artifact]
    layers: dict[str, Artifact]
    model: ModelArtifact
