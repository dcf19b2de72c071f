"""The SDK and the command line with the local cloud. The command line runs in a terminal."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
import samovar

from local.paths import ROOT
from local.stack import Stack
from tests.e2e.cloud_admin import CloudAdmin
from tests.e2e.conftest import FOLDER

SAMOVAR = ROOT / ".venv" / "bin" / "samovar"
TEXT = "Ada Lovelace lived in London."
BIG = "\n\n".join(f"{number}. Ada Lovelace lived in London. She wrote programs." for number in range(6000))


@pytest.fixture(scope="module")
def sdk(stack: Stack) -> Iterator[samovar.Client]:
    with samovar.Client(stack.api_url, stack.client_id, stack.client_secret) as client:
        yield client


@pytest.fixture(scope="module")
def environment(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment variables of a terminal whose user has logged in."""
    home = tmp_path_factory.mktemp("home")
    given = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color"}
    subprocess.run(
        [SAMOVAR, "login", "--local", "--folder", FOLDER], env=given, check=True, timeout=60, capture_output=True
    )
    return given


def run(environment: dict[str, str], *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SAMOVAR, *arguments], env=environment, input=stdin, capture_output=True, text=True, timeout=120, check=False
    )


def open_terminal(environment: dict[str, str], *arguments: str) -> pexpect.spawn:
    """Start the command in a terminal of its own.

    A shell gives a command in the foreground the default reaction to Ctrl-C. If the tests run in the background, they
    ignore Ctrl-C, and the command would inherit that.
    """
    return pexpect.spawn(
        str(SAMOVAR),
        list(arguments),
        env=environment,
        timeout=120,
        encoding="utf-8",
        dimensions=(30, 120),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_a_text_comes_back_analyzed(sdk: samovar.Client) -> None:
    (document,) = sdk.analyze(TEXT).wait(60).result.documents
    assert [TEXT[ent.start : ent.end] for ent in document.ents] == ["Ada Lovelace", "London"]
    assert sdk.worker["state"] in {"warm", "warming"}


def test_a_result_at_a_url_is_fetched_and_progress_is_reported(sdk: samovar.Client) -> None:
    reported: list[int] = []
    job = sdk.analyze(BIG).wait(120, on_progress=lambda job: reported.append(job.progress.done))
    assert job.data.result_url
    (document,) = job.result.documents
    assert len(document.ents) > 4000
    assert len(reported) >= 2
    assert reported[-1] == job.progress.total >= 4


def test_each_line_of_an_uploaded_file_is_a_document(sdk: samovar.Client, tmp_path: Path) -> None:
    file = tmp_path / "two.ndjson"
    file.write_text('{"id": "a", "text": "Ada"}\n{"id": "b", "text": "Bob"}\n', encoding="utf-8")
    result = sdk.analyze(upload_id=sdk.upload(file)).wait(60).result
    assert [document.id for document in result.documents] == ["a", "b"]


def test_an_ended_job_cannot_be_canceled_and_a_deleted_job_is_gone(sdk: samovar.Client) -> None:
    job = sdk.analyze(TEXT).wait(60)
    with pytest.raises(samovar.Conflict):
        job.cancel()
    job.delete()
    with pytest.raises(samovar.Gone):
        sdk.get(job.id)


def test_results_of_many_texts_are_in_the_order_of_the_texts(sdk: samovar.Client) -> None:
    texts = [f"{'Ada ' * number}wrote." for number in range(1, 25)]
    jobs = list(sdk.analyze_many(texts, concurrency=6))
    ends = [job.result.documents[0].sents[-1].end for job in jobs]
    assert ends == [len(text) for text in texts]


def test_a_wrong_secret_is_an_authentication_failure(stack: Stack) -> None:
    with (
        samovar.Client(stack.api_url, stack.client_id, "sk_wrong") as client,
        pytest.raises(samovar.AuthenticationFailed) as caught,
    ):
        client.analyze(TEXT)
    assert caught.value.error == "invalid_client"


def test_only_the_user_can_read_the_saved_credentials(environment: dict[str, str], stack: Stack) -> None:
    (kept,) = Path(environment["HOME"]).rglob("credentials.json")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert json.loads(kept.read_text())["client_id"] == stack.client_id


def test_output_for_scripts_is_json(environment: dict[str, str]) -> None:
    done = run(environment, "analyze", "-", "--json", stdin=TEXT)
    assert done.returncode == 0, done.stderr
    assert [ent["label"] for ent in json.loads(done.stdout)["result"]["documents"][0]["ents"]] == ["PERSON", "GPE"]


def test_exit_status_gives_the_kind_of_error(environment: dict[str, str], stack: Stack) -> None:
    assert run(environment, "get", "0198a0b0-0000-7000-8000-000000000001").returncode == 1
    assert run(environment, "analyze").returncode == 2
    wrong = {"SAMOVAR_URL": stack.api_url, "SAMOVAR_CLIENT_ID": stack.client_id, "SAMOVAR_CLIENT_SECRET": "sk_wrong"}
    refused = run({**environment, **wrong}, "analyze", "--text", TEXT)
    assert refused.returncode == 5
    assert "sk_wrong" not in refused.stdout + refused.stderr


def test_a_terminal_shows_progress_and_then_entities(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "big.txt"
    file.write_text(BIG, encoding="utf-8")
    terminal = open_terminal(environment, "analyze", str(file))
    terminal.expect("(queued|running)")
    terminal.expect(r"\d+/\d+")
    terminal.expect("\x1b\\[1;3\\dmAda Lovelace")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


def test_ctrl_c_leaves_a_job_to_watch(environment: dict[str, str], cloud_admin: CloudAdmin, tmp_path: Path) -> None:
    """The job continues, and the command that was printed shows the job until its end.

    No worker receives the job's shards until the command has ended, so the job cannot end before Ctrl-C.
    """
    file = tmp_path / "big.txt"
    file.write_text(BIG, encoding="utf-8")
    with cloud_admin.pause("isolated"):
        terminal = open_terminal(environment, "analyze", str(file))
        terminal.expect("(queued|running)")  # of the progress bar: the command follows the job
        terminal.sendintr()
        terminal.expect(r"samovar watch ([0-9a-f-]{36})")
        job_id = terminal.match[1]
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert terminal.exitstatus == 130
        assert not cloud_admin.get_job(job_id).is_terminal
    watched = run(environment, "watch", job_id)
    assert watched.returncode == 0, watched.stderr
    assert "succeeded" in watched.stdout


def test_a_rotated_client_has_two_secrets_and_a_revoked_one_none(
    environment: dict[str, str], stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def admin(*arguments: str) -> str:
        done = subprocess.run(
            [SAMOVAR, "admin", "clients", "--local", "--folder", FOLDER, *arguments],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def is_admitted(secret: str) -> bool:
        with samovar.Client(stack.api_url, client_id, secret) as client:
            try:
                client.authenticate()
            except samovar.AuthenticationFailed:
                return False
            return True

    created = dict(line.split() for line in admin("create", "rotating").splitlines())
    client_id, first = created["client_id"], created["client_secret"]
    second = dict(line.split() for line in admin("rotate-secret", client_id).splitlines())["client_secret"]
    assert is_admitted(first)
    assert is_admitted(second)
    third = dict(line.split() for line in admin("rotate-secret", client_id).splitlines())["client_secret"]
    assert not is_admitted(first)
    assert is_admitted(second)
    assert is_admitted(third)
    admin("revoke", client_id, "--yes")
    assert not is_admitted(third)
    (listed,) = [one for one in json.loads(admin("list", "--json")) if one["client_id"] == client_id]
    assert (listed["status"], listed["secrets"]) == ("revoked", 2)
