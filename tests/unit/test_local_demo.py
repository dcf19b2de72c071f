"""The text of the demo: it reaches the API unchanged, and an error explains why a text cannot be used."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from local.demo import TEXT, choose_text
from local.errors import CommandError

ROOT = Path(__file__).parents[2]
TRICKY = "a \"q\" 's' $HOME $(shell echo x) `echo y` $$ # 🎉 \\n ;\nsecond line %s {b}"


def test_the_default_text_is_an_example() -> None:
    assert choose_text(text=None, file=None) == TEXT


def test_a_text_is_not_changed() -> None:
    assert choose_text(text=TRICKY, file=None) == TRICKY


def test_the_text_of_a_file_is_not_changed(tmp_path: Path) -> None:
    file = tmp_path / "a b.txt"
    file.write_text(TRICKY, encoding="utf-8")
    assert choose_text(text=None, file=file) == TRICKY


def test_a_text_and_a_file_together_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="not both"):
        choose_text(text="x", file=tmp_path)


@pytest.mark.parametrize("empty", ["", " \n"])
def test_an_empty_text_is_an_error(empty: str) -> None:
    with pytest.raises(CommandError, match="TEXT is empty"):
        choose_text(text=empty, file=None)


def test_an_empty_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "empty.txt"
    file.touch()
    with pytest.raises(CommandError, match=r"empty\.txt is empty"):
        choose_text(text=None, file=file)


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"nowhere\.txt cannot be read: No such file"):
        choose_text(text=None, file=tmp_path / "nowhere.txt")


def test_a_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="Is a directory"):
        choose_text(text=None, file=tmp_path)


def test_a_file_that_is_not_utf8_is_an_error_that_names_the_byte(tmp_path: Path) -> None:
    file = tmp_path / "latin.txt"
    file.write_bytes("Düsseldorf".encode("latin-1"))
    with pytest.raises(CommandError, match="not UTF-8 text: byte 1"):
        choose_text(text=None, file=file)


def test_make_passes_a_text_on_unchanged(tmp_path: Path) -> None:
    """Neither make nor the shell expands anything in it."""
    received = _arguments_of_demo(tmp_path, f"TEXT={TRICKY}", "FILE=a b")
    assert received == ["-m", "local.demo", "--folder", ".samovar", "--text", TRICKY, "--file", "a b"]


def test_make_passes_an_empty_text_on_and_no_text_if_none_is_given(tmp_path: Path) -> None:
    assert _arguments_of_demo(tmp_path, "TEXT=")[-2:] == ["--text", ""]
    assert "--text" not in _arguments_of_demo(tmp_path)


def test_make_ignores_a_text_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXT", "of some other program")
    assert "--text" not in _arguments_of_demo(tmp_path)


def _arguments_of_demo(folder: Path, *given: str) -> list[str]:
    """Return the arguments that `make demo` gives to Python."""
    echo = folder / "python"
    echo.write_text('#!/bin/sh\nfor argument; do printf "%s\\0" "$argument"; done\n', encoding="utf-8")
    echo.chmod(0o755)
    command = ["make", "--silent", "--old-file=environment", f"PYTHON={echo}", "demo", *given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    return done.stdout.split("\0")[:-1]
