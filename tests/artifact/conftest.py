"""The artifacts of the local build, unpacked as Lambda unpacks them, and the AWS services that they call."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import boto3
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from moto.server import ThreadedMotoServer

from local.package import Manifest, build
from local.package.functions import get_layer_name
from shared.aws.table import Table
from shared.webhooks.secrets import SecretCipher
from tests.artifact.runtime import Unpack, UnpackedFunction, Variables, make_environment, unzip
from tests.conftest import create_tables
from tests.settings import MODELS, list_variables

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / ".samovar" / "build" / "local"
QUEUES = "https://sqs.eu-west-2.amazonaws.com/123456789012"
VALUES = {  # of the settings that do not depend on the build
    "ALLOW_LOOPBACK_WEBHOOKS": "false",
    "ASSIGN_JOBS_TO_WARM_UPS": "true",
    "BUCKET": "bucket",
    "CLIENTS_TABLE": "clients",
    "ISOLATED_DEAD_LETTER_QUEUE_URL": f"{QUEUES}/isolated-dead-letter",
    "ISOLATED_QUEUE_URL": f"{QUEUES}/isolated",
    "JOBS_DEAD_LETTER_QUEUE_URL": f"{QUEUES}/jobs-dead-letter",
    "JOBS_QUEUE_URL": f"{QUEUES}/jobs",
    "JOBS_TABLE": "jobs",
    "LIMITS": json.dumps({"requests_per_minute": 600, "open_jobs": 1_000, "bytes_per_day": 1_000_000_000}),
    "PUBLIC_URL": "https://api.example",
    "SIGNING_KEY_ARN": "arn:aws:kms:eu-west-2:123456789012:key/1",
    "SIGNING_KEY_ID": "k1",
    "WARM_UP_COOLDOWN_SECONDS": "120",
    "WARM_UP_ENVIRONMENTS": "1",
    "WEBHOOKS_DEAD_LETTER_QUEUE_URL": f"{QUEUES}/webhooks-dead-letter",
    "WEBHOOKS_QUEUE_URL": f"{QUEUES}/webhooks",
    "WEBHOOK_DELAYS_SECONDS": "[0, 5, 300, 1800, 7200, 18000, 36000, 36000]",
    "WORKER_ALIAS_ARN": "arn:aws:lambda:eu-west-2:123456789012:function:worker:live",
    "WORKER_VERSION": "1",
}
SERVICES = ("dynamodb", "kms", "s3", "sqs")
CREDENTIALS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "eu-west-2"}


@dataclass(frozen=True)
class Services:
    """AWS services in moto's server: a bucket with the model artifact, both tables, queues and keys.

    `jobs` and `clients` are the tables. `url` is the endpoint of all services.
    """

    url: str
    jobs: Table
    clients: Table
    sqs: SQSClient
    kms: KMSClient

    def create_queue(self, name: str) -> str:
        """Create a queue and return its URL."""
        return self.sqs.create_queue(QueueName=name)["QueueUrl"]

    def encrypt_secret(self, client_id: str, secret: str) -> str:
        """Return the ciphertext of a signing secret, as the table of clients holds it."""
        key = self.kms.create_key()["KeyMetadata"]["Arn"]
        return SecretCipher(key, kms=self.kms).encrypt(client_id, secret)


@pytest.fixture(scope="session")
def manifest() -> Manifest:
    """Build the artifacts, and return their manifest."""
    return build(target="local", output=OUTPUT)


@pytest.fixture(scope="session")
def python() -> Path:
    """Return the path of the runtime's Python, which has boto3 and the runtime client, and nothing else."""
    return make_environment(ROOT / ".samovar" / "artifact", ROOT / "requirements" / "artifact.txt")


@pytest.fixture(scope="session")
def unpack(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Unpack:
    """Return a function that unpacks the zip of the function with the given name, and its layer."""
    folder = tmp_path_factory.mktemp("unpacked")

    def unpack(name: str) -> UnpackedFunction:
        layer = folder / f"layer-{get_layer_name(name)}"
        if not layer.exists():
            unzip(OUTPUT / manifest.layers[get_layer_name(name)].file, layer)
        if not (folder / name).exists():
            unzip(OUTPUT / manifest.functions[name].file, folder / name)
        return UnpackedFunction(name, task=folder / name, layer=layer)

    return unpack


@pytest.fixture(scope="session")
def public_keys() -> str:
    """Return the setting `PUBLIC_KEYS` with a new key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return json.dumps(
        {"k1": base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()}
    )


@pytest.fixture
def variables(manifest: Manifest, public_keys: str) -> Variables:
    """Return the environment variables of each function by its name, as Terraform writes them."""
    values = {
        **VALUES,
        "PUBLIC_KEYS": public_keys,
        "MODEL_NAME": manifest.model.name,
        "MODEL_VERSION": manifest.model.version,
        "MODEL_KEY": _model_key(manifest),
        "MODEL_SHA256": manifest.model.sha256,
        "MODEL_SIZE": str(manifest.model.size),
    }
    return {function: {name: values[name] for name in list_variables(model)} for function, model in MODELS.items()}


@pytest.fixture
def services(manifest: Manifest) -> Iterator[Services]:
    """Provide the AWS services."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        # All moto servers of a process share their state.
        urlopen(Request(f"{url}/moto-api/reset", method="POST"), timeout=10).close()  # noqa: S310 (this very server)
        with ExitStack() as stack:
            dynamodb, kms, s3, sqs = (stack.enter_context(_open_client(name, url)) for name in SERVICES)
            _store_model(s3, manifest)
            create_tables(dynamodb)
            jobs, clients = (Table(name, dynamodb=dynamodb) for name in ("jobs", "clients"))
            yield Services(url=url, jobs=jobs, clients=clients, sqs=sqs, kms=kms)
    finally:
        server.stop()


def _open_client(service: str, url: str) -> closing[Any]:
    # The stubs accept only the literal names of services.
    return closing(boto3.client(service, endpoint_url=url, **CREDENTIALS))  # type: ignore[call-overload]


def _store_model(s3: S3Client, manifest: Manifest) -> None:
    """Create the bucket with the model artifact."""
    s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-2"})
    s3.put_object(Bucket="bucket", Key=_model_key(manifest), Body=(OUTPUT / manifest.model.file).read_bytes())


def _model_key(manifest: Manifest) -> str:
    return f"models/{manifest.model.sha256}/{manifest.model.file}"
