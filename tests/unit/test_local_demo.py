"""The demo's text: whatever is given arrives as it is, whatever cannot be used is explained."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from local.demo import TEXT, chosen_text
from local.errors import Problem

ROOT = Path(__file__).parents[2]
TRICKY = "a \"q\" 's' $HOME $(shell echo x) `echo y` $$ # 🎉 \\n ;\nsecond line %s {b}"


def test_nothing_given_is_an_example():
    assert chosen_text(text=None, file=None) == TEXT


def test_a_text_is_taken_as_it_is():
    assert chosen_text(text=TRICKY, file=None) == TRICKY


def test_a_file_is_taken_as_it_is(tmp_path: Path):
    file = tmp_path / "a b.txt"
    file.write_text(TRICKY, encoding="utf-8")
    assert chosen_text(text=None, file=file) == TRICKY


def test_text_and_file_are_too_much(tmp_path: Path):
    with pytest.raises(Problem, match="not both"):
        chosen_text(text="x", file=tmp_path)


@pytest.mark.parametrize("empty", ["", " \n"])
def test_an_empty_text_is_refused(empty: str):
    with pytest.raises(Problem, match="TEXT is empty"):
        chosen_text(text=empty, file=None)


def test_an_empty_file_is_named(tmp_path: Path):
    file = tmp_path / "empty.txt"
    file.touch()
    with pytest.raises(Problem, match=r"empty\.txt is empty"):
        chosen_text(text=None, file=file)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(Problem, match=r"nowhere\.txt cannot be read: No such file"):
        chosen_text(text=None, file=tmp_path / "nowhere.txt")


def test_a_folder_is_no_file(tmp_path: Path):
    with pytest.raises(Problem, match="Is a directory"):
        chosen_text(text=None, file=tmp_path)


def test_a_file_that_is_not_utf8_is_explained(tmp_path: Path):
    file = tmp_path / "latin.txt"
    file.write_bytes("Düsseldorf".encode("latin-1"))
    with pytest.raises(Problem, match="not UTF-8 text: byte 1"):
        chosen_text(text=None, file=file)


def test_make_hands_a_text_on_as_it_was_typed(tmp_path: Path):
    """Neither make nor the shell may expand anything in it."""
    received = _arguments_of_demo(tmp_path, f"TEXT={TRICKY}", "FILE=a b")
    assert received == ["-m", "local.demo", "--folder", ".samovar", "--text", TRICKY, "--file", "a b"]


def test_make_tells_an_empty_text_from_none(tmp_path: Path):
    assert _arguments_of_demo(tmp_path, "TEXT=")[-2:] == ["--text", ""]
    assert "--text" not in _arguments_of_demo(tmp_path)


def test_make_does_not_take_a_text_from_the_environment(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TEXT", "of some other program")
    assert "--text" not in _arguments_of_demo(tmp_path)


def _arguments_of_demo(folder: Path, *given: str) -> list[str]:
    """What `make demo` runs its Python with."""
    echo = folder / "python"
    echo.write_text('#!/bin/sh\nfor argument; do printf "%s\\0" "$argument"; done\n', encoding="utf-8")
    echo.chmod(0o755)
    command = ["make", "--silent", "--old-file=environment", f"PYTHON={echo}", "demo", *given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    return done.stdout.split("\0")[:-1]
