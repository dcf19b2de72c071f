"""The removal of old function versions after a deployment."""

from __future__ import annotations

import io
import zipfile

import boto3

from local.deploy import prune
from tests.conftest import AwsServices


def test_the_last_versions_and_those_that_aliases_name_stay(aws_services: AwsServices) -> None:
    """With SnapStart each version costs money, and an environment may still run the version before the last."""
    role = boto3.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    functions = boto3.client("lambda")
    functions.create_function(
        FunctionName="f", Runtime="python3.13", Role=role, Handler="f.f", Code={"ZipFile": make_zip("0")}, Publish=True
    )
    for number in range(1, 6):
        functions.update_function_code(FunctionName="f", ZipFile=make_zip(str(number)), Publish=True)
    functions.create_alias(FunctionName="f", Name="old", FunctionVersion="2")
    assert prune(functions, ["f"]) == 2
    left = [one["Version"] for one in functions.list_versions_by_function(FunctionName="f")["Versions"]]
    assert left == ["$LATEST", "2", "4", "5", "6"]
    assert prune(functions, ["f"]) == 0


def make_zip(content: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("f.py", content)
    return file.getvalue()
