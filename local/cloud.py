"""`python -m local.cloud up | down | status`: the whole of the project on this machine.

`up` builds what changed, starts the emulator, applies the same Terraform that goes to AWS and registers a first
client. A local cloud lives in a folder; another folder holds a second one that does not disturb the first.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from local import apply, clients, emulator, system
from local.command import run
from local.emulator import ROOT, Emulator
from local.errors import AlreadyExists, CommandError
from local.package import Manifest, build
from local.progress import ProgressDisplay
from local.stack import FILE, Stack, aws_client
from local.terraform import require_terraform

FOLDER = ROOT / ".samovar"
ARTIFACTS = ROOT / ".samovar" / "build" / "local"
API_ID = "samovar"  # pinned by a tag, so that the API's URL is known before it is applied
FIRST_CLIENT = "local"


def up(
    folder: Path,
    *,
    progress: ProgressDisplay,
    port: int | None = emulator.DEFAULT_PORT,
    variables: Mapping[str, Any] | None = None,
) -> Stack:
    """Bring the local cloud in `folder` up to date with the sources, starting it if it is not up.

    `variables` are Terraform's, besides those that make it a local cloud.

    Raises:
        CommandError, PackagingError, TerraformMissing: when that is not possible.
    """
    require_terraform()
    system.require_command("strip", package="binutils", progress=progress)
    with _alone(folder, progress):
        before = _usable(folder, progress)
        if before is None:
            start = partial(_start, folder, progress=progress, port=port, variables=variables or {})
            try:
                return start()
            except AlreadyExists:
                progress.note("Terraform met what it had made itself: once more, from nothing")
                return start()
        return _update(folder, before, progress=progress, variables=variables or {})


def _usable(folder: Path, progress: ProgressDisplay) -> Stack | None:
    """What is up and can be gone on with; all else is removed."""
    stack, running = Stack.read(folder), emulator.find(folder)
    if stack and stack.is_alive and running and running.source_digest == emulator.source_digest():
        return stack
    if stack and not stack.is_alive:
        progress.note(f"The emulator is gone (its log: {emulator.log_file(folder)}): starting again from empty state")
    remove(folder)
    return None


def _start(folder: Path, *, progress: ProgressDisplay, port: int | None, variables: Mapping[str, Any]) -> Stack:
    """From nothing. What is left by an attempt that failed could not be trusted: it is removed."""
    sources = _sources(variables)  # before it is used: what changes meanwhile is applied the next time
    try:
        with ThreadPoolExecutor() as pool:
            building = pool.submit(_build, progress)
            preparing = pool.submit(_prepare, folder, progress)
            starting = pool.submit(_start_emulator, folder, port, progress)
            manifest, working, running = building.result(), preparing.result(), starting.result()
        outputs = _apply(folder, working, running, manifest, variables, progress=progress)
        stack = _stack(running, outputs, source_digest=_source_digest(sources, manifest))
        stack.write(folder)
    except BaseException:
        remove(folder)
        raise
    return stack


def _update(folder: Path, before: Stack, *, progress: ProgressDisplay, variables: Mapping[str, Any]) -> Stack:
    sources = _sources(variables)
    manifest = _build(progress)
    running, source_digest = emulator.find(folder), _source_digest(sources, manifest)
    if running is None or before.source_digest == source_digest:
        return before
    working = _prepare(folder, progress)
    try:
        outputs = _apply(folder, working, running, manifest, variables, progress=progress)
    except CommandError:
        raise  # Terraform ended by itself: its state says what there is
    except BaseException:
        remove(folder)
        raise
    stack = _stack(running, outputs, source_digest=source_digest, before=before)
    stack.write(folder)
    return stack


# A benchmark's only client would meet the limits of a deployment.
_LIMITS = {"requests_per_minute": 100_000, "open_jobs": 100_000, "bytes_per_day": 100_000_000_000}


def _build(progress: ProgressDisplay) -> Manifest:
    with progress.step("Building layers, functions and model") as step:
        return build(target="local", output=ARTIFACTS, report=step.show_detail)


def _prepare(folder: Path, progress: ProgressDisplay) -> Path:
    with progress.step("Initialising Terraform"):
        return apply.prepare(folder)


def _start_emulator(folder: Path, port: int | None, progress: ProgressDisplay) -> Emulator:
    with progress.step("Starting the emulator") as step:
        step.show_detail("making its environment")
        emulator.make_environment()
        step.show_detail("waiting for its first answer")
        return emulator.start(folder, port=port)


def _apply(
    folder: Path,
    working: Path,
    running: Emulator,
    manifest: Manifest,
    variables: Mapping[str, Any],
    *,
    progress: ProgressDisplay,
) -> dict[str, Any]:
    given = {
        "environment": "local",
        "artifacts": str(ARTIFACTS),
        "runtime": manifest.runtime,
        "architecture": manifest.architecture,
        "public_url": _api_url(running),
        "tags": {"ms-custom-id": API_ID},
        "limits": _LIMITS,
        "allow_loopback_webhooks": True,
        **variables,
    }
    with progress.step("Applying Terraform") as step:
        return apply.apply(folder, working, url=running.url, variables=given, report=step.show_detail)


def _stack(running: Emulator, outputs: dict[str, Any], *, source_digest: str, before: Stack | None = None) -> Stack:
    dynamodb, table = aws_client("dynamodb", url=running.url), outputs["clients_table"]
    if before and clients.is_registered(dynamodb, table, before.client_id):
        client_id, secret, webhook_secret = before.client_id, before.client_secret, before.webhook_secret
    else:
        client_id, secret = clients.register(dynamodb, table, name=FIRST_CLIENT, scope=clients.SCOPE)
        kms, key = aws_client("kms", url=running.url), outputs["webhook_secrets_key_arn"]
        webhook_secret = clients.give_webhook_secret(dynamodb, kms, table=table, key=key, client_id=client_id)
    return Stack(
        api_url=_api_url(running),
        aws_endpoint_url=running.url,
        region=emulator.REGION,
        client_id=client_id,
        client_secret=secret,
        webhook_secret=webhook_secret,
        outputs=outputs,
        pid=running.pid,
        port=running.port,
        started=running.started,
        source_digest=source_digest,
    )


def _api_url(running: Emulator) -> str:
    return f"{running.url}/_aws/execute-api/{API_ID}"


def _source_digest(sources: str, manifest: Manifest) -> str:
    """A mark of everything an apply depends on: Terraform's sources and the artifacts."""
    return hashlib.sha256((sources + manifest.model_dump_json()).encode()).hexdigest()


