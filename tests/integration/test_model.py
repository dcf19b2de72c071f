"""The model's way from S3 into memory where things fail: a clear error or the whole model, never half of one."""

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
from shared import blobs
from shared.blobs import Blobs
from shared.errors import ModelError
from tests.conftest import REGION, made_up_credentials

# The SDK leaves its sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

RANGE_BYTES = 256 * 1024  # so that a small artifact arrives in several ranges
ROOT = Path(__file__).parents[2]
TEXT = "Ada wrote it. Bob read it."

# A process of its own, which loads the artifact named by its arguments; `{}` is where a test puts trouble.
LOADER = f"""
import sys, time
from pathlib import Path
from functions.worker.model import Artifact, ModelCache
from shared import blobs
from shared.blobs import Blobs
from shared.errors import ModelError
blobs.RANGE_BYTES = {RANGE_BYTES}
class Trouble(Blobs):
    def parts(self, key, *, size):
        {{}}
        yield from super().parts(key, size=size)
key, sha256, size, folder = sys.argv[1:]
cache = ModelCache(Trouble("models"), Artifact(key=key, sha256=sha256, size=int(size)), folder=Path(folder))
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
    """A small pipeline beside a file that makes the artifact arrive in three ranges."""
    folder = tmp_path_factory.mktemp("pipeline")
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.to_disk(folder)
    (folder / "zz").write_bytes(os.urandom(2 * RANGE_BYTES))
    return folder


@pytest.fixture(scope="module")
def packed(pipeline_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("packed") / "model.tar"
    write_tar(pipeline_folder, file)
    return file.read_bytes()


Store = Callable[[bytes], Artifact]


@pytest.fixture
def store(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Puts an artifact into S3."""
    made_up_credentials(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_url)
    monkeypatch.setattr(blobs, "RANGE_BYTES", RANGE_BYTES)
    s3 = boto3.client("s3")
    if not s3.list_buckets()["Buckets"]:
        s3.create_bucket(Bucket="models", CreateBucketConfiguration={"LocationConstraint": REGION})

    def put(body: bytes) -> Artifact:
        s3.put_object(Bucket="models", Key="model.tar", Body=body)
        return Artifact(key="model.tar", sha256=sha256(body).hexdigest(), size=len(body))

    return put


def cache(artifact: Artifact, folder: Path) -> ModelCache:
    return ModelCache(Blobs("models"), artifact, folder=folder)


def works(model: ModelCache) -> bool:
    (analysis,) = model.pipeline().run([(TEXT, ("sents",))])
    return not isinstance(analysis, Exception) and len(analysis.document["sents"]) == 2


def left_in(folder: Path) -> set[str]:
    """The suffixes of what lies there, but for the lock."""
    return {path.suffix for path in folder.iterdir()} - {".lock"}


