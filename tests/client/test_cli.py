"""The command line against an API in memory."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import click
import httpx
import pytest
import samovar
from click.testing import CliRunner, Result
from samovar.cli import analysis, cli, credentials, exits, receiver, shows
from samovar.cli.credentials import Credentials

from tests.client.api import SECRET, URL, FakeApi, hang_up
from tests.client.test_webhooks import BODY, headers
from tests.client.test_webhooks import SECRET as WEBHOOK_SECRET

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(click, "get_app_dir", lambda name: str(tmp_path / "config" / name))
    for name in (*credentials.VARIABLES.values(), credentials.WEBHOOK_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def logged_in(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    monkeypatch.setattr(Credentials, "client", lambda self: api.client())
    credentials.save(Credentials(URL, "c_1", SECRET))
    return api


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, list(arguments), input=stdin)


def test_help_waits_for_no_library() -> None:
    """What takes long to import is not imported."""
    program = "import sys, samovar.cli; print(*{'httpx', 'pydantic', 'rich', 'spacy', 'boto3'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_guide_lists_the_exit_statuses() -> None:
    listed = DOCS.read_text(encoding="utf-8")
    for status, what in exits.EXIT_STATUSES.items():
        assert f"| {status} | {what} |" in listed


def test_login_asks_for_the_secret_and_keeps_it_private(logged_in: FakeApi, home: Path) -> None:
    done = run("login", "--url", URL, "--client-id", "c_1", stdin=f"{SECRET}\n")
    assert done.exit_code == 0
    assert SECRET not in done.output
    assert credentials.file().stat().st_mode & 0o777 == 0o600
    assert credentials.load().client_secret == SECRET


def test_no_command_takes_a_secret_as_an_argument() -> None:
    assert not [
        option
        for command in cli.commands.values()
        for parameter in command.params
        for option in parameter.opts
        if "secret" in option
    ]


def test_credentials_of_the_environment_are_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials.save(Credentials(URL, "c_1", SECRET))
    monkeypatch.setenv("SAMOVAR_URL", "https://elsewhere.example")
    with pytest.raises(exits.NoCredentials, match="SAMOVAR_CLIENT_ID, SAMOVAR_CLIENT_SECRET"):
        credentials.load()
    monkeypatch.setenv("SAMOVAR_CLIENT_ID", "c_2")
    monkeypatch.setenv("SAMOVAR_CLIENT_SECRET", "sk_2")
    assert credentials.load().client_id == "c_2"
    assert "sk_2" not in repr(credentials.load())


def test_a_file_of_credentials_that_was_cut_is_told() -> None:
    credentials.save(Credentials(URL, "c_1", SECRET))
    credentials.file().write_text("{")
    with pytest.raises(exits.NoCredentials, match="again"):
        credentials.load()


def test_files_become_documents(logged_in: FakeApi, home: Path) -> None:
    (home / "a.txt").write_text("Ada")
    (home / "b.ndjson").write_text('{"id": "b", "text": "Bob"}\n')
    done = run("analyze", str(home / "a.txt"), str(home / "b.ndjson"), "-m", "a=1", "--json")
    assert done.exit_code == 0, done.output
    (job,) = logged_in.jobs.values()
    assert job["body"]["documents"] == [{"id": str(home / "a.txt"), "text": "Ada"}, {"id": "b", "text": "Bob"}]
    assert job["body"]["metadata"] == {"a": "1"}
    assert json.loads(done.stdout)["status"] == "succeeded"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("a.txt", b"\xff", "not UTF-8"), ("a.ndjson", b"{}\n", "line 1"), ("a.ndjson", b'{"text": "a"}\n[\n', "line 2")],
)
def test_files_that_cannot_be_analyzed_are_told(
    logged_in: FakeApi, home: Path, name: str, content: bytes, said: str
) -> None:
    (home / name).write_bytes(content)
    done = run("analyze", str(home / name))
    assert done.exit_code == 1
    assert said in done.output
    assert not logged_in.jobs


def test_an_interrupted_submit_says_how_to_find_the_job(logged_in: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_: httpx.Request) -> None:
        raise KeyboardInterrupt

    client = logged_in.client()
    client.authenticate()
    logged_in.before = [interrupt]
    options = {"features": None, "metadata": None, "webhook": None, "result_ttl_seconds": None, "idempotency_key": "k1"}
    with pytest.raises(exits.Stop) as caught:
        analysis._submit(client, [{"text": "Ada"}], options)
    assert caught.value.status == 130
    assert "--idempotency-key k1" in capsys.readouterr().err


def test_interrupt_before_the_progress_bar_is_shown_says_how_to_watch_the_job(
    logged_in: FakeApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job has been submitted by then, and nothing else would name it."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rich.progress.Progress.__init__", interrupt)
    job = logged_in.client().analyze("Ada")
    with pytest.raises(exits.Stop) as caught:
        analysis.follow(job, timeout=10)
    assert caught.value.status == 130
    assert f"samovar watch {job.id}" in capsys.readouterr().err


def test_reader_that_has_gone_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    """As of `samovar jobs | head -1`: click ends the program then."""
    assert exits.explained(SystemExit(1)) == 1
    assert capsys.readouterr().err == ""


def test_errors_are_a_line_and_a_status(logged_in: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    client = logged_in.client()
    client.authenticate()
    logged_in.before = [hang_up] * 6
    with pytest.raises(samovar.ConnectionFailed) as caught:
        client.analyze("Ada")
    assert exits.explained(caught.value) == 1
    assert exits.explained(RuntimeError(SECRET)) == 1
    shown = capsys.readouterr().err
    assert "No answer" in shown
    assert SECRET not in shown


def test_brackets_in_a_text_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    result = shows.Result.model_validate({"documents": [{"ents": [{"start": 0, "end": 3, "label": "PERSON"}]}]})
    shows.result(result, ["Ada [bold]x[/]"])
    assert capsys.readouterr().out == "Ada PERSON [bold]x[/]\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_completed(shell: str) -> None:
    done = run("completion", shell)
    assert done.exit_code == 0
    assert "_SAMOVAR_COMPLETE" in done.output


def test_the_receiver_prints_what_is_signed_and_refuses_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    server = receiver.Receiver(WEBHOOK_SECRET, port=0, count=1, as_json=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/"
        with httpx.Client(trust_env=False) as http:
            assert http.post(url, content=b"{}").status_code == 401
            assert http.post(url, content=b"a" * 70_000).status_code == 413
            assert http.post(url, content=BODY, headers=headers()).status_code == 204
        thread.join(5)
        assert not thread.is_alive()
    finally:
        server.server_close()
    assert "job.succeeded" in capsys.readouterr().out
