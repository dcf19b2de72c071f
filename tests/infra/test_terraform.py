"""The Terraform configuration: its format, its validity, its plan, and its agreement with the code."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from local import terraform
from tests.settings import MODELS, list_variables

# A test of Terraform that compares the output `settings` of a plan with the expected names.
_COMPARE_SETTINGS = """
run "settings" {
  command = plan

  assert {
    condition     = keys(output.settings) == ["auth", "janitor", "submit", "webhook", "worker"]
    error_message = "Another function has settings: add its model to tests/settings.py."
  }

  assert {
    condition = alltrue([
      for name, names in jsondecode(var.expected) : sort(keys(output.settings[name])) == sort(names)
    ])
    error_message = jsonencode({ for name, settings in output.settings : name => sort(keys(settings)) })
  }
}
"""


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Terraform in the folder `cwd`."""
    command = [terraform.require_terraform(), *arguments]
    return subprocess.run(
        command, cwd=cwd, env=terraform.build_environment(), capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def working_folder() -> Path:
    """Return an initialised copy of the configuration."""
    folder = terraform.prepare(terraform.SCRATCH.parent)
    terraform.init(folder)
    return folder


def test_sources_are_formatted() -> None:
    ran = run("fmt", "-check", "-diff", "-recursive", cwd=terraform.SOURCE)
    assert ran.returncode == 0, ran.stdout


def test_configuration_is_valid(working_folder: Path) -> None:
    ran = run("validate", "-no-color", cwd=working_folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_plan_passes_the_tests_of_terraform(working_folder: Path) -> None:
    """The tests are in `terraform/tests`."""
    ran = run("test", "-no-color", cwd=working_folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_environment_variables_are_the_fields_of_the_settings_models(working_folder: Path) -> None:
    """A variable that Terraform does not set would otherwise fail the first invocation."""
    expected = {name: list_variables(model) for name, model in MODELS.items()}
    tests = working_folder / "tests"
    mocks = (tests / "plan.tftest.hcl").read_text(encoding="utf-8").partition('run "queues"')[0]
    mocks = mocks.replace("variables {", f"variables {{\n  expected = {json.dumps(json.dumps(expected))}")
    test, variable = tests / "settings.tftest.hcl", working_folder / "expected.tf"
    test.write_text(mocks + _COMPARE_SETTINGS, encoding="utf-8")
    variable.write_text('variable "expected" {\n  type = string\n}\n', encoding="utf-8")
    try:
        ran = run("test", "-no-color", "-filter=tests/settings.tftest.hcl", cwd=working_folder)
    finally:
        test.unlink()
        variable.unlink()
    assert ran.returncode == 0, ran.stdout + ran.stderr
