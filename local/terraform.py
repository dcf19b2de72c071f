"""Terraform on this machine: find it and its AWS provider, and make working folders.

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

from local.errors import CommandError
from local.paths import GENERATED, ROOT

SOURCE = ROOT / "terraform"
SCRATCH = GENERATED / "check" / "terraform"
OLDEST = (1, 11)

_INSTALL = """\
Samovar needs Terraform {oldest} or later on the PATH; {found}. Install it:
  Debian, Ubuntu   the packages that HashiCorp publishes: https://developer.hashicorp.com/terraform/install
  macOS            brew install hashicorp/tap/terraform
  any other        put the one binary from that page into a folder on the PATH"""
_NO_PROVIDER = """\
`terraform init` failed. Terraform needs its AWS provider, from its registry or from a folder of this machine (a
filesystem mirror). If the registry cannot be reached, set TF_PLUGIN_MIRROR to such a folder. Terraform says:
{reason}"""
_PROVIDER = "*/hashicorp/aws/*/*/terraform-provider-aws*"
# A machine without a registry may hold providers here, besides in Terraform's implied mirror folders.
_OTHER_FOLDERS = ("/opt", "/usr/local", "/usr/share", "/srv")
_SEARCH_DEPTH = 4


class TerraformMissing(CommandError):
    """Terraform or its AWS provider is missing or too old. The message explains how to install it."""


@cache
def require_terraform() -> str:
    """Return the path of Terraform.

    Raises:
        TerraformMissing: If there is no Terraform, or it is too old.
    """
    oldest = ".".join(map(str, OLDEST))
    path = shutil.which("terraform")
    if path is None:
        raise TerraformMissing(_INSTALL.format(oldest=oldest, found="there is none"))
    answer = subprocess.run([path, "version", "-json"], capture_output=True, check=True, env=build_environment())
    version = json.loads(answer.stdout)["terraform_version"]
    if tuple(int(number) for number in version.split(".")[:2]) < OLDEST:
        raise TerraformMissing(_INSTALL.format(oldest=oldest, found=f"{path} is {version}"))
    return path


def build_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment, changed so that Terraform asks nothing and does not look for updates.

    If the user's configuration file is missing, Terraform is given an empty one, because it would fail otherwise.
    """
    environment = {**os.environ, "TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1", **(extra or {})}
    configuration = environment.get("TF_CLI_CONFIG_FILE")
    if configuration is not None and not Path(configuration).is_file():
        empty = GENERATED / "terraformrc"
        empty.parent.mkdir(exist_ok=True)
        empty.touch()
        environment["TF_CLI_CONFIG_FILE"] = str(empty)
    return environment


@cache
def find_plugin_folder() -> Path | None:
    """Return a filesystem mirror that holds the AWS provider, or None if the registry must be asked.

    Search `$TF_PLUGIN_MIRROR`, then Terraform's implied mirror folders, then a few levels below some other folders.
    """
    for mirror in _list_mirrors():
        if next(mirror.glob(_PROVIDER), None):
            return mirror
    return None


def _list_mirrors() -> Iterator[Path]:
    named = os.environ.get("TF_PLUGIN_MIRROR")
    if named:
        yield Path(named)
    home, data = Path.home(), os.environ.get("XDG_DATA_HOME")
    yield home / ".terraform.d" / "plugins"
    yield Path(data) / "terraform" / "plugins" if data else home / ".local" / "share" / "terraform" / "plugins"
    yield Path("/usr/local/share/terraform/plugins")
    yield Path("/usr/share/terraform/plugins")
    for folder in _OTHER_FOLDERS:
        for depth in range(_SEARCH_DEPTH):
            found = next(Path(folder).glob("/".join(["*"] * depth + [_PROVIDER])), None)
            if found:
                yield found.parents[5]  # below it: host, hashicorp, aws, version, platform, file


def prepare(folder: Path, *, source: Path = SOURCE) -> Path:
    """Copy the project's Terraform to `folder`/terraform, with its state beside it instead of in S3. Return the copy.

    A former copy keeps its providers and its state.
    """
    working_folder = folder / "terraform"
    working_folder.mkdir(parents=True, exist_ok=True)
    for path in [*working_folder.rglob("*.tf"), *working_folder.rglob("*.tftest.hcl")]:
        if ".terraform" not in path.parts:
            path.unlink()
    ignored = shutil.ignore_patterns(".terraform*", "*.tfstate*")
    shutil.copytree(source, working_folder, dirs_exist_ok=True, ignore=ignored)
    (working_folder / "backend_override.tf").write_text('terraform {\n  backend "local" {}\n}\n', encoding="utf-8")
    return working_folder


def init(working_folder: Path) -> None:
    """Run `terraform init`, unless it ran before and nothing that it reads has changed.

    Raises:
        TerraformMissing: If there is no Terraform, or no AWS provider.
    """
    if not _needs_init(working_folder):
        return
    mirror = find_plugin_folder()
    command = [require_terraform(), "init", "-no-color", *([f"-plugin-dir={mirror}"] if mirror else [])]
    ran = subprocess.run(
        command, cwd=working_folder, env=build_environment(), capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise TerraformMissing(_NO_PROVIDER.format(reason=ran.stderr.strip()))
    _get_stamp(working_folder).write_text(_compute_init_digest(working_folder), encoding="utf-8")


def _needs_init(working_folder: Path) -> bool:
    stamp = _get_stamp(working_folder)
    return not stamp.is_file() or stamp.read_text(encoding="utf-8") != _compute_init_digest(working_folder)


def _get_stamp(working_folder: Path) -> Path:
    return working_folder / ".terraform" / "initialised"


def _compute_init_digest(working_folder: Path) -> str:
    """Return a digest of the inputs of `terraform init`: the versions, the backend and the list of modules."""
    digest = hashlib.sha256(str(find_plugin_folder()).encode())
    for name in ("versions.tf", "backend.tf", "backend_override.tf"):
        digest.update((working_folder / name).read_bytes())
    paths = sorted(working_folder.glob("*.tf"))
    lines = [line for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    calls = [line for line in lines if line.lstrip().startswith("source")]
    digest.update("".join(calls).encode())
    return digest.hexdigest()


def check(command: str) -> int:
    """Run `fmt-check` on the sources, or `validate` or `test` on a scratch copy. Return Terraform's exit status."""
    if command == "fmt-check":
        return _run(["fmt", "-check", "-diff", "-recursive"], SOURCE)
    working_folder = prepare(SCRATCH.parent)
    if _needs_init(working_folder):
        print("Initialising Terraform: this may take a minute …", flush=True)
    init(working_folder)
    return _run([command], working_folder)


def _run(arguments: list[str], folder: Path) -> int:
    command = [require_terraform(), *arguments]
    return subprocess.run(command, cwd=folder, env=build_environment(), check=False).returncode


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m local.terraform", description=__doc__)
    parser.add_argument("command", choices=["fmt-check", "validate", "test"])
    try:
        return check(parser.parse_args().command)
    except TerraformMissing as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
