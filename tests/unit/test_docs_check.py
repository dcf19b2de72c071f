"""The checks of the documentation: they report wrong links and commands, and accept correct ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from local.docs import mermaid, site
from local.docs.commands import check_commands, split_commands
from local.docs.links import check_links
from local.docs.pages import ROOT, Page, Repository, Snippet, make_slug

MAKEFILE = """\
SIZE ?= small
IGNORED := yes

up: environment ## Start
down: ; @echo "$(SIZE)"
"""
REPOSITORY = Repository(
    frozenset({"Makefile", "README.md", "docs/api.md", "docs/adr/0001-first.md", "local/cloud.py", "bench/__main__.py"})
)


def links(path: str, text: str, **others: str) -> list[str]:
    """Check the links of a page beside docs/api.md, whose text may be given."""
    pages = {path: Page(path, text), "docs/api.md": Page("docs/api.md", others.get("api", "# The API"))}
    return [problem.message for problem in check_links({path: pages[path], **pages}, REPOSITORY)]


def commands(text: str, path: str = "README.md") -> list[str]:
    """Check the commands and paths of a page."""
    return [problem.message for problem in check_commands(Page(path, text), REPOSITORY, makefile=MAKEFILE)]


class TestLinks:
    @pytest.mark.parametrize(
        "link", ["docs/api.md", "docs/api.md#the-api", "docs", "docs/", "#here", "./README.md", "docs/../README.md"]
    )
    def test_link_to_a_file_a_folder_or_an_anchor_is_fine(self, link: str) -> None:
        assert links("README.md", f"# Here\n\n[text]({link})") == []

    @pytest.mark.parametrize("link", ["https://example.com/nothing", "mailto:a@example.com", "//example.com"])
    def test_link_to_another_site_is_not_followed(self, link: str) -> None:
        assert links("README.md", f"[text]({link})") == []

    def test_link_is_relative_to_its_page(self) -> None:
        assert links("docs/adr/0001-first.md", "[up](../api.md) [root](../../README.md)") == []
        (message,) = links("docs/adr/0001-first.md", "[up](docs/api.md)")
        assert "`docs/adr/docs/api.md`, which is not in the repository" in message

    @pytest.mark.parametrize("link", ["docs/none.md", "../README.md", "README", "docs/API.md"])
    def test_file_that_does_not_exist_is_a_problem(self, link: str) -> None:
        (message,) = links("README.md", f"[text]({link})")
        assert f"`{link}`" in message

    def test_image_that_does_not_exist_is_a_problem(self) -> None:
        assert len(links("README.md", "![a picture](docs/none.svg)")) == 1

    def test_link_in_a_reference_or_a_table_is_checked(self) -> None:
        assert len(links("README.md", "[text][name]\n\n[name]: none.md\n\n| a |\n|---|\n| [text](none.md) |")) == 2

    def test_anchor_that_does_not_exist_is_a_problem(self) -> None:
        (message,) = links("README.md", "[text](docs/api.md#the-sdk)")
        assert "an anchor that `docs/api.md` does not have" in message

    def test_absolute_path_is_a_problem(self) -> None:
        (message,) = links("README.md", "[text](/docs/api.md)")
        assert "relative" in message

    def test_link_in_code_is_no_link(self) -> None:
        assert links("README.md", "`[text](none.md)`\n\n```\n[text](none.md)\n```") == []

    def test_problem_names_the_line(self) -> None:
        page = Page("README.md", "# Title\n\nOne\ntwo [text](none.md).\n")
        (problem,) = check_links({page.path: page}, REPOSITORY)
        assert str(problem).startswith("README.md:4: ")


class TestAnchors:
    @pytest.mark.parametrize(
        ("heading", "slug"),
        [
            ("What it models, and what not", "what-it-models-and-what-not"),
            ("The article's figures", "the-articles-figures"),
            ("0002. Keep: `this`", "0002-keep-this"),
            ("A & B", "a--b"),
            ("snake_case", "snake_case"),
        ],
    )
    def test_slug_is_the_one_of_github(self, heading: str, slug: str) -> None:
        assert make_slug(heading.replace("`", "")) == slug
        assert Page("a.md", f"## {heading}\n").anchors == {slug}

    def test_second_heading_of_a_name_has_a_number(self) -> None:
        assert Page("a.md", "# Same\n\n# Same\n\n# Same\n").anchors == {"same", "same-1", "same-2"}

    def test_anchor_may_be_written_in_html(self) -> None:
        assert "here" in Page("a.md", 'Text <a id="here"></a>.\n').anchors


class TestMake:
    @pytest.mark.parametrize(
        "text", ["`make`", "`make up`", "`make SIZE=big up down`", "`make TARGET`", "`make -n up`"]
    )
    def test_target_of_the_makefile_is_fine(self, text: str) -> None:
        assert commands(text) == []

    @pytest.mark.parametrize("text", ["`make upp`", "`make up none`", "```sh\ncd x && make none # so\n```"])
    def test_target_that_does_not_exist_is_a_problem(self, text: str) -> None:
        (message,) = commands(text)
        assert "Its targets are down, up" in message

    def test_variable_that_the_makefile_does_not_read_is_a_problem(self) -> None:
        (message,) = commands("`make up COLOUR=red`")
        assert "no variable `COLOUR`" in message

    def test_comment_is_no_command(self) -> None:
        assert commands("```sh\nmake up   # or: make none\n```") == []

    def test_other_languages_are_not_shell(self) -> None:
        assert commands("```python\nmake = none\n```\n\n```\nmake none\n```") == []


class TestModules:
    @pytest.mark.parametrize("module", ["local.cloud", "bench", "venv", "pytest"])
    def test_module_that_runs_is_fine(self, module: str) -> None:
        assert commands(f"`python -m {module} --help` and `.venv/bin/python -m {module}`") == []

    @pytest.mark.parametrize("module", ["local.none", "local", "none_of_that_name"])
    def test_module_that_cannot_run_is_a_problem(self, module: str) -> None:
        (message,) = commands(f"`python3 -m {module}`")
        assert f"`python -m {module}` cannot run" in message


class TestSamovar:
    @pytest.mark.parametrize(
        "command",
        [
            "samovar",
            "samovar --help",
            "samovar SUBCOMMAND",
            ".venv/bin/samovar login --local --folder x",
            "samovar analyze - --feature ents -f tokens --json",
            "samovar admin clients --local create NAME",
            "samovar plan office --clients 40",
        ],
    )
    def test_command_that_exists_is_fine(self, command: str) -> None:
        assert commands(f"`{command}`") == []

    @pytest.mark.parametrize(
        ("command", "message"),
        [
            ("samovar analyse a.txt", "`samovar` has no subcommand `analyse`."),
            (".venv/bin/samovar login --locally", "`samovar login` has no option `--locally`."),
            ("samovar admin clients none", "`samovar admin clients` has no subcommand `none`."),
            ("samovar admin --local clients", "`samovar admin` has no option `--local`."),
        ],
    )
    def test_command_that_does_not_exist_is_a_problem(self, command: str, message: str) -> None:
        assert [found[: len(message)] for found in commands(f"`{command}`")] == [message]

    def test_command_in_a_substitution_is_checked(self) -> None:
        assert len(commands('```sh\nID=$(samovar analyze "a b.txt" --no-weight)\n```')) == 1


class TestPaths:
    @pytest.mark.parametrize(
        "path",
        ["docs/api.md", "docs/", "local/cloud.py", "cloud.py", "docs/adr/*.md", "local/cloud.py::main", "README.md",
         "notes.txt", "text/plain", ".samovar/site", "inputs/<id>", "/etc", "a/b"],
    )  # fmt: skip
    def test_path_that_exists_or_is_no_path_of_the_repository_is_fine(self, path: str) -> None:
        assert commands(f"`{path}`") == []

    @pytest.mark.parametrize("path", ["docs/none.md", "local/none/", "none.py", "shared/cloud.py", "docs/none/*.md"])
    def test_path_that_does_not_exist_is_a_problem(self, path: str) -> None:
        (message,) = commands(f"`{path}`")
        assert message.startswith(f"`{path}` looks like a path")

    def test_changelog_may_name_removed_paths(self) -> None:
        assert commands("`local/none.py` and `make none`", path="CHANGELOG.md") == []


class TestShell:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a b", [["a", "b"]]),
            ("a 'b; c' | d && e", [["a", "b; c"], ["d"], ["e"]]),
            ("a \\\n  b\nc", [["a", "b"], ["c"]]),
            ("a # b\nc", [["a"], ["c"]]),
            ("it's", [["it's"]]),
        ],
    )
    def test_text_is_split_into_simple_commands(self, text: str, expected: Sequence[Sequence[str]]) -> None:
        assert [words for _, words in split_commands(Snippet(1, text))] == expected

    def test_each_command_has_its_line(self) -> None:
        assert [line for line, _ in split_commands(Snippet(7, "a\n\nb \\\n c\nd"))] == [7, 9, 11]


class TestSite:
    PAGES = frozenset({"index.md", "api.md", "architecture.md", "adr/README.md", "adr/0001-first.md", "warming.svg"})

    def adapt(self, markdown: str, page: str = "api.md") -> str:
        return site.adapt_links(markdown, page=page, pages=self.PAGES)

    def test_link_to_a_page_of_the_root_leads_to_its_place_in_the_site(self) -> None:
        assert self.adapt("[a](../ARCHITECTURE.md#data)") == "[a](architecture.md#data)"
        assert self.adapt("[a](../../README.md)", "adr/0001-first.md") == "[a](../index.md)"

    def test_link_of_a_page_of_the_root_is_relative_to_its_place_in_the_site(self) -> None:
        assert self.adapt("[a](docs/api.md) [b](docs/adr/)", "architecture.md") == "[a](api.md) [b](adr/README.md)"

    def test_link_to_a_file_that_the_site_lacks_becomes_text(self) -> None:
        assert self.adapt("[the variables](../terraform/variables.tf)") == "the variables (`terraform/variables.tf`)"

    def test_images_other_sites_and_anchors_stay(self) -> None:
        unchanged = "![a](warming.svg) [b](https://example.com) [c](#here)"
        assert self.adapt(unchanged) == unchanged

    def test_code_stays(self) -> None:
        code = "```\n[a](../ARCHITECTURE.md)\n```\n"
        assert self.adapt(f"{code}[a](../ARCHITECTURE.md)\n{code}") == f"{code}[a](architecture.md)\n{code}"

    def test_text_of_a_link_may_go_over_two_lines(self) -> None:
        assert self.adapt("[the\nwalk](../ARCHITECTURE.md)") == "[the\nwalk](architecture.md)"

    def test_pattern_in_the_navigation_stands_for_the_pages_that_it_matches(self) -> None:
        nav = [{"Home": "index.md"}, {"Decisions": ["adr/README.md", "adr/0*.md"]}, {"Same": "adr/0*.md"}]
        found = site.expand(nav, ["adr/0002-b.md", "adr/0001-a.md", "index.md"])
        records = ["adr/0001-a.md", "adr/0002-b.md"]
        assert found == [{"Home": "index.md"}, {"Decisions": ["adr/README.md", *records]}, {"Same": records}]


class TestDecisions:
    RECORDS = sorted(path.name for path in (ROOT / "docs" / "adr").glob("[0-9]*.md"))

    def test_numbers_are_given_once_and_in_order(self) -> None:
        assert [name[:4] for name in self.RECORDS] == [f"{number + 1:04}" for number in range(len(self.RECORDS))]

    def test_index_lists_every_record_under_its_title(self) -> None:
        index = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
        for name in self.RECORDS:
            title = (ROOT / "docs" / "adr" / name).read_text(encoding="utf-8").splitlines()[0]
            assert f"| [{name[:4]}]({name}) | {title.removeprefix(f'# {name[:4]}. ')} |" in index


class TestMermaid:
    def fetch(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, npm: str | None) -> None:
        """Fetch into an empty folder, with a shell script in place of npm."""
        monkeypatch.setattr(mermaid, "SCRIPT", tmp_path / "script.js")
        if npm is None:
            monkeypatch.setenv("PATH", "")
        else:
            (tmp_path / "npm").write_text(f"#!/bin/sh\n{npm}\n", encoding="utf-8")
            (tmp_path / "npm").chmod(0o755)
            monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        mermaid.fetch()

    @pytest.mark.parametrize(
        ("npm", "message"),
        [
            (None, "no npm on the PATH"),
            ("echo no network >&2; exit 1", "npm cannot fetch mermaid .*: no network"),
            ("echo another package > mermaid.tgz", "mermaid.tgz does not have the digest in mermaid.py"),
        ],
    )
    def test_error_gives_the_reason_if_the_script_cannot_be_fetched(
        self, npm: str | None, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        with pytest.raises(mermaid.MermaidMissing, match=message):
            self.fetch(monkeypatch, tmp_path, npm=npm)
        assert not mermaid.SCRIPT.exists()

    def test_script_that_was_fetched_is_kept(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "script.js").touch()
        self.fetch(monkeypatch, tmp_path, npm="exit 1")
