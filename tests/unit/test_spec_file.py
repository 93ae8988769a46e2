"""What is written of a specification is what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.spec import CATALOG, ExternalFile, read
from models.spec_file import write


@pytest.mark.parametrize("file", sorted(CATALOG.glob("*.toml")), ids=lambda file: file.stem)
def test_every_specification_that_ships_comes_back_the_same(file: Path, tmp_path: Path) -> None:
    write(read(file), tmp_path / "copy.toml")
    assert read(tmp_path / "copy.toml") == read(file)


def test_files_of_weights_and_odd_characters_come_back_the_same(tmp_path: Path) -> None:
    # Given
    plain = read(sorted(CATALOG.glob("*.toml"))[0])
    external = tuple(ExternalFile(file=f"part/{number}.data", sha256=f"{number:064x}") for number in range(2))
    spec = plain.model_copy(update={"external": external, "title": 'a "title"\n\\ \x7f \x01 é'})

    # When
    write(spec, tmp_path / "copy.toml")

    # Then
    assert read(tmp_path / "copy.toml") == spec
