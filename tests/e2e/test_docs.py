"""The examples in the guides run."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import samovar

from local.paths import ROOT
from local.stack import Stack
from tests.e2e.conftest import FOLDER


def blocks(file: str, language: str) -> str:
    """Return all examples of a guide in one language, as one program."""
    text = (ROOT / "docs" / file).read_text(encoding="utf-8")
    found = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found
    return "\n".join(found)


def test_examples_in_the_sdk_guide_run(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in (("URL", stack.api_url), ("CLIENT_ID", stack.client_id), ("CLIENT_SECRET", stack.client_secret)):
        monkeypatch.setenv(f"SAMOVAR_{name}", value)
    program = compile(blocks("sdk.md", "python"), "docs/sdk.md", "exec")
    names: dict[str, object] = {}
    exec(program, names)  # noqa: S102 (the examples are the project's own)
    client = names["client"]
    assert isinstance(client, samovar.Client)
    client.close()


def test_examples_in_the_command_line_guide_run(stack: Stack, tmp_path: Path) -> None:
    """The commands run in a new folder of the checkout, at the local cloud of the tests."""
    program = blocks("cli.md", "sh").replace("--local", f'--local --folder "{FOLDER}"')
    path = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    work = ROOT / ".samovar" / "docs"
    work.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["sh", "-euc", program],
        cwd=work,
        env={"PATH": path, "HOME": str(tmp_path), "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Ada Lovelace PERSON" in done.stdout
    assert "revoked" in done.stdout
    assert "<mark" in (work / "page.html").read_text(encoding="utf-8")
