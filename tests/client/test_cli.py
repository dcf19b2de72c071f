"""The command line, with an API in memory."""

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
from samovar.cli import analysis, cli, credentials, exit_codes, receiver, render
from samovar.cli.credentials import Credentials
from samovar.models import Document, Span, Stats
from samovar.models import Result as JobResult

from tests.client.api import SECRET, URL, FakeApi, hang_up
from tests.client.test_webhooks import BODY, sign_headers
from tests.client.test_webhooks import SECRET as WEBHOOK_SECRET

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home folder without credentials, in an environment without credentials."""
    monkeypatch.setattr(click, "get_app_dir", lambda name: str(tmp_path / "config" / name))
    for name in (*credentials.VARIABLES.values(), credentials.WEBHOOK_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def logged_in(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """Return an API that the command line is logged in to."""
    monkeypatch.setattr(Credentials, "create_client", lambda self: api.client())
    credentials.save(Credentials(URL, "c_1", SECRET))
    return api


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, list(arguments), input=stdin)


def test_help_imports_no_slow_library() -> None:
    program = "import sys, samovar.cli; print(*{'httpx', 'pydantic', 'rich', 'spacy', 'boto3'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_guide_lists_the_exit_codes() -> None:
    guide = DOCS.read_text(encoding="utf-8")
    for code, meaning in exit_codes.EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in guide


def test_login_asks_for_the_secret_and_saves_it_for_its_owner_only(logged_in: FakeApi, home: Path) -> None:
    done = run("login", "--url", URL, "--client-id", "c_1", stdin=f"{SECRET}\n")
    assert done.exit_code == 0
    assert SECRET not in done.output
    assert credentials.get_path().stat().st_mode & 0o777 == 0o600
    assert credentials.load().client_secret == SECRET


def test_no_command_has_an_option_for_a_secret() -> None:
    assert not [
        option
        for command in cli.commands.values()
        for parameter in command.params
        for option in parameter.opts
        if "secret" in option
    ]


def test_incomplete_credentials_in_the_environment_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials.save(Credentials(URL, "c_1", SECRET))
    monkeypatch.setenv("SAMOVAR_URL", "https://elsewhere.example")
    with pytest.raises(exit_codes.NoCredentials, match="SAMOVAR_CLIENT_ID, SAMOVAR_CLIENT_SECRET"):
        credentials.load()
    monkeypatch.setenv("SAMOVAR_CLIENT_ID", "c_2")
    monkeypatch.setenv("SAMOVAR_CLIENT_SECRET", "sk_2")
    assert credentials.load().client_id == "c_2"
    assert "sk_2" not in repr(credentials.load())


def test_a_damaged_credentials_file_asks_for_a_new_login() -> None:
    credentials.save(Credentials(URL, "c_1", SECRET))
    credentials.get_path().write_text("{")
    with pytest.raises(exit_codes.NoCredentials, match="again"):
        credentials.load()


def test_analyze_submits_each_file_and_each_ndjson_line_as_a_document(logged_in: FakeApi, home: Path) -> None:
    (home / "a.txt").write_text("Ada")
    (home / "b.ndjson").write_text('{"id": "b", "text": "Bob"}\n')
    done = run("analyze", str(home / "a.txt"), str(home / "b.ndjson"), "-m", "a=1", "--json")
    assert done.exit_code == 0, done.output
    (job,) = logged_in.jobs.values()
    assert job["body"]["documents"] == [{"id": str(home / "a.txt"), "text": "Ada"}, {"id": "b", "text": "Bob"}]
    assert job["body"]["metadata"] == {"a": "1"}
    assert json.loads(done.stdout)["status"] == "succeeded"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("a.txt", b"\xff", "not UTF-8"), ("a.ndjson", b"{}\n", "line 1"), ("a.ndjson", b'{"text": "a"}\n[\n', "line 2")],
)
def test_analyze_refuses_invalid_files_and_submits_nothing(
    logged_in: FakeApi, home: Path, name: str, content: bytes, message: str
) -> None:
    (home / name).write_bytes(content)
    done = run("analyze", str(home / name))
    assert done.exit_code == 1
    assert message in done.output
    assert not logged_in.jobs


def test_an_interrupted_submit_prints_the_idempotency_key(
    logged_in: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: httpx.Request) -> None:
        raise KeyboardInterrupt

    client = logged_in.authenticated_client()
    logged_in.before = [interrupt]
    options = {"features": None, "metadata": None, "webhook": None, "result_ttl_seconds": None, "idempotency_key": "k1"}
    with pytest.raises(exit_codes.CommandExit) as caught:
        analysis._submit(client, [{"text": "Ada"}], options)
    assert caught.value.exit_code == 130
    assert "--idempotency-key k1" in capsys.readouterr().err


def test_ctrl_c_before_the_progress_bar_appears_prints_how_to_watch_the_job(
    logged_in: FakeApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job has been submitted by then, and nothing else would name it."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rich.progress.Progress.__init__", interrupt)
    job = logged_in.client().analyze("Ada")
    with pytest.raises(exit_codes.CommandExit) as caught:
        analysis.follow(job, timeout=10)
    assert caught.value.exit_code == 130
    assert f"samovar watch {job.id}" in capsys.readouterr().err


def test_a_closed_pipe_prints_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """In `samovar jobs | head -1`, click ends the program with SystemExit."""
    assert exit_codes.report_error(SystemExit(1)) == 1
    assert capsys.readouterr().err == ""


def test_an_error_prints_one_line_and_returns_an_exit_code(
    logged_in: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    client = logged_in.authenticated_client()
    logged_in.before = [hang_up] * 6
    with pytest.raises(samovar.ConnectionFailed) as caught:
        client.analyze("Ada")
    assert exit_codes.report_error(caught.value) == 1
    assert exit_codes.report_error(RuntimeError(SECRET)) == 1
    printed = capsys.readouterr().err
    assert "No answer from the API" in printed
    assert SECRET not in printed


def test_brackets_in_a_text_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    result = JobResult(documents=[Document(ents=[Span(start=0, end=3, label="PERSON")])])
    render.print_result(result, texts=["Ada [bold]x[/]"])
    assert capsys.readouterr().out == "Ada PERSON [bold]x[/]\n"


def test_analyze_prints_the_counts_of_the_feature_stats(logged_in: FakeApi) -> None:
    done = run("analyze", "--text", "Ada wrote.", "--feature", "stats")
    assert done.exit_code == 0, done.output
    assert done.stdout == "Ada wrote.\ncharacters: 10, words: 2, sentences: 1, entities: 1 (X 1)\n"


def test_a_text_without_entities_has_zero_in_its_printed_counts(capsys: pytest.CaptureFixture[str]) -> None:
    stats = Stats(characters=3, words=1, sentences=1, ents={})
    render.print_result(JobResult(documents=[Document(stats=stats)]), texts=["one"])
    assert capsys.readouterr().out == "one\ncharacters: 3, words: 1, sentences: 1, entities: 0\n"


def test_view_fetches_the_texts_and_prints_them_with_entities(logged_in: FakeApi) -> None:
    job = logged_in.client().analyze(documents=["Ada", {"id": "b", "text": "Bob"}]).wait()
    done = run("view", job.id)
    assert done.exit_code == 0, done.output
    assert done.stdout == "Ada X\n── b\nBob X\n"


def test_view_fetches_no_input_if_the_result_contains_the_texts(logged_in: FakeApi) -> None:
    job = logged_in.client().analyze("Ada", features=["ents", "tokens"]).wait()
    assert run("view", job.id).stdout == "Ada X\n"
    assert not logged_in.find_requests(f"/jobs/{job.id}/input")


def test_view_html_writes_a_page_with_the_entities(logged_in: FakeApi, home: Path) -> None:
    pytest.importorskip("spacy")
    job = logged_in.client().analyze("Ada").wait()
    done = run("view", job.id, "--html", str(home / "page.html"))
    assert done.exit_code == 0, done.output
    assert "<mark" in (home / "page.html").read_text(encoding="utf-8")


def test_input_prints_the_text_as_it_was_submitted(logged_in: FakeApi) -> None:
    job = logged_in.client().analyze("Ada\r\n[bold]wrote[/]\n")
    assert run("input", job.id).stdout_bytes == b"Ada\r\n[bold]wrote[/]\n"


def test_input_prints_the_id_of_a_document_above_its_text(logged_in: FakeApi) -> None:
    job = logged_in.client().analyze(documents=["Ada", {"id": "b", "text": "Bob"}])
    assert run("input", job.id).stdout == "Ada\n── b\nBob\n"


def test_input_as_json_has_the_fields_of_the_api(logged_in: FakeApi) -> None:
    documents = [{"text": "Ada"}, {"id": "b", "text": "Bob"}]
    job = logged_in.client().analyze(documents=documents)
    assert json.loads(run("input", job.id, "--json").stdout) == {"documents": documents}


def test_input_of_a_deleted_job_is_an_error(logged_in: FakeApi) -> None:
    job = logged_in.client().analyze("Ada")
    job.delete()
    assert isinstance(run("input", job.id).exception, samovar.Gone)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_each_shell(shell: str) -> None:
    done = run("completion", shell)
    assert done.exit_code == 0
    assert "_SAMOVAR_COMPLETE" in done.output


def test_the_receiver_prints_signed_events_and_refuses_other_requests(capsys: pytest.CaptureFixture[str]) -> None:
    server = receiver.Receiver(WEBHOOK_SECRET, port=0, count=1, as_json=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/"
        with httpx.Client(trust_env=False) as http:
            assert http.post(url, content=b"{}").status_code == 401
            assert http.post(url, content=b"a" * 70_000).status_code == 413
            assert http.post(url, content=BODY, headers=sign_headers()).status_code == 204
        thread.join(5)
        assert not thread.is_alive()
    finally:
        server.server_close()
    assert "job.succeeded" in capsys.readouterr().out
