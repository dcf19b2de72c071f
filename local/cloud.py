"""`python -m local.cloud up | down | status`: the whole service on this machine, which is called a local cloud.

`up` builds the artifacts that changed, starts the emulator, applies the same Terraform that goes to AWS and registers a
first client. A local cloud lives in a folder. Local clouds in two folders do not disturb each other.
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

from local import apply, clients, emulators, system
from local.command import run
from local.connection import open_client
from local.emulators import RunningEmulator, emulator, get_log_file
from local.errors import AlreadyExists, CommandError
from local.package import Manifest, build
from local.paths import GENERATED, ROOT
from local.progress import ProgressDisplay
from local.stack import FILE, Stack
from local.terraform import require_terraform

FOLDER = GENERATED
ARTIFACTS = GENERATED / "build" / "local"
FIRST_CLIENT = "local"
# The limits of a deployment would refuse a benchmark, whose calls all come from one client.
_LIMITS = {"requests_per_minute": 100_000, "open_jobs": 100_000, "bytes_per_day": 100_000_000_000}


def up(
    folder: Path,
    *,
    progress: ProgressDisplay,
    any_port: bool = False,
    variables: Mapping[str, Any] | None = None,
    idle_seconds: int | None = None,
) -> Stack:
    """Start the local cloud in `folder`, or bring a running one up to date with the sources.

    Args:
        folder: the folder of the local cloud; made if missing.
        progress: shows the steps.
        any_port: whether the emulator takes any free port instead of its usual one.
        variables: variables of Terraform, besides those that make it a local cloud.
        idle_seconds: seconds after which an idle Lambda execution environment ends; None for the emulator's own.

    Raises:
        CommandError: If the local cloud cannot be started or brought up to date.
    """
    require_terraform()
    system.require_command("strip", package="binutils", progress=progress)
    with _lock(folder, progress):
        before = _find_usable(folder, progress)
        if before:
            return _update(folder, before, progress=progress, variables=variables or {})
        chosen = emulator()
        port = None if any_port else chosen.default_port
        start = partial(chosen.start, folder, port=port, idle_seconds=idle_seconds)
        return _start_with_retry(folder, start, progress=progress, variables=variables or {})


def _find_usable(folder: Path, progress: ProgressDisplay) -> Stack | None:
    """Return the local cloud in `folder` if it runs and its emulator is current, else remove its files."""
    stack, running = Stack.read(folder), RunningEmulator.read(folder)
    if stack and stack.is_alive and running and _is_current(running):
        return stack
    if stack and not stack.is_alive:
        progress.note(f"The emulator has ended; its log is {get_log_file(folder)}. Starting again with empty state")
    remove(folder)
    return None


def _is_current(running: RunningEmulator) -> bool:
    chosen = emulator()
    return running.name == chosen.name and running.source_digest == chosen.compute_source_digest()


_Start = Callable[[], RunningEmulator]


def _start_with_retry(folder: Path, start: _Start, *, progress: ProgressDisplay, variables: Mapping[str, Any]) -> Stack:
    """Start the local cloud, once more if the emulator lost an answer to Terraform."""
    try:
        return _start(folder, start, progress=progress, variables=variables)
    except AlreadyExists:
        progress.note("The emulator lost an answer to Terraform. Starting again with empty state")
        return _start(folder, start, progress=progress, variables=variables)


def _start(folder: Path, start: _Start, *, progress: ProgressDisplay, variables: Mapping[str, Any]) -> Stack:
    """Start the local cloud with empty state. After a failure, remove the rest, whose state is unknown."""
    sources = _read_sources(variables)  # first, so that a source that changes meanwhile is applied by the next `up`
    try:
        with ThreadPoolExecutor() as pool:
            building = pool.submit(_build, progress)
            preparing = pool.submit(_prepare, folder, progress)
            starting = pool.submit(_start_emulator, start, progress)
            manifest, working_folder, running = building.result(), preparing.result(), starting.result()
        outputs = _apply(folder, working_folder, running, manifest, variables, progress=progress)
        stack = _describe_stack(running, outputs, source_digest=_compute_source_digest(sources, manifest))
        stack.write(folder)
    except BaseException:
        remove(folder)
        raise
    return stack


def _update(folder: Path, before: Stack, *, progress: ProgressDisplay, variables: Mapping[str, Any]) -> Stack:
    """Build and apply again if a source has changed."""
    sources = _read_sources(variables)
    manifest = _build(progress)
    running, source_digest = RunningEmulator.read(folder), _compute_source_digest(sources, manifest)
    if running is None or before.source_digest == source_digest:
        return before
    working_folder = _prepare(folder, progress)
    try:
        outputs = _apply(folder, working_folder, running, manifest, variables, progress=progress)
    except CommandError:
        raise  # Terraform ended by itself, so its state is complete
    except BaseException:
        remove(folder)
        raise
    stack = _describe_stack(running, outputs, source_digest=source_digest, before=before)
    stack.write(folder)
    return stack


def _build(progress: ProgressDisplay) -> Manifest:
    with progress.step("Building layers, functions and model") as step:
        return build(target=emulator().build_target, output=ARTIFACTS, report=step.show_detail)


def _prepare(folder: Path, progress: ProgressDisplay) -> Path:
    with progress.step("Initialising Terraform"):
        return apply.prepare(folder)


def _start_emulator(start: _Start, progress: ProgressDisplay) -> RunningEmulator:
    with progress.step("Starting the emulator") as step:
        step.show_detail("installing it")
        emulator().install()
        step.show_detail("waiting for its first answer")
        return start()


def _apply(
    folder: Path,
    working_folder: Path,
    running: RunningEmulator,
    manifest: Manifest,
    variables: Mapping[str, Any],
    *,
    progress: ProgressDisplay,
) -> dict[str, Any]:
    chosen = emulator(running.name)
    given = {
        "environment": "local",
        "artifacts": str(ARTIFACTS),
        "runtime": manifest.runtime,
        "architecture": manifest.architecture,
        "public_url": chosen.build_api_url(running.url),
        "limits": _LIMITS,
        "allow_loopback_webhooks": True,
        **chosen.terraform_variables,
        **variables,
    }
    with progress.step("Applying Terraform") as step:
        return apply.apply(folder, working_folder, running=running, variables=given, report=step.show_detail)


def _describe_stack(
    running: RunningEmulator, outputs: dict[str, Any], *, source_digest: str, before: Stack | None = None
) -> Stack:
    """Return the description of the local cloud that was applied, with a first client that it has registered."""
    chosen = emulator(running.name)
    return Stack(
        **_find_or_register_client(running, outputs, before),
        api_url=chosen.build_api_url(running.url),
        aws_endpoint_url=running.url,
        region=chosen.region,
        outputs=outputs,
        emulator_name=running.name,
        pid=running.pid,
        port=running.port,
        started=running.started,
        source_digest=source_digest,
    )


def _find_or_register_client(
    running: RunningEmulator, outputs: Mapping[str, Any], before: Stack | None
) -> dict[str, str]:
    """Return the credentials of the first client. Register it unless the local cloud `before` has it."""
    chosen, table = emulator(running.name), outputs["clients_table"]
    dynamodb = open_client(chosen, "dynamodb", url=running.url)
    if before and clients.is_registered(dynamodb, table, before.client_id):
        return before.model_dump(include={"client_id", "client_secret", "webhook_secret"})
    kms, key = open_client(chosen, "kms", url=running.url), outputs["webhook_secrets_key_arn"]
    client_id, secret = clients.register(dynamodb, table, name=FIRST_CLIENT, scope=clients.SCOPE)
    webhook_secret = clients.give_webhook_secret(dynamodb, kms, table=table, key=key, client_id=client_id)
    return {"client_id": client_id, "client_secret": secret, "webhook_secret": webhook_secret}


def _compute_source_digest(sources: str, manifest: Manifest) -> str:
    """Return a digest of everything that an apply depends on: Terraform's sources and the artifacts."""
    return hashlib.sha256((sources + manifest.model_dump_json()).encode()).hexdigest()


