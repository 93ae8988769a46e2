"""Sample pictures: the same ones each time, families apart, and queries that are held out."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from workers.local import samples


def digests(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*.jpg")}


def thumbnail(file: Path) -> NDArray[np.float64]:
    """What is left of a picture when details are gone."""
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB").resize((8, 6), Image.Resampling.BOX), dtype=np.float64)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    samples.make(folder, 12)
    return folder


def test_each_family_has_every_variant_and_a_query_beside_the_indexed_ones(drawn: Path) -> None:
    assert len(list((drawn / "pictures").rglob("*.jpg"))) == 12 * len(samples.VARIANTS)
    assert {file.stem for file in (drawn / "pictures" / "family-003").iterdir()} == set(samples.VARIANTS)
    queries = {file.stem for file in (drawn / "queries").iterdir()}
    assert queries == {folder.name for folder in (drawn / "pictures").iterdir()}


def test_no_two_files_have_the_same_bytes(drawn: Path) -> None:
    found = digests(drawn)
    assert len(set(found.values())) == len(found) == 12 * (len(samples.VARIANTS) + 1)


def test_the_same_pictures_are_drawn_each_time(drawn: Path, tmp_path: Path) -> None:
    samples.make(tmp_path, 3)
    again = digests(tmp_path)
    assert again == {path: digest for path, digest in digests(drawn).items() if path in again}


def test_pictures_that_are_there_are_left_alone(tmp_path: Path) -> None:
    samples.make(tmp_path, 1)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.jpg")}
    samples.make(tmp_path, 1)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.jpg")} == before


def test_a_query_is_nearer_to_its_own_family_than_to_any_other(drawn: Path) -> None:
    """The right answers are right to the eye, without any of our models."""
    plain = {folder.name: thumbnail(folder / "plain.jpg") for folder in (drawn / "pictures").iterdir()}
    for query in (drawn / "queries").iterdir():
        seen = thumbnail(query)
        nearest = min(plain, key=lambda family: float(np.abs(plain[family] - seen).mean()))
        assert nearest == query.stem


def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    command = [sys.executable, "-m", "workers.local.samples", str(tmp_path / "file"), "--families", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 1
    assert done.stderr.startswith("The sample pictures cannot be written to ")
    assert len(done.stderr.splitlines()) == 1
