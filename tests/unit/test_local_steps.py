"""Progress lines, and how commands end."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from local.errors import Problem
from local.package import PackagingError
from local.steps import Steps, duration, run
from local.terraform import TerraformMissing


def _console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=60, highlight=False)


def test_without_a_terminal_a_step_is_a_line_at_its_begin_and_one_at_its_end():
    console = _console(terminal=False)
    with Steps(console) as steps, steps.step("Building [all]") as step:
        step.say("a detail")
    begin, end = console.file.getvalue().splitlines()
    assert begin == "· Building [all] …"
    assert end.startswith("✓ Building [all]  ")


def test_a_step_that_fails_says_so():
    console = _console(terminal=False)
    with Steps(console) as steps, pytest.raises(Problem), steps.step("Building"):
        raise Problem("no")
    assert "✗ Building" in console.file.getvalue()


def test_on_a_terminal_the_finished_line_stays_and_the_live_one_goes():
    console = _console(terminal=True)
    with Steps(console) as steps, steps.step("Building"):
        pass
    assert console.file.getvalue().count("✓") == 1


def test_a_long_line_is_left_to_the_terminal_to_wrap():
    console = _console(terminal=False)
    Steps(console).note("word " * 40)
    assert len(console.file.getvalue().splitlines()) == 1


@pytest.mark.parametrize(
    ("seconds", "read"),
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
def test_durations_read_as_people_say_them(seconds: float, read: str):
    assert duration(seconds) == read


@pytest.mark.parametrize("cause", [Problem, PackagingError, TerraformMissing])
def test_what_can_be_explained_has_no_traceback(cause: type[Exception], capsys):
    def fail() -> None:
        raise cause("do this [instead]")

    assert run(fail) == 1
    assert capsys.readouterr().err == "✗ do this [instead]\n"


def test_ctrl_c_ends_quietly(capsys):
    def interrupt() -> None:
        raise KeyboardInterrupt

    assert run(interrupt) == 130
    assert capsys.readouterr().err == "\n"


def test_a_command_that_ends_well_gives_0():
    assert run(lambda: None) == 0
