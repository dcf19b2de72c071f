"""The local build, unpacked as Lambda does it, and the services its functions call."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from moto.server import ThreadedMotoServer

from local.package import Manifest, build
from local.package.functions import layer_of
from shared.webhooks.secrets import SecretCipher
from tests.artifact.runtime import Unpacked, make_environment, unzip

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / ".samovar" / "build" / "local"
QUEUES = "https://sqs.eu-west-2.amazonaws.com/123456789012"
CREDENTIALS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "eu-west-2"}


@dataclass(frozen=True)
class Services:
    """An S3 with the model artifact, a DynamoDB with the tables, an SQS and a KMS."""

    url: str
    dynamodb: Any
    sqs: Any
    kms: Any

    def queue(self, name: str) -> str:
        """The URL of a new queue."""
        url: str = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        return url

    def sealed(self, client_id: str, secret: str) -> str:
        """The secret as the table of clients holds it."""
        key = self.kms.create_key()["KeyMetadata"]["Arn"]
        return SecretCipher(key, kms=self.kms).encrypt(client_id, secret)


@pytest.fixture(scope="session")
def manifest() -> Manifest:
    return build(target="local", output=OUTPUT)


@pytest.fixture(scope="session")
def python() -> Path:
    """The runtime's Python: boto3 and the runtime client, nothing else."""
    return make_environment(ROOT / ".samovar" / "artifact", ROOT / "requirements" / "artifact.txt")


@pytest.fixture(scope="session")
def unpacked(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Unpacked]:
    folder = tmp_path_factory.mktemp("unpacked")

    def unpack(name: str) -> Unpacked:
        layer = folder / f"layer-{layer_of(name)}"
        if not layer.exists():
            unzip(OUTPUT / manifest.layers[layer_of(name)].file, layer)
        if not (folder / name).exists():
            unzip(OUTPUT / manifest.functions[name].file, folder / name)
        return Unpacked(name, task=folder / name, layer=layer)

    return unpack


@pytest.fixture(scope="session")
def public_keys() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return json.dumps(
        {"k1": base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()}
    )


@pytest.fixture
def variables(manifest: Manifest, public_keys: str) -> dict[str, dict[str, str]]:
    """Each function's settings, as Terraform writes them."""
    public = {"PUBLIC_URL": "https://api.example", "PUBLIC_KEYS": public_keys, "JOBS_TABLE": "jobs"}
    queues = {"BUCKET": "bucket", "JOBS_QUEUE_URL": f"{QUEUES}/jobs", "ISOLATED_QUEUE_URL": f"{QUEUES}/isolated"}
    queues["WEBHOOKS_QUEUE_URL"] = f"{QUEUES}/webhooks"
    model = {"MODEL_NAME": manifest.model.name, "MODEL_VERSION": manifest.model.version}
    return {
        "auth": {
            **public,
            "SIGNING_KEY_ARN": "arn:aws:kms:eu-west-2:123456789012:key/1",
            "SIGNING_KEY_ID": "k1",
            "CLIENTS_TABLE": "clients",
            "WORKER_ALIAS_ARN": "arn:aws:lambda:eu-west-2:123456789012:function:worker:live",
            "WORKER_VERSION": "1",
            "WARM_UP_ENVIRONMENTS": "1",
            "WARM_UP_COOLDOWN_SECONDS": "120",
        },
        "submit": {
            **public,
            **queues,
            **model,
            "CLIENTS_TABLE": "clients",
            "LIMITS": json.dumps({"requests_per_minute": 600, "open_jobs": 1_000, "bytes_per_day": 1_000_000_000}),
            "WORKER_VERSION": "1",
            "ASSIGN_JOBS_TO_WARM_UPS": "true",
            "ALLOW_LOOPBACK_WEBHOOKS": "false",
        },
        "webhook": {
            "PUBLIC_URL": "https://api.example",
            "JOBS_TABLE": "jobs",
            "CLIENTS_TABLE": "clients",
            "WEBHOOKS_QUEUE_URL": f"{QUEUES}/webhooks",
            "WEBHOOK_DELAYS_SECONDS": "[0, 5, 300, 1800, 7200, 18000, 36000, 36000]",
            "ALLOW_LOOPBACK_WEBHOOKS": "false",
        },
        "worker": {
            "JOBS_TABLE": "jobs",
            **queues,
            **model,
            "MODEL_KEY": f"models/{manifest.model.sha256}/{manifest.model.file}",
            "MODEL_SHA256": manifest.model.sha256,
            "MODEL_SIZE": str(manifest.model.size),
            "OMP_NUM_THREADS": "1",
        },
        "janitor": {
            "JOBS_TABLE": "jobs",
            **queues,
            "WORKER_ALIAS_ARN": "arn:aws:lambda:eu-west-2:123456789012:function:worker:live",
            "WORKER_VERSION": "1",
            "JOBS_DEAD_LETTER_QUEUE_URL": f"{QUEUES}/jobs-dead-letter",
            "ISOLATED_DEAD_LETTER_QUEUE_URL": f"{QUEUES}/isolated-dead-letter",
            "WEBHOOKS_DEAD_LETTER_QUEUE_URL": f"{QUEUES}/webhooks-dead-letter",
        },
    }


@pytest.fixture
def services(manifest: Manifest) -> Iterator[Services]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        # The servers of a process share their state.
        urlopen(Request(f"{url}/moto-api/reset", method="POST"), timeout=10).close()  # noqa: S310 (this very server)
        s3 = boto3.client("s3", endpoint_url=url, **CREDENTIALS)
        s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-2"})
        key = f"models/{manifest.model.sha256}/{manifest.model.file}"
        s3.put_object(Bucket="bucket", Key=key, Body=(OUTPUT / manifest.model.file).read_bytes())
        dynamodb = boto3.client("dynamodb", endpoint_url=url, **CREDENTIALS)
        dynamodb.create_table(
            TableName="jobs",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": name, "AttributeType": kind}
                for name, kind in (("id", "S"), ("part", "S"), ("check_partition", "N"), ("next_check_at", "N"))
            ],
            KeySchema=_keys("id", "part"),
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "checks",
                    "KeySchema": _keys("check_partition", "next_check_at"),
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            ],
        )
        dynamodb.create_table(
            TableName="clients",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "client_id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "client_id", "KeyType": "HASH"}],
        )
        sqs, kms = (boto3.client(name, endpoint_url=url, **CREDENTIALS) for name in ("sqs", "kms"))
        yield Services(url=url, dynamodb=dynamodb, sqs=sqs, kms=kms)
        kms.close()
        sqs.close()
        s3.close()
        dynamodb.close()
    finally:
        server.stop()


def _keys(partition: str, sort: str) -> list[dict[str, str]]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]
