"""`python -m local.deploy`: applies what `make package` built to AWS; Terraform shows the plan and asks first."""

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

from local.clients import deployed
from local.emulator import ROOT
from local.errors import Problem
from local.steps import run
from local.terraform import environment, find_plugin_dir, require_terraform

ARTIFACTS = ROOT / ".samovar" / "build" / "aws"
TERRAFORM = ROOT / "terraform"
VERSIONS_KEPT = 3


def _deploy(options: argparse.Namespace) -> None:
    require_terraform()
    print(f"Deploying to {_destination()}", flush=True)
    _terraform("init", *_backend(options.backend), *_mirror())
    variables = {
        "artifacts": ARTIFACTS,
        "runtime": options.runtime,
        "architecture": options.architecture,
    }
    chosen = [f"-var-file={_file(options.variables)}"] if options.variables else []
    _terraform("apply", *(f"-var={name}={value}" for name, value in variables.items()), *chosen)
    outputs = deployed()
    names = [group.rpartition("/")[2] for name, group in outputs["log_groups"].items() if name != "api"]
    removed = prune(boto3.client("lambda", region_name=outputs["region"]), names)
    print(f"Removed {removed} version{'' if removed == 1 else 's'} that nothing runs any more", flush=True)


def prune(functions: Any, names: Iterable[str]) -> int:
    """Delete the published versions of functions but the last few and those that an alias names; how many.

    With SnapStart each version costs as long as it is there. What still runs on a former one is on one of the last.
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


def _destination() -> str:
    """The account and region that the credentials at hand are for."""
    session = boto3.Session()
    if session.region_name is None:
        raise Problem("No AWS region is chosen: set AWS_REGION, or AWS_PROFILE to a profile that names one.")
    try:
        account = session.client("sts").get_caller_identity()["Account"]
    except (BotoCoreError, ClientError) as error:
        raise Problem(f"There are no AWS credentials that work: {error}. Set AWS_PROFILE, or sign in.") from error
    return f"account {account}, region {session.region_name}"


def _backend(file: Path | None) -> list[str]:
    """Where the state is: a file says it the first time, and when it is to change."""
    if file:
        return ["-reconfigure", f"-backend-config={_file(file)}"]
    if (TERRAFORM / ".terraform" / "terraform.tfstate").is_file():
        return []
    raise Problem(
        "Say where Terraform's state is to be kept: make deploy BACKEND=backend.hcl, a file such as\n"
        '  bucket       = "a-bucket-of-yours"\n  key          = "samovar/production.tfstate"\n'
        '  region       = "eu-west-2"\n  use_lockfile = true'
    )


def _file(path: Path) -> Path:
    if not path.is_file():
        raise Problem(f"There is no file {path}.")
    return path.resolve()


def _mirror() -> list[str]:
    mirror = find_plugin_dir()
    return [f"-plugin-dir={mirror}"] if mirror else []


def _terraform(command: str, *options: str) -> None:
    """Run Terraform at this terminal.

    Raises:
        Problem: when it fails or the plan is refused; it has said why.
    """
    done = subprocess.run(
        [require_terraform(), f"-chdir={TERRAFORM}", command, *options],
        env=environment({"TF_INPUT": "1"}),  # it asks before it changes anything
        check=False,
    )
    if done.returncode:
        raise Problem(f"terraform {command} did not succeed.")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m local.deploy", description=__doc__)
    parser.add_argument("--runtime", required=True, help="the Lambda runtime that was packaged for")
    parser.add_argument("--architecture", required=True, help="the architecture that was packaged for")
    parser.add_argument("--backend", type=Path, help="file that says where the state is")
    parser.add_argument("--variables", type=Path, help="file with Terraform's variables, .tfvars")
    return run(partial(_deploy, parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
