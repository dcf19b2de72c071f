"""`python -m local.deploy`: apply the artifacts of `make package` to AWS. Terraform shows the plan and asks first."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from local.clients import read_deployment_outputs
from local.command import run
from local.errors import CommandError
from local.paths import GENERATED
from local.progress import ProgressDisplay
from local.terraform import SOURCE, build_environment, find_plugin_folder, require_terraform

ARTIFACTS = GENERATED / "build" / "aws"
VERSIONS_KEPT = 3


def _deploy(options: argparse.Namespace) -> None:
    require_terraform()
    print(f"Deploying to {_find_destination()}", flush=True)
    _run_terraform("init", *_choose_backend(options.backend), *_choose_mirror())
    variables = {
        "artifacts": ARTIFACTS,
        "runtime": options.runtime,
        "architecture": options.architecture,
    }
    chosen = [f"-var-file={_require_file(options.variables)}"] if options.variables else []
    _run_terraform("apply", *(f"-var={name}={value}" for name, value in variables.items()), *chosen)
    _remove_old_versions()


def _remove_old_versions() -> None:
    with ProgressDisplay() as progress:
        with progress.step("Removing old versions of the functions"):
            outputs = read_deployment_outputs()
            names = [group.rpartition("/")[2] for name, group in outputs["log_groups"].items() if name != "api"]
            removed = prune(boto3.client("lambda", region_name=outputs["region"]), names)
        progress.note(f"Removed {removed} old version{'' if removed == 1 else 's'}")


def prune(functions: Any, names: Iterable[str]) -> int:
    """Delete published versions of the functions `names`, and return how many were deleted.

    The last three versions stay, because an environment may still run one of them, and so do versions that an alias
    names. With SnapStart, AWS charges for each published version.
    """
    removed = 0
    for name in names:
        pages = functions.get_paginator("list_versions_by_function").paginate(FunctionName=name)
        versions = [one["Version"] for page in pages for one in page["Versions"] if one["Version"] != "$LATEST"]
        aliases = functions.get_paginator("list_aliases").paginate(FunctionName=name)
        named = {alias["FunctionVersion"] for page in aliases for alias in page["Aliases"]}
        for version in sorted(versions, key=int)[:-VERSIONS_KEPT]:
            if version not in named:
                functions.delete_function(FunctionName=name, Qualifier=version)
                removed += 1
    return removed


def _find_destination() -> str:
    """Return the account and the region of the user's AWS credentials, in words."""
    session = boto3.Session()
    if session.region_name is None:
        raise CommandError("No AWS region is set. Set AWS_REGION, or set AWS_PROFILE to a profile that has a region.")
    try:
        account = session.client("sts").get_caller_identity()["Account"]
    except (BotoCoreError, ClientError) as error:
        raise CommandError(f"AWS accepts no credentials from here: {error}. Set AWS_PROFILE, or sign in.") from error
    return f"account {account}, region {session.region_name}"


def _choose_backend(file: Path | None) -> list[str]:
    """Return the options that name the backend: a file for the first deployment, later none if it stays the same."""
    if file:
        return ["-reconfigure", f"-backend-config={_require_file(file)}"]
    if (SOURCE / ".terraform" / "terraform.tfstate").is_file():
        return []
    raise CommandError(
        "Terraform needs a place for its state. Run `make deploy BACKEND=backend.hcl` with a file such as\n"
        '  bucket       = "a-bucket-of-yours"\n  key          = "samovar/production.tfstate"\n'
        '  region       = "eu-west-2"\n  use_lockfile = true'
    )


def _require_file(path: Path) -> Path:
    if not path.is_file():
        raise CommandError(f"There is no file {path}. Check BACKEND and VARIABLES.")
    return path.resolve()


def _choose_mirror() -> list[str]:
    mirror = find_plugin_folder()
    return [f"-plugin-dir={mirror}"] if mirror else []


def _run_terraform(command: str, *options: str) -> None:
    """Run Terraform at this terminal, where it shows its output and asks its questions.

    Raises:
        CommandError: If it fails or the user refuses the plan. Terraform's output says why.
    """
    done = subprocess.run(
        [require_terraform(), f"-chdir={SOURCE}", command, *options],
        env=build_environment({"TF_INPUT": "1"}),  # Terraform asks before it changes anything
        check=False,
    )
    if done.returncode:
        raise CommandError(f"`terraform {command}` did not succeed. Its output above says why.")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m local.deploy", description=__doc__)
    parser.add_argument("--runtime", required=True, help="Lambda runtime of the artifacts")
    parser.add_argument("--architecture", required=True, help="architecture of the artifacts")
    parser.add_argument("--backend", type=Path, help="file with Terraform's backend settings")
    parser.add_argument("--variables", type=Path, help="file with values of Terraform's variables (.tfvars)")
    return run(partial(_deploy, parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
