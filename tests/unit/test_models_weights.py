"""Finding the file of a specification."""

from __future__ import annotations

from pathlib import Path

import pytest

from models import weights
from models.errors import WeightsMismatch, WeightsMissing
from models.spec import BUILTIN, find
from tests.tiny_models import tiny


def test_a_builtin_model_needs_no_folder() -> None:
    assert weights.locate(find("colour"), Path("/nowhere")) == BUILTIN / "colour.onnx"


def test_other_models_lie_in_the_model_folder(tmp_path: Path) -> None:
    spec, file = tiny(tmp_path)
    assert weights.locate(spec, tmp_path) == file
    assert weights.read(spec, file) == file.read_bytes()


def test_a_file_that_is_not_there_is_named_with_its_folder(tmp_path: Path) -> None:
    spec, _ = tiny(tmp_path)
    with pytest.raises(WeightsMissing, match=r"tiny\.onnx, which is not in .*empty"):
        weights.locate(spec, tmp_path / "empty")
    with pytest.raises(WeightsMissing, match="no model folder"):
        weights.locate(spec)


def test_a_changed_file_is_refused_naming_both_sums(tmp_path: Path) -> None:
    spec, file = tiny(tmp_path)
    file.write_bytes(b"other")
    with pytest.raises(WeightsMismatch, match=spec.sha256):
        weights.read(spec, file)
