"""What the README says of settings and guarantees is what there is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import test_guarantees
from workers.settings import Settings, state_dir

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `([A-Z0-9_]+)` \| (?:`([^`]*)`)? ?\|", README, re.MULTILINE))


def written(value: Any) -> str:
    """A default as one would write it into a variable; an empty one counts as not there."""
    if value is None:
        return ""
    if hasattr(value, "get_secret_value"):
        return str(value.get_secret_value())
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).replace(str(state_dir()), "STATE_DIR")


def test_every_setting_is_in_the_table_and_nothing_else() -> None:
    assert set(ROWS) == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_default_in_the_table_is_the_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.startswith("IMAGEFLEET_"):
            monkeypatch.delenv(variable)
    default = Settings.model_fields[name].get_default(call_default_factory=True)
    assert ROWS[name.upper()] == written(default)


def test_every_guarantee_is_the_name_of_a_test() -> None:
    section = README.split("## What is guaranteed")[1].split("\n## ")[0]
    sentences = re.findall(r"^- (.+?)\.$", section, re.MULTILINE)
    assert len(sentences) >= 7
    for sentence in sentences:
        name = "test_" + re.sub(r"\W+", "_", sentence.lower())
        assert hasattr(test_guarantees, name), f"no test is called {name}"
