"""Terraform on this machine: is it there, where are its providers, and a working directory for the local cloud.

`python -m local.terraform fmt-check | validate | test` are the checks of `make lint` and of the tests.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "terraform"
SCRATCH = ROOT / ".samovar" / "check" / "terraform"
OLDEST = (1, 11)

_INSTALL = """\
Samovar needs Terraform {oldest} or later on the PATH; {found}.
  Debian, Ubuntu   the packages that HashiCorp publishes: https://developer.hashicorp.com/terraform/install
  macOS            brew install hashicorp/tap/terraform
  anything else    unpack the one binary from that page into a directory on the PATH"""
_PROVIDER = "*/hashicorp/aws/*/*/terraform-provider-aws*"
# Where a machine without a registry may hold providers, besides Terraform's implied mirror directories.
_LAST_RESORTS = ("/opt", "/usr/local", "/usr/share", "/srv")
_SEARCH_DEPTH = 4


class TerraformMissing(RuntimeError):
    """There is no usable Terraform; the message says what to install and how."""


@cache
def require_terraform() -> str:
    """The path of Terraform.

    Raises:
        TerraformMissing: when there is none, or it is too old.
    """
    oldest = ".".join(map(str, OLDEST))
    path = shutil.which("terraform")
    if path is None:
        raise TerraformMissing(_INSTALL.format(oldest=oldest, found="there is none"))
    asked = subprocess.run([path, "version", "-json"], capture_output=True, check=True, env=environment())
    version = json.loads(asked.stdout)["terraform_version"]
    if tuple(int(number) for number in version.split(".")[:2]) < OLDEST:
        raise TerraformMissing(_INSTALL.format(oldest=oldest, found=f"{path} is {version}"))
    return path


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment for running Terraform without questions, calls home or a missing configuration."""
    own = {**os.environ, "TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1", **(extra or {})}
    configuration = own.get("TF_CLI_CONFIG_FILE")
    if configuration is not None and not Path(configuration).is_file():
        empty = ROOT / ".samovar" / "terraformrc"
        empty.parent.mkdir(exist_ok=True)
        empty.touch()
        own["TF_CLI_CONFIG_FILE"] = str(empty)
    return own


@cache
def find_plugin_dir() -> Path | None:
    """A filesystem mirror that holds the AWS provider, None when the registry must be asked.

    Looks at `$TF_PLUGIN_MIRROR`, at Terraform's implied mirror directories and, last, a few levels below some others.
    """
    for mirror in _mirrors():
        if next(mirror.glob(_PROVIDER), None):
            return mirror
    return None


def _mirrors() -> Iterator[Path]:
    named = os.environ.get("TF_PLUGIN_MIRROR")
    if named:
        yield Path(named)
    home, data = Path.home(), os.environ.get("XDG_DATA_HOME")
    yield home / ".terraform.d" / "plugins"
    yield Path(data) / "terraform" / "plugins" if data else home / ".local" / "share" / "terraform" / "plugins"
    yield Path("/usr/local/share/terraform/plugins")
    yield Path("/usr/share/terraform/plugins")
    for place in _LAST_RESORTS:
        for depth in range(_SEARCH_DEPTH):
            found = next(Path(place).glob("/".join(["*"] * depth + [_PROVIDER])), None)
            if found:
                yield found.parents[5]  # host, hashicorp, aws, version, platform, file


def prepare(folder: Path, *, source: Path = SOURCE) -> Path:
    """Copy the project's Terraform to `folder`/terraform, with its state beside it instead of in S3.

    What a former copy has besides sources, such as providers and state, stays.
    """
    working = folder / "terraform"
    working.mkdir(parents=True, exist_ok=True)
    for path in [*working.rglob("*.tf"), *working.rglob("*.tftest.hcl")]:
        if ".terraform" not in path.parts:
            path.unlink()
    shutil.copytree(source, working, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    (working / "backend_override.tf").write_text('terraform {\n  backend "local" {}\n}\n', encoding="utf-8")
    return working


def init(working: Path) -> None:
    """`terraform init`, unless nothing that it depends on has changed.

    Raises:
        TerraformMissing: when there is no Terraform, or no provider.
    """
    done, mark = working / ".terraform" / "initialised", _initialised_by(working)
    if done.is_file() and done.read_text(encoding="utf-8") == mark:
        return
    mirror = find_plugin_dir()
    command = [require_terraform(), "init", "-no-color", *([f"-plugin-dir={mirror}"] if mirror else [])]
    ran = subprocess.run(command, cwd=working, env=environment(), capture_output=True, text=True, check=False)
    if ran.returncode:
        raise TerraformMissing(f"terraform init failed:\n{ran.stderr.strip()}")
    done.write_text(mark, encoding="utf-8")


def _initialised_by(working: Path) -> str:
    """A mark of what `terraform init` reads: versions, backend, and which modules there are."""
    mark = hashlib.sha256(str(find_plugin_dir()).encode())
    for name in ("versions.tf", "backend.tf", "backend_override.tf"):
        mark.update((working / name).read_bytes())
    lines = [line for path in sorted(working.glob("*.tf")) for line in path.read_text(encoding="utf-8").splitlines()]
    calls = [line for line in lines if line.lstrip().startswith("source")]
    mark.update("".join(calls).encode())
    return mark.hexdigest()


def check(command: str) -> int:
    """Run `fmt-check`, `validate` or `test` over a scratch copy; Terraform's exit status."""
    if command == "fmt-check":
        return _run(["fmt", "-check", "-diff", "-recursive"], SOURCE)
    working = prepare(SCRATCH.parent)
    init(working)
    return _run([command], working)


def _run(arguments: list[str], folder: Path) -> int:
    return subprocess.run([require_terraform(), *arguments], cwd=folder, env=environment(), check=False).returncode


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m local.terraform", description=__doc__)
    parser.add_argument("command", choices=["fmt-check", "validate", "test"])
    try:
        return check(parser.parse_args().command)
    except TerraformMissing as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
