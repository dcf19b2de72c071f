"""Emulators: each is one module and one entry in `EMULATORS`, and no other module depends on a particular one."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from local import cloud, emulators
from local.emulators import EMULATORS, Emulator, LogEntry, RunningEmulator, emulator
from local.emulators.running import choose_port, start_process, stop_process
from local.errors import CommandError
from local.package import Manifest, ModelArtifact
from local.package.platform import Target
from local.progress import ProgressDisplay
from local.stack import Stack

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "local" / "emulators"

# Every peculiarity of an emulator that its module hides from the rest of `local/`.
QUIRKS = {
    "ministack": (
        "ms-custom-id",
        "execute-api",
        "_aws/",
        "4566",
        "BIND_HOST",
        "GATEWAY_PORT",
        "IOT_MTLS",
        "LAMBDA_WARM_TTL",
        "STATE_DIR",
        "requirements/emulator.txt",
        "WARNING|ERROR",
        "already exists",
    ),
}
# The only lines that may name an emulator outside its module.
ENTRY = re.compile(r"(from local\.emulators\.\w+ import|EMULATORS: .*=|DEFAULT =) ?")
# The emulator of these tests: a web server that answers every request.
PROGRAM = """
import sys, http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class StubEmulator:
    """A second implementation of the Protocol."""

    name = "stub"
    default_port = 1
    region = "eu-west-2"
    credentials: Mapping[str, str] = {"AWS_ACCESS_KEY_ID": "stub-id", "AWS_SECRET_ACCESS_KEY": "stub-key"}
    build_target: Target = "aws"
    terraform_variables: Mapping[str, Any] = {"tags": {"stub": "1"}}
    is_installed = False

    def compute_source_digest(self) -> str:
        return "stub-digest"

    def install(self) -> None:
        StubEmulator.is_installed = True

    def start(self, folder: Path, *, port: int | None, idle_seconds: int | None = None) -> RunningEmulator:
        chosen = choose_port(port)
        return start_process(
            self.name,
            [sys.executable, "-c", PROGRAM, str(chosen)],
            folder=folder,
            working_folder=folder,
            environment={},
            port=chosen,
            source_digest=self.compute_source_digest(),
            is_healthy=self.is_healthy,
        )

    def stop(self, folder: Path) -> None:
        stop_process(folder, remove=())

    def is_healthy(self, url: str) -> bool:
        try:
            return httpx.get(url, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def build_api_url(self, url: str) -> str:
        return f"{url}/stub-api"

    def parse_log(self, log: str) -> Iterator[LogEntry]:
        yield LogEntry(0, log)

    def is_lost_answer(self, errors: str) -> bool:
        return False

    def get_temporary_folder(self, folder: Path) -> Path:
        return folder

    def get_python_folder(self, folder: Path) -> Path:
        return folder


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """Add a second emulator to the table."""
    monkeypatch.setitem(EMULATORS, "stub", StubEmulator)
    monkeypatch.delenv(emulators.VARIABLE, raising=False)
    return StubEmulator()


def test_an_emulator_is_chosen_by_name_or_by_the_environment(stub: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    assert emulator().name == emulators.DEFAULT
    assert emulator("stub").name == "stub"
    monkeypatch.setenv(emulators.VARIABLE, "stub")
    assert emulator().name == "stub"
    assert emulator(emulators.DEFAULT).name == emulators.DEFAULT


def test_an_unknown_emulator_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(CommandError, match=r"no emulator 'none'.*SAMOVAR_EMULATOR.*ministack"):
        emulator("none")


def test_a_running_emulator_is_stopped_although_another_one_is_chosen(stub: Emulator, tmp_path: Path) -> None:
    running = stub.start(tmp_path, port=None)
    try:
        assert running.is_alive
        assert emulator().name != running.name
    finally:
        emulators.stop(tmp_path)
    assert not running.is_alive


def test_a_local_cloud_on_another_emulator_or_an_older_one_is_not_used(
    stub: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = RunningEmulator(name="stub", pid=1, started="", port=1, source_digest="stub-digest")
    assert not cloud._is_current(running)
    monkeypatch.setenv(emulators.VARIABLE, "stub")
    assert cloud._is_current(running)
    assert not cloud._is_current(running.model_copy(update={"source_digest": "older"}))


def test_a_local_cloud_is_built_and_applied_as_its_emulator_says(
    stub: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of `local/` asks the chosen emulator for its target, its variables, its URL and its credentials."""
    seen: dict[str, Any] = {}
    outputs = {"clients_table": "clients", "webhook_secrets_key_arn": "key"}

    def build(**options: Any) -> Any:
        return seen.update(target=options["target"]) or _manifest()

    def apply(folder: Path, working_folder: Path, **options: Any) -> dict[str, Any]:
        seen.update(options["variables"])
        return outputs

    monkeypatch.setenv(emulators.VARIABLE, "stub")
    monkeypatch.setattr(cloud, "build", build)
    monkeypatch.setattr("local.apply.prepare", lambda folder: folder)
    monkeypatch.setattr("local.apply.apply", apply)
    monkeypatch.setattr("local.system.require_command", lambda *_, **__: None)
    monkeypatch.setattr(cloud, "require_terraform", lambda: "")
    monkeypatch.setattr(
        cloud,
        "_find_or_register_client",
        lambda *_: dict.fromkeys(("client_id", "client_secret", "webhook_secret"), "x"),
    )
    try:
        stack = cloud.up(tmp_path, progress=ProgressDisplay(Console(quiet=True)), any_port=True)
        assert (seen["target"], seen["tags"]) == ("aws", {"stub": "1"})
        assert seen["public_url"] == stack.api_url == f"{stack.aws_endpoint_url}/stub-api"
        assert stack.aws_environment["AWS_ACCESS_KEY_ID"] == "stub-id"
        assert stack.aws_environment["AWS_REGION"] == stack.region == "eu-west-2"
        assert Stack.load(tmp_path) == stack
    finally:
        cloud.down(tmp_path)
    assert not stack.is_alive


def _manifest() -> Manifest:
    model = ModelArtifact(file="m", sha256="0", size=1, name="m", version="1")
    return Manifest(runtime="python3.13", architecture="x86_64", functions={}, layers={}, model=model)


def test_only_the_module_of_an_emulator_knows_its_quirks() -> None:
    """Otherwise a second emulator would have to change the rest of `local/`."""
    found = [
        f"{path.relative_to(ROOT)}:{number} depends on the emulator {name} ({quirk!r}). Move that into"
        f" local/emulators/{name}.py. If other modules need it, add a member to the Protocol `Emulator` in"
        " local/emulators/__init__.py and ask `emulator(…)` for it."
        for path in sorted((ROOT / "local").rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        for name, quirks in QUIRKS.items()
        if path != PACKAGE / f"{name}.py" and not _is_entry(path, line)
        for quirk in (name, *quirks)
        if quirk.lower() in line.lower()
    ]
    assert not found, "\n".join(found)


def test_the_quirks_of_every_emulator_are_listed() -> None:
    missing = set(EMULATORS) - set(QUIRKS)
    assert not missing, f"Add the quirks of {', '.join(missing)} to QUIRKS in {Path(__file__).relative_to(ROOT)}."


@pytest.mark.parametrize("name", list(QUIRKS))
def test_a_listed_quirk_is_one_of_its_emulator(name: str) -> None:
    """A quirk that the module no longer holds would weaken the test above."""
    module = (PACKAGE / f"{name}.py").read_text(encoding="utf-8").lower().replace('" / "', "/")
    unknown = [quirk for quirk in QUIRKS[name] if quirk.lower() not in module]
    assert not unknown, f"Remove {unknown} from QUIRKS: local/emulators/{name}.py does not hold it."


def _is_entry(path: Path, line: str) -> bool:
    return path == PACKAGE / "__init__.py" and ENTRY.match(line) is not None