def _sources(variables: Mapping[str, Any]) -> str:
    """Terraform's sources and the variables it is given, as one text."""
    paths = (path.relative_to(ROOT) for path in (ROOT / "terraform").rglob("*"))
    used = sorted(path for path in paths if path.suffix == ".tf" and ".terraform" not in path.parts)
    contents = [[str(path), (ROOT / path).read_text(encoding="utf-8")] for path in used]
    return json.dumps([contents, variables])


def down(folder: Path) -> None:
    """Stop the local cloud in `folder` and leave nothing of it but logs and what was built.

    Safe to call whatever state it is in.
    """
    with _alone(folder, None):
        remove(folder)


def remove(folder: Path) -> None:
    """Stop the emulator and remove everything that was about it; the caller holds the folder's lock."""
    emulator.stop(folder)
    (folder / FILE).unlink(missing_ok=True)
    shutil.rmtree(folder / "terraform", ignore_errors=True)


@contextmanager
def _alone(folder: Path, progress: ProgressDisplay | None) -> Iterator[None]:
    """Hold the folder, so that two commands never work on one local cloud; the second waits."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if progress:
                progress.note("Another command works on this local cloud: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def describe(stack: Stack, progress: ProgressDisplay) -> None:
    """Tell how to use a local cloud."""
    progress.console.print(f"\nAPI     {stack.api_url}\nClient  {stack.client_id}, secret in stack.json")
    progress.console.print(f"AWS     {stack.aws_endpoint_url}, process {stack.pid}")


def _up(folder: Path) -> None:
    with ProgressDisplay() as progress:
        stack = up(folder, progress=progress)
        progress.note("The local cloud is up")
    describe(stack, progress)


def _down(folder: Path) -> None:
    with ProgressDisplay() as progress, progress.step("Stopping the local cloud"):
        down(folder)


def _status(folder: Path) -> None:
    describe(Stack.load(folder), ProgressDisplay())


COMMANDS: dict[str, Callable[[Path], None]] = {"up": _up, "down": _down, "status": _status}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m local.cloud", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the local cloud lives (.samovar)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a stop cleans up as Ctrl-C does
    return run(partial(COMMANDS[options.command], options.folder.resolve()))


if __name__ == "__main__":
    sys.exit(main())