def loader(artifact: Artifact, folder: Path, *, trouble: str = "pass") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", LOADER.format(trouble)]
    arguments = [artifact.key, artifact.sha256, str(artifact.size), str(folder)]
    return subprocess.Popen([*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    """The last line, which is not of the log."""
    return process.communicate(timeout=60)[0].splitlines()[-1]


def test_next_environment_with_the_same_folder_does_not_fetch(store: Store, packed: bytes, tmp_path: Path) -> None:
    artifact = store(packed)
    assert works(cache(artifact, tmp_path))
    assert works(cache(replace(artifact, key="nowhere"), tmp_path))
    assert left_in(tmp_path) == {""}


@pytest.mark.parametrize("at", [0, 20, 124, 150, 156, 300, 512, -RANGE_BYTES, -1])
def test_changed_byte_is_found(store: Store, packed: bytes, tmp_path: Path, at: int) -> None:
    """Be it in a header, which may not even be read then, or in a file; and the right bytes load afterwards."""
    artifact = store(packed)
    changed = bytearray(packed)
    changed[at] ^= 0x15
    store(bytes(changed))
    with pytest.raises(ModelError):
        cache(artifact, tmp_path).pipeline()
    assert left_in(tmp_path) == set()
    store(packed)
    assert works(cache(artifact, tmp_path))


def test_wrong_hash_says_both(store: Store, packed: bytes, tmp_path: Path) -> None:
    artifact = store(packed)
    with pytest.raises(ModelError, match=f"SHA-256 is {artifact.sha256}, not {'0' * 64}"):
        cache(replace(artifact, sha256="0" * 64), tmp_path).pipeline()
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize("size", [0, 100, RANGE_BYTES, RANGE_BYTES + 1])
def test_object_that_was_cut_short_is_refused(store: Store, packed: bytes, tmp_path: Path, size: int) -> None:
    artifact = store(packed)
    store(packed[:size])
    with pytest.raises(ModelError, match=f"no artifact of {artifact.size} bytes"):
        cache(artifact, tmp_path).pipeline()
    assert left_in(tmp_path) == set()


def test_artifact_that_was_packed_short_is_refused(store: Store, packed: bytes, tmp_path: Path) -> None:
    """Its hash is right."""
    with pytest.raises(ModelError, match="cannot be unpacked"):
        cache(store(packed[: RANGE_BYTES + 1]), tmp_path).pipeline()
    assert left_in(tmp_path) == set()


def test_artifact_may_not_write_elsewhere(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "evil.tar"
    with tarfile.open(file, "w") as tar:
        tar.add(ROOT / "LICENSE", arcname="../../outside")
    with pytest.raises(ModelError, match="cannot be unpacked"):
        cache(store(file.read_bytes()), tmp_path / "in").pipeline()


def test_artifact_that_is_no_pipeline_does_not_load(store: Store, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "text").write_text("not a model")
    write_tar(tmp_path / "in", tmp_path / "model.tar")
    with pytest.raises(ModelError, match="does not load"):
        cache(store((tmp_path / "model.tar").read_bytes()), tmp_path).pipeline()


def test_no_folder_is_a_clear_error(store: Store, packed: bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be unpacked in"):
        cache(store(packed), tmp_path / "nowhere").pipeline()


def test_model_that_does_not_fit_is_a_clear_error_and_leaves_nothing(
    store: Store, packed: bytes, tmp_path: Path
) -> None:
    """A limit of the process stands for a full disk: both fail the write in the middle of a file."""
    artifact = store(packed)
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({RANGE_BYTES}, {resource.RLIM_INFINITY}))"
    assert said(loader(artifact, tmp_path, trouble=limit)).startswith("The artifact cannot be unpacked in")
    assert left_in(tmp_path) == set()
    assert works(cache(artifact, tmp_path))


def test_environments_that_load_at_once_all_get_the_model(store: Store, packed: bytes, tmp_path: Path) -> None:
    """And it is fetched once: who comes later could not, its trouble being that it must not."""
    artifact = store(packed)
    first = loader(artifact, tmp_path, trouble="time.sleep(2)")
    until = time.monotonic() + 30
    while not list(tmp_path.iterdir()):
        assert time.monotonic() < until
        time.sleep(0.01)
    others = [loader(artifact, tmp_path, trouble="raise SystemExit('fetched again')") for _ in range(2)]
    assert [said(process) for process in (first, *others)] == ["2", "2", "2"]
    assert left_in(tmp_path) == {""}


def test_process_killed_half_way_leaves_nothing_that_counts(store: Store, packed: bytes, tmp_path: Path) -> None:
    artifact = store(packed)
    stuck = "yield next(super().parts(key, size=size)); time.sleep(60)"
    process = loader(artifact, tmp_path, trouble=stuck)
    until = time.monotonic() + 30
    while not list(tmp_path.glob("*.part/zz")):
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert left_in(tmp_path) == {".part"}
    assert works(cache(artifact, tmp_path))
    assert left_in(tmp_path) == {""}