def _read_sources(variables: Mapping[str, Any]) -> str:
    """Return Terraform's sources and the variables that it is given, as one text."""
    paths = (path.relative_to(ROOT) for path in (ROOT / "terraform").rglob("*"))
    used = sorted(path for path in paths if path.suffix == ".tf" and ".terraform" not in path.parts)
    contents = [[str(path), (ROOT / path).read_text(encoding="utf-8")] for path in used]
    return json.dumps([contents, variables])


def down(folder: Path, *, progress: ProgressDisplay | None = None) -> None:
    """Stop the local cloud in `folder` and remove all its files except logs and artifacts.

    The state of the local cloud does not matter: it may have ended, or have started only in part.
    """
    with _lock(folder, progress):
        remove(folder)


def remove(folder: Path) -> None:
    """Stop the emulator in `folder` and remove its files. The caller holds the lock of the folder."""
    emulators.stop(folder)
    (folder / FILE).unlink(missing_ok=True)
    shutil.rmtree(folder / "terraform", ignore_errors=True)


@contextmanager
def _lock(folder: Path, progress: ProgressDisplay | None) -> Iterator[None]:
    """Hold the lock of the folder, so that two commands never work on one local cloud. Wait if another holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if progress:
                progress.note("Another command is using this local cloud. Waiting until it ends")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def show(stack: Stack, progress: ProgressDisplay) -> None:
    """Print the addresses and the first client of a local cloud."""
    progress.console.print(f"\nAPI     {stack.api_url}\nClient  {stack.client_id}, its secret is in {FILE}")
    progress.console.print(f"AWS     {stack.aws_endpoint_url}, process {stack.pid}")


def _up(folder: Path) -> None:
    with ProgressDisplay() as progress:
        stack = up(folder, progress=progress)
        progress.note("The local cloud is running")
    show(stack, progress)


def _down(folder: Path) -> None:
    with ProgressDisplay() as progress, progress.step("Stopping the local cloud"):
        down(folder, progress=progress)


def _status(folder: Path) -> None:
    show(Stack.load(folder), ProgressDisplay())


COMMANDS: dict[str, Callable[[Path], None]] = {"up": _up, "down": _down, "status": _status}


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m local.cloud", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder of the local cloud (.samovar)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a SIGTERM cleans up as Ctrl-C does
    return run(partial(COMMANDS[options.command], options.folder.resolve()))


if __name__ == "__main__":
    sys.exit(main())
