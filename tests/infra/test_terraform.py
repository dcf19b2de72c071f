"""Terraform: in shape, valid, and true to the code, without an account."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from local import terraform
from shared.settings import AuthSettings, JanitorSettings, Settings, SubmitSettings, WebhookSettings, WorkerSettings

MODELS: dict[str, type[Settings]] = {
    "auth": AuthSettings,
    "janitor": JanitorSettings,
    "submit": SubmitSettings,
    "webhook": WebhookSettings,
    "worker": WorkerSettings,
}

# Shown by a run of its own: the outputs of a plan with mocked answers.
_SHOW = """
run "settings" {
  command = plan

  assert {
    condition     = keys(output.settings) == ["auth", "janitor", "submit", "webhook", "worker"]
    error_message = "Another function has settings: add its model here."
  }

  assert {
    condition = alltrue([
      for name, names in jsondecode(var.expected) : sort(keys(output.settings[name])) == sort(names)
    ])
    error_message = jsonencode({ for name, settings in output.settings : name => sort(keys(settings)) })
  }
}
"""


def run(*arguments: str, cwd: Any) -> subprocess.CompletedProcess[str]:
    command = [terraform.require_terraform(), *arguments]
    return subprocess.run(command, cwd=cwd, env=terraform.environment(), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def working() -> Any:
    folder = terraform.prepare(terraform.SCRATCH.parent)
    terraform.init(folder)
    return folder


def test_sources_are_in_shape() -> None:
    ran = run("fmt", "-check", "-diff", "-recursive", cwd=terraform.SOURCE)
    assert ran.returncode == 0, ran.stdout


def test_configuration_is_valid(working: Any) -> None:
    ran = run("validate", "-no-color", cwd=working)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_plan_is_what_it_should_be(working: Any) -> None:
    """Every assertion of terraform/tests."""
    ran = run("test", "-no-color", cwd=working)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_environment_blocks_are_the_settings_models(working: Any) -> None:
    """A variable that Terraform forgets, or that nobody reads, is found here and not at the first invoke."""
    expected = {name: sorted(field.upper() for field in model.model_fields) for name, model in MODELS.items()}
    mocks = (working / "tests" / "plan.tftest.hcl").read_text(encoding="utf-8").partition('run "queues"')[0]
    mocks = mocks.replace("variables {", f"variables {{\n  expected = {json.dumps(json.dumps(expected))}")
    test, variable = working / "tests" / "settings.tftest.hcl", working / "expected.tf"
    test.write_text(mocks + _SHOW, encoding="utf-8")
    variable.write_text('variable "expected" {\n  type = string\n}\n', encoding="utf-8")
    try:
        ran = run("test", "-no-color", "-filter=tests/settings.tftest.hcl", cwd=working)
    finally:
        test.unlink()
        variable.unlink()
    assert ran.returncode == 0, ran.stdout + ran.stderr
