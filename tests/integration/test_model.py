"""Loading of the model from S3 when something fails: a clear error or the complete model, never a part of it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import boto3
import pytest
import spacy
from moto.server import ThreadedMotoServer

from functions.worker.model import Artifact, ModelCache
from local.package.archive import write_tar
from shared.aws import blobs
from shared.aws.blobs import Blobs
from shared.errors import ModelError
from tests.conftest import set_fake_credentials

# The SDK leaves its sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

RANGE_BYTES = 256 * 1024  # so that a small artifact arrives in several ranges
ROOT = Path(__file__).parents[2]
TEXT = "Ada wrote it. Bob read it."

# The code of a process that loads the artifact named by its arguments. A test inserts a fault in place of `{}`.
LOADER = f"""
import sys, time
from pathlib import Path
from functions.worker.model import Artifact, ModelCache
from shared.aws import blobs
from shared.aws.blobs import Blobs
from shared.errors import ModelError
blobs.RANGE_BYTES = {RANGE_BYTES}
class FaultyBlobs(Blobs):
    def stream(self, key, *, size):
        {{}}
        yield from super().stream(key, size=size)
key, sha256, size, folder = sys.argv[1:]
cache = ModelCache(FaultyBlobs("models"), Artifact(key=key, sha256=sha256, size=int(size)), folder=Path(folder))
try:
    (analysis,) = cache.pipeline().run([({TEXT!r}, ("sents",))])
    print(len(analysis.document["sents"]))
except ModelError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small pipeline, and a file that makes the artifact arrive in three ranges."""
    folder = tmp_path_factory.mktemp("pipeline")
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.to_disk(folder)
    (folder / "zz").write_bytes(os.urandom(2 * RANGE_BYTES))
    return folder


@pytest.fixture(scope="module")
def archive(pipeline_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("archive") / "model.tar"
    write_tar(pipeline_folder, file)
    return file.read_bytes()


Store = Callable[[bytes], Artifact]


@pytest.fixture
def store(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return a function that stores an artifact in S3."""
    set_fake_credentials(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_url)
    monkeypatch.setattr(blobs, "RANGE_BYTES", RANGE_BYTES)
    s3 = boto3.client("s3")
    if not s3.list_buckets()["Buckets"]:
        s3.create_bucket(Bucket="models", CreateBucketConfiguration={"LocationConstraint": "eu-west-2"})

    def put(body: bytes) -> Artifact:
        s3.put_object(Bucket="models", Key="model.tar", Body=body)
        return Artifact(key="model.tar", sha256=sha256(body).hexdigest(), size=len(body))

    return put


def make_cache(artifact: Artifact, folder: Path) -> ModelCache:
    return ModelCache(Blobs("models"), artifact, folder=folder)


def can_run(model: ModelCache) -> bool:
    (analysis,) = model.pipeline().run([(TEXT, ("sents",))])
    return not isinstance(analysis, Exception) and len(analysis.document["sents"]) == 2


def list_suffixes(folder: Path) -> set[str]:
    """Return the suffixes of the files in the folder, without that of the lock file."""
    return {path.suffix for path in folder.iterdir()} - {".lock"}


