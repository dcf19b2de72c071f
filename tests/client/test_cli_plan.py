"""`samovar plan` is the checkout's planner: its words, and its exit status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def plan(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "samovar"), "plan", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_planner_says_what_it_takes() -> None:
    ran = plan("--help")
    assert (ran.returncode, ran.stdout.splitlines()[0][:19]) == (0, "usage: samovar plan")


def test_what_it_refuses_is_an_error() -> None:
    ran = plan("none.csv")
    assert ran.returncode == 2
    assert "none.csv" in ran.stderr


def test_outside_a_checkout_it_says_where_to_go(tmp_path: Path) -> None:
    ran = plan("office", cwd=tmp_path)
    assert ran.returncode == 1
    assert "checkout" in ran.stderr
