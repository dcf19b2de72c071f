"""Progress lines of a command, and its exit status."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from local.command import run
from local.errors import CommandError
from local.package import PackagingError
from local.progress import ProgressDisplay, format_duration
from local.terraform import TerraformMissing


def _console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    """Return a console and the file that it writes to."""
    file = io.StringIO()
    return Console(file=file, force_terminal=terminal, width=60, highlight=False), file


def test_without_a_terminal_a_step_prints_a_line_when_it_begins_and_one_when_it_ends() -> None:
    console, file = _console(terminal=False)
    with ProgressDisplay(console) as progress, progress.step("Building [all]") as step:
        step.show_detail("a detail")
    begin, end = file.getvalue().splitlines()
    assert begin == "· Building [all] …"
    assert end.startswith("✓ Building [all]  ")


def test_a_failed_step_is_marked() -> None:
    console, file = _console(terminal=False)
    with ProgressDisplay(console) as progress, pytest.raises(CommandError), progress.step("Building"):
        raise CommandError("no")
    assert "✗ Building" in file.getvalue()


def test_on_a_terminal_only_the_last_line_of_a_step_stays() -> None:
    console, file = _console(terminal=True)
    with ProgressDisplay(console) as progress, progress.step("Building"):
        pass
    assert file.getvalue().count("✓") == 1


def test_the_terminal_wraps_a_long_line() -> None:
    console, file = _console(terminal=False)
    ProgressDisplay(console).note("word " * 40)
    assert len(file.getvalue().splitlines()) == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0512, "51 ms"),
        (0.9997, "1.0 s"),
        (2.44, "2.4 s"),
        (12.4, "12 s"),
        (59.7, "1 min 0 s"),
        (92, "1 min 32 s"),
    ],
)
def test_a_duration_has_a_readable_precision(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize("cause", [CommandError, PackagingError, TerraformMissing])
def test_an_error_with_a_remedy_has_no_traceback(cause: type[Exception], capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise cause("do this [instead]")

    assert run(fail) == 1
    assert capsys.readouterr().err == "✗ do this [instead]\n"


def test_ctrl_c_ends_a_command_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    assert run(interrupt) == 130
    assert capsys.readouterr().err == "\n"


def test_a_successful_command_returns_0() -> None:
    assert run(lambda: None) == 0
