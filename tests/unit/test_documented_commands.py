"""Every command that the documents show is one that its program understands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.command_lines import check

ROOT = Path(__file__).parents[2]
DOCUMENTS = [file for file in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if file.exists()]
COMPOSE_RUN = re.compile(r"^docker compose run (--\S+ (\"[^\"]*\" )?)*producer ")


def shown(document: Path) -> Iterator[str]:
    """Lines of shell in fenced blocks, without prompts, continued lines joined."""
    for block in re.findall(
        r"^```(?:sh|console|bash|shell)\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL
    ):
        for line in block.replace("\\\n", " ").splitlines():
            yield line.removeprefix("$ ").strip()


def commands(document: Path) -> Iterator[list[str]]:
    for line in shown(document):
        line = COMPOSE_RUN.sub("imagefleet ", line)
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        # What comes after a pipe or into a file is another program's.
        end = next((i for i, word in enumerate(words) if word in {"|", ">", "&&", "&", ";"}), len(words))
        words = words[:end]
        if words and (name := Path(words[0]).name) in {"celery", "imagefleet"}:
            yield [name, *words[1:]]
        elif words[:3] == ["python", "-m", "workers.nodes"]:
            yield words


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_documented_commands_are_understood(document: Path) -> None:
    for command in commands(document):
        try:
            check(command)
        except (click.ClickException, AssertionError) as error:
            raise AssertionError(f"{document.name} shows `{shlex.join(command)}`: {error}") from error


def test_the_commands_are_found() -> None:
    found = list(commands(ROOT / "docs" / "fleet.md"))
    assert ["imagefleet", "index", "/pictures"] in found
    assert ["imagefleet", "search", "/query.jpg"] in found
    assert ["python", "-m", "workers.nodes", "index@HOST"] in found
    assert len(found) >= 10


@pytest.mark.parametrize(
    "wrong", ["imagefleet indx /pictures", "imagefleet index --modell colour /p", "celery flower --prt=1"]
)
def test_a_wrong_command_would_be_noticed(wrong: str) -> None:
    with pytest.raises((click.ClickException, AssertionError), match=r"No such option|no command|no such options"):
        check(wrong.split())


def test_make_targets_that_documents_show_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        for line in shown(document):
            if line.startswith("make "):
                assert line.split()[1] in targets, f"{document.name} shows `{line}`"


def test_settings_that_documents_name_exist() -> None:
    from workers.settings import Settings

    known = {f"IMAGEFLEET_{name.upper()}" for name in Settings.model_fields}
    known |= {"IMAGEFLEET_STATE_DIR", "IMAGEFLEET_DEBUG"}
    # Of the tests and the benchmarks themselves.
    known |= {"IMAGEFLEET_FAULT_REPORT", "IMAGEFLEET_TEST_MILVUS_PROGRAM", "IMAGEFLEET_BENCH_FASTEMBED"}
    for document in DOCUMENTS:
        named = set(re.findall(r"IMAGEFLEET_[A-Z]+(?:_[A-Z]+)*", document.read_text()))
        assert named <= known, f"{document.name} names {sorted(named - known)}"
