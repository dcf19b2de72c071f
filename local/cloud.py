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
from local.emulator import ROOT, Emulator
from local.errors import AlreadyThere, Problem
from local.package import Manifest, build
from local.stack import FILE, Stack, aws_client
from local.steps import Steps, run
from local.terraform import require_terraform

FOLDER = ROOT / ".samovar"
ARTIFACTS = ROOT / ".samovar" / "build" / "local"
API_ID = "samovar"  # pinned by a tag, so that the API's URL is known before it is applied
FIRST_CLIENT = "local"


def up(
    folder: Path,
    *,
    steps: Steps,
    port: int | None = emulator.DEFAULT_PORT,
    variables: Mapping[str, Any] | None = None,
) -> Stack:
    """Bring the local cloud in `folder` up to date with the sources, starting it if it is not up.

    `variables` are Terraform's, besides those that make it a local cloud.

    Raises:
        Problem, PackagingError, TerraformMissing: when that is not possible.
    """
    require_terraform()
    system.require("strip", package="binutils", steps=steps)
    with _alone(folder, steps):
        before = _usable(folder, steps)
        if before is None:
            start = partial(_start, folder, steps=steps, port=port, variables=variables or {})
            try:
                return start()
            except AlreadyThere:
                steps.note("Terraform met what it had made itself: once more, from nothing")
                return start()
        return _update(folder, before, steps=steps, variables=variables or {})


def _usable(folder: Path, steps: Steps) -> Stack | None:
    """What is up and can be gone on with; all else is removed."""
    stack, running = Stack.read(folder), emulator.find(folder)
    if stack and stack.is_alive and running and running.made_of == emulator.made_of():
        return stack
    if stack and not stack.is_alive:
        steps.note(f"The emulator is gone (its log: {emulator.log_file(folder)}): starting again from empty state")
    remove(folder)
    return None


def _start(folder: Path, *, steps: Steps, port: int | None, variables: Mapping[str, Any]) -> Stack:
    """From nothing. What is left by an attempt that failed could not be trusted: it is removed."""
    sources = _sources(variables)  # before it is used: what changes meanwhile is applied the next time
    try:
        with ThreadPoolExecutor() as pool:
            building = pool.submit(_build, steps)
            preparing = pool.submit(_prepare, folder, steps)
            starting = pool.submit(_start_emulator, folder, port, steps)
            manifest, working, running = building.result(), preparing.result(), starting.result()
        outputs = _apply(folder, working, running, manifest, variables, steps=steps)
        stack = _stack(running, outputs, made_of=_made_of(sources, manifest))
        stack.write(folder)
    except BaseException:
        remove(folder)
        raise
    return stack


def _update(folder: Path, before: Stack, *, steps: Steps, variables: Mapping[str, Any]) -> Stack:
    sources = _sources(variables)
    manifest = _build(steps)
    running, made_of = emulator.find(folder), _made_of(sources, manifest)
    if running is None or before.made_of == made_of:
        return before
    working = _prepare(folder, steps)
    try:
        outputs = _apply(folder, working, running, manifest, variables, steps=steps)
    except Problem:
        raise  # Terraform ended by itself: its state says what there is
    except BaseException:
        remove(folder)
        raise
    stack = _stack(running, outputs, made_of=made_of, before=before)
    stack.write(folder)
    return stack


# A benchmark's only client would meet the limits of a deployment.
_LIMITS = {"requests_per_minute": 100_000, "open_jobs": 100_000, "bytes_per_day": 100_000_000_000}


def _build(steps: Steps) -> Manifest:
    with steps.step("Building layers, functions and model") as step:
        return build(target="local", output=ARTIFACTS, report=step.say)


def _prepare(folder: Path, steps: Steps) -> Path:
    with steps.step("Initialising Terraform"):
        return apply.prepare(folder)


def _start_emulator(folder: Path, port: int | None, steps: Steps) -> Emulator:
    with steps.step("Starting the emulator") as step:
        step.say("making its environment")
        emulator.make_environment()
        step.say("waiting for its first answer")
        return emulator.start(folder, port=port)


def _apply(
    folder: Path, working: Path, running: Emulator, manifest: Manifest, variables: Mapping[str, Any], *, steps: Steps
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
    with steps.step("Applying Terraform") as step:
        return apply.apply(folder, working, url=running.url, variables=given, report=step.say)


def _stack(running: Emulator, outputs: dict[str, Any], *, made_of: str, before: Stack | None = None) -> Stack:
    dynamodb, table = aws_client("dynamodb", url=running.url), outputs["clients_table"]
    if before and clients.exists(dynamodb, table, before.client_id):
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
        made_of=made_of,
    )


def _api_url(running: Emulator) -> str:
    return f"{running.url}/_aws/execute-api/{API_ID}"


def _made_of(sources: str, manifest: Manifest) -> str:
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
def _alone(folder: Path, steps: Steps | None) -> Iterator[None]:
    """Hold the folder, so that two commands never work on one local cloud; the second waits."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if steps:
                steps.note("Another command works on this local cloud: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def describe(stack: Stack, steps: Steps) -> None:
    """Tell how to use a local cloud."""
    steps.console.print(f"\nAPI     {stack.api_url}\nClient  {stack.client_id}, secret in stack.json")
    steps.console.print(f"AWS     {stack.aws_endpoint_url}, process {stack.pid}")


def _up(folder: Path) -> None:
    with Steps() as steps:
        stack = up(folder, steps=steps)
        steps.note("The local cloud is up")
    describe(stack, steps)


def _down(folder: Path) -> None:
    with Steps() as steps, steps.step("Stopping the local cloud"):
        down(folder)


def _status(folder: Path) -> None:
    describe(Stack.load(folder), Steps())


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