def start_loader(artifact: Artifact, folder: Path, *, fault: str = "pass") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", LOADER.format(fault)]
    arguments = [artifact.key, artifact.sha256, str(artifact.size), str(folder)]
    return subprocess.Popen([*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def read_last_line(process: subprocess.Popen[str]) -> str:
    """Return the last line that the process printed. The lines before are its log."""
    return process.communicate(timeout=60)[0].splitlines()[-1]


def test_environment_with_the_same_folder_does_not_fetch_again(store: Store, archive: bytes, tmp_path: Path) -> None:
    artifact = store(archive)
    assert can_run(make_cache(artifact, tmp_path))
    assert can_run(make_cache(replace(artifact, key="nowhere"), tmp_path))
    assert list_suffixes(tmp_path) == {""}


@pytest.mark.parametrize("at", [0, 20, 124, 150, 156, 300, 512, -RANGE_BYTES, -1])
def test_changed_byte_is_detected(store: Store, archive: bytes, tmp_path: Path, at: int) -> None:
    """It may be in a header, which then cannot be read, or in a file. The right artifact loads afterwards."""
    artifact = store(archive)
    changed = bytearray(archive)
    changed[at] ^= 0x15
    store(bytes(changed))
    with pytest.raises(ModelError):
        make_cache(artifact, tmp_path).pipeline()
    assert list_suffixes(tmp_path) == set()
    store(archive)
    assert can_run(make_cache(artifact, tmp_path))


def test_error_of_a_wrong_hash_shows_both_hashes(store: Store, archive: bytes, tmp_path: Path) -> None:
    artifact = store(archive)
    with pytest.raises(ModelError, match=f"SHA-256 is {artifact.sha256}, not {'0' * 64}"):
        make_cache(replace(artifact, sha256="0" * 64), tmp_path).pipeline()
    assert list_suffixes(tmp_path) == set()


@pytest.mark.parametrize("size", [0, 100, RANGE_BYTES, RANGE_BYTES + 1])
def test_object_of_another_size_is_refused(store: Store, archive: bytes, tmp_path: Path, size: int) -> None:
    artifact = store(archive)
    store(archive[:size])
    with pytest.raises(ModelError, match=f"no artifact of {artifact.size} bytes"):
        make_cache(artifact, tmp_path).pipeline()
    assert list_suffixes(tmp_path) == set()


def test_archive_that_ends_too_early_is_refused(store: Store, archive: bytes, tmp_path: Path) -> None:
    """Its hash is right, so only unpacking finds the defect."""
    with pytest.raises(ModelError, match="cannot be unpacked"):
        make_cache(store(archive[: RANGE_BYTES + 1]), tmp_path).pipeline()
    assert list_suffixes(tmp_path) == set()


def test_archive_cannot_write_outside_its_folder(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "evil.tar"
    with tarfile.open(file, "w") as tar:
        tar.add(ROOT / "LICENSE", arcname="../../outside")
    with pytest.raises(ModelError, match="cannot be unpacked"):
        make_cache(store(file.read_bytes()), tmp_path / "in").pipeline()


def test_archive_without_a_pipeline_does_not_load(store: Store, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "text").write_text("not a model")
    write_tar(tmp_path / "in", tmp_path / "model.tar")
    with pytest.raises(ModelError, match="does not load"):
        make_cache(store((tmp_path / "model.tar").read_bytes()), tmp_path).pipeline()


def test_missing_folder_is_a_clear_error(store: Store, archive: bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be unpacked in"):
        make_cache(store(archive), tmp_path / "nowhere").pipeline()


def test_model_that_does_not_fit_is_a_clear_error_and_leaves_no_files(
    store: Store, archive: bytes, tmp_path: Path
) -> None:
    """The process has a limit instead of a full disk. Both fail a write in the middle of a file."""
    artifact = store(archive)
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({RANGE_BYTES}, {resource.RLIM_INFINITY}))"
    assert read_last_line(start_loader(artifact, tmp_path, fault=limit)).startswith(
        "The artifact cannot be unpacked in"
    )
    assert list_suffixes(tmp_path) == set()
    assert can_run(make_cache(artifact, tmp_path))


def test_environments_that_load_at_once_all_get_the_model(store: Store, archive: bytes, tmp_path: Path) -> None:
    """Only the first one fetches it. The others have a fault that would end them if they did."""
    artifact = store(archive)
    first = start_loader(artifact, tmp_path, fault="time.sleep(2)")
    until = time.monotonic() + 30
    while not list(tmp_path.iterdir()):
        assert time.monotonic() < until
        time.sleep(0.01)
    others = [start_loader(artifact, tmp_path, fault="raise SystemExit('fetched again')") for _ in range(2)]
    assert [read_last_line(process) for process in (first, *others)] == ["2", "2", "2"]
    assert list_suffixes(tmp_path) == {""}


def test_files_of_a_killed_process_are_replaced(store: Store, archive: bytes, tmp_path: Path) -> None:
    artifact = store(archive)
    stuck = "yield next(super().stream(key, size=size)); time.sleep(60)"
    process = start_loader(artifact, tmp_path, fault=stuck)
    until = time.monotonic() + 30
    while not list(tmp_path.glob("*.part/zz")):
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list_suffixes(tmp_path) == {".part"}
    assert can_run(make_cache(artifact, tmp_path))
    assert list_suffixes(tmp_path) == {""}
