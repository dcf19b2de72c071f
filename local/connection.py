"""Connections to the AWS APIs of an emulator, as the root user of its account."""

from __future__ import annotations

import os
from typing import Any

import boto3
from botocore.config import Config

from local.emulators import Emulator
from local.emulators.running import HOST


def build_aws_environment(emulator: Emulator, url: str) -> dict[str, str]:
    """Return the environment variables that lead a tool to the emulator at `url` and away from the user's AWS."""
    return {
        **emulator.credentials,
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": emulator.region,
        "AWS_DEFAULT_REGION": emulator.region,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": HOST,
        "no_proxy": HOST,
    }


def open_client(emulator: Emulator, service: str, *, url: str) -> Any:
    """Return a boto3 client of `service` at the emulator at `url`. It uses no proxy."""
    session = boto3.Session(
        aws_access_key_id=emulator.credentials["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=emulator.credentials["AWS_SECRET_ACCESS_KEY"],
        region_name=emulator.region,
    )
    config = Config(proxies={}, s3={"addressing_style": "path"})
    return session.client(service, endpoint_url=url, config=config)  # type: ignore[call-overload]
