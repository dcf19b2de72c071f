"""The prose of product code: the counter on fixed examples and on httpx, then the limits on the product."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from tests import prose

ROOT = Path(__file__).parents[2]
TITLES = [check.title for check in prose.Measurements().checks()]


def measure(folder: Path, source: str) -> prose.Measurements:
    path = folder / "module.py"
    path.write_text(source, encoding="utf-8")
    return prose.measure([path])


@pytest.mark.parametrize("sentence", [
    "What is due is looked at.",
    "It is learnt what was taken away.",
    "Whoever may hold the job, to merge it, it is not this work.",
    "The deliveries among due items, as far as they are due for what the index says.",
    "Return the body as text, whichever way the gateway passed it.",
    "End an open job from outside, whatever the worker noted.",
    "The URL that a job is announced to; who submits it checks the URL.",
    "An SQS queue, for who receives from it.",
    "Let the caller know what to do.",
    "Return the job and\nwhat became of it.",
])  # fmt: skip
def test_a_free_relative_clause_is_found(sentence: str) -> None:
    assert prose.has_free_relative(sentence)


@pytest.mark.parametrize("sentence", [
    "Extend the leases of running jobs and report those that were lost.",
    "There is no SQS receipt to extend, so send the message again, to `isolated`.",
    "Another worker may hold the merge lease; forget its claim token.",
    "Skip stale index entries.",
    "Return None if the job cannot be claimed or is already split.",
    "Return `seconds`, limited so that the function can still answer in time.",
    "Reject a client who has no quota left.",
    "Return the jobs whose lease has expired, which the janitor releases.",
    "Return the field `what` of a problem, somewhat shortened.",
])  # fmt: skip
def test_a_plain_sentence_has_no_free_relative_clause(sentence: str) -> None:
    assert not prose.has_free_relative(sentence)


@pytest.mark.parametrize("sentence", [
    "Of `bucket`; the client is built at first use.",
    "As much of a wait as leaves time to answer.",
    "Whether the job has ended.",
    "How long to wait, in seconds.",
    "When the job was queued.",
    "Where leases are kept.",
    "In one transaction: neither is ever there without the other.",
    '"What" in quotes.',
])  # fmt: skip
def test_an_opening_preposition_or_wh_word_is_found(sentence: str) -> None:
    assert prose.has_weak_opening(sentence)


@pytest.mark.parametrize("sentence", [
    "Use the bucket `bucket`.",
    "Return whether the job has ended.",
    "The consumer side of an SQS queue.",
    "On-token warming: a client that fetches a token starts the warm-up.",
    "`of` is the key.",
    "Information about a job.",
    "",
])  # fmt: skip
def test_a_verb_or_noun_is_a_good_opening(sentence: str) -> None:
    assert not prose.has_weak_opening(sentence)


@pytest.mark.parametrize(
    "name", ["packed", "shown", "checked_addresses", "_made_of", "left", "_unannounced", "written_at"]
)
def test_a_participle_name_is_found(name: str) -> None:
    assert prose.is_participle_name(name)


@pytest.mark.parametrize("name", [
    "pack", "check_addresses", "is_packed", "has_ended", "_is_shown", "put", "read", "split", "set_value", "embed",
    "need", "feed_pipe", "proceed", "look_at_ended", "__init__", "__enter__", "_",
])  # fmt: skip
def test_a_verb_noun_or_predicate_is_no_participle(name: str) -> None:
    assert not prose.is_participle_name(name)


def test_every_kind_of_docstring_counts_with_its_line_and_sentence(tmp_path: Path) -> None:
    found = measure(tmp_path, '''"""What a module holds."""

class Job:
    """A job. It holds what is due."""

    @property
    def state(self):
        """Where it is."""

    async def run(self):
        """Run the job.

        What comes of it is stored.
        """

def silent(): ...
''')  # fmt: skip
    path = tmp_path / "module.py"
    assert found.docstrings == 4
    assert [str(finding) for finding in found.free_relatives] == [
        f"{path}:1: What a module holds.",
        f"{path}:4: It holds what is due.",
    ]
    assert [str(finding) for finding in found.openings] == [
        f"{path}:1: What a module holds.",
        f"{path}:8: Where it is.",
    ]
    assert str(found.free_relatives_anywhere[-1]) == f"{path}:11: What comes of it is stored."


def test_a_function_is_as_long_as_its_lines_without_decorators(tmp_path: Path) -> None:
    found = measure(tmp_path, "@cache\n@other\ndef f(\n    a,\n):\n    return a\n")
    assert (found.median, found.p95, found.longest) == (4, 4, 4)
    assert [lines for lines, _ in found.modules] == [6]


def test_a_check_over_its_limit_names_the_place_and_the_remedy(tmp_path: Path) -> None:
    checks = measure(tmp_path, "def packed():\n    pass\n").checks()
    [failed] = [check for check in checks if not check.is_passed]
    assert failed.measured == 100
    assert f"{tmp_path / 'module.py'}:1: packed" in failed.message
    assert "Name a function by a verb" in failed.message


def test_files_without_docstrings_or_functions_pass(tmp_path: Path) -> None:
    assert all(check.is_passed for check in measure(tmp_path, "").checks())


def test_a_file_that_is_not_python_is_named(tmp_path: Path) -> None:
    with pytest.raises(SyntaxError) as caught:
        measure(tmp_path, "def\n")
    assert caught.value.filename == str(tmp_path / "module.py")


def test_the_command_prints_findings_and_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "module.py").write_text('"""Of `bucket`."""\n', encoding="utf-8")
    assert prose.main([str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert f"{tmp_path / 'module.py'}:1: Of `bucket`." in printed
    assert "1 modules, 1 docstrings, 0 functions" in printed
    assert "OVER docstrings opened by a preposition or wh-word: 100 % (limit 2 %)" in printed


def test_the_command_succeeds_within_the_limits(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text('"""Constants of the queue."""\n', encoding="utf-8")
    assert prose.main([str(tmp_path)]) == 0


def test_the_command_refuses_a_missing_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        prose.main([str(tmp_path / "missing")])
    assert caught.value.code == 2
    assert f"no such file or folder: {tmp_path / 'missing'}" in capsys.readouterr().err


def test_product_code_is_found_without_git(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "shared", tmp_path / "shared", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in prose.PRODUCT[1:]:
        (tmp_path / folder).mkdir(parents=True)
    found = {path.relative_to(tmp_path) for path in prose.product_files(tmp_path)}
    assert Path("shared/errors.py") in found


def test_httpx_has_the_calibrated_figures() -> None:
    spec = importlib.util.find_spec("httpx")
    assert spec is not None
    assert spec.origin is not None
    found = prose.measure(prose.python_files([Path(spec.origin).parent]))
    percent = {check.title: check.measured for check in found.checks()}
    assert percent["docstrings with a free relative clause"] == pytest.approx(0.0, abs=1)
    assert percent["docstrings opened by a preposition or wh-word"] == pytest.approx(0.9, abs=1)
    assert percent["functions named by a participle"] == pytest.approx(0.7, abs=1)
    assert [found.median, found.p95, found.longest] == pytest.approx([9, 47, 133], rel=0.1)


@pytest.fixture(scope="module")
def product() -> prose.Measurements:
    return prose.measure(prose.product_files(Path(os.path.relpath(ROOT))))


def test_every_product_folder_is_measured() -> None:
    files = prose.product_files(ROOT)
    for folder in prose.PRODUCT:
        assert any(path.is_relative_to(ROOT / folder) for path in files), f"no Python file in {folder}"


@pytest.mark.parametrize("title", TITLES)
def test_product_code_keeps_the_limit_on(title: str, product: prose.Measurements) -> None:
    [check] = [check for check in product.checks() if check.title == title]
    if not check.is_passed:
        pytest.fail(check.message, pytrace=False)
