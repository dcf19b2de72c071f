"""The command `samovar plan`, which runs the planner of the checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="the planner needs Python 3.11")
ROOT = Path(__file__).parents[2]


def run_plan(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "samovar"), "plan", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_plan_help_is_the_help_of_the_planner() -> None:
    done = run_plan("--help")
    assert (done.returncode, done.stdout.splitlines()[0][:19]) == (0, "usage: samovar plan")


def test_plan_refuses_a_missing_file_with_exit_code_2() -> None:
    done = run_plan("none.csv")
    assert done.returncode == 2
    assert "none.csv" in done.stderr


def test_plan_outside_a_checkout_says_where_to_run_it(tmp_path: Path) -> None:
    done = run_plan("office", cwd=tmp_path)
    assert done.returncode == 1
    assert "checkout" in done.stderr
