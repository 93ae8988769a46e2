"""An export is kept only if ONNX Runtime computes what the original computes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models import check, export_pictures, weights
from models.encoder import Encoder
from models.errors import InvalidSpec
from models.export import BOUND, COMPARED, ExportRefused, export
from models.opening import Limits
from models.spec import find
from tests.export.originals import Largest, draft
from tests.pictures import draw_many


@pytest.fixture
def pictures(tmp_path: Path) -> list[bytes]:
    return [file.read_bytes() for file in draw_many(tmp_path / "pictures", 12)]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def test_an_export_is_a_model_like_any_other(models: Path, pictures: list[bytes]) -> None:
    # When
    spec, _ = export(Largest(), models, pictures)

    # Then
    assert find("largest", models) == spec
    encoder = Encoder(spec, weights.locate(spec, models))
    (vector,) = encoder.encode([encoder.prepare(pictures[0])])
    assert isinstance(vector, np.ndarray)
    assert vector.shape == (3,)


def test_nothing_but_the_model_and_its_specification_is_left(models: Path, pictures: list[bytes]) -> None:
    export(Largest(), models, pictures)
    assert {file.name for file in models.iterdir()} == {"largest.onnx", "largest.toml"}


def test_how_well_both_agree_is_told(models: Path, pictures: list[bytes]) -> None:
    _, agreement = export(Largest(wrong=BOUND / 4), models, pictures)
    assert agreement.pictures == 12
    assert agreement.difference == pytest.approx(BOUND / 4, rel=1e-3)
    assert agreement.cosine == pytest.approx(1, abs=1e-6)


def test_one_picture_goes_alone_and_the_others_together(models: Path, pictures: list[bytes]) -> None:
    original = Largest()
    export(original, models, pictures)
    assert original.seen == [1, 8, 3]


@pytest.mark.parametrize("wrong", [BOUND * 1.1, -BOUND * 1.1, float("nan"), float("inf")])
def test_another_model_than_the_original_is_refused_and_leaves_nothing(
    wrong: float, models: Path, pictures: list[bytes]
) -> None:
    with pytest.raises(ExportRefused, match=r"computes something else than the original .*nothing was written"):
        export(Largest(wrong=wrong), models, pictures)
    assert list(models.iterdir()) == []


class TurnedAround(Largest):
    """So small that no difference is above the bound, but in another direction."""

    def features(self, batch: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return super().features(batch)[:, ::-1]


def test_a_small_vector_in_another_direction_is_refused(models: Path, pictures: list[bytes]) -> None:
    rule = draft().preprocess.model_copy(update={"scale": 1e-6})
    with pytest.raises(ExportRefused, match="computes something else"):
        export(TurnedAround(draft(preprocess=rule)), models, pictures)


def test_a_fixed_batch_axis_is_refused(models: Path, pictures: list[bytes]) -> None:
    with pytest.raises(InvalidSpec, match="fixed the batch axis"):
        export(Largest(batch=1), models, pictures)
    assert list(models.iterdir()) == []


def test_what_is_no_picture_is_left_out(models: Path, pictures: list[bytes]) -> None:
    _, agreement = export(Largest(), models, [b"no picture", *pictures[:2]])
    assert agreement.pictures == 2


def test_without_any_picture_nothing_is_known_and_nothing_is_written(models: Path) -> None:
    with pytest.raises(ExportRefused, match="No picture to compare on"):
        export(Largest(), models, [b"no picture"])
    assert list(models.iterdir()) == []


def test_no_more_pictures_are_read_than_are_compared(models: Path, pictures: list[bytes]) -> None:
    # Given
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield pictures[read % 12]

    # When
    _, agreement = export(Largest(), models, endless())

    # Then
    assert (agreement.pictures, read) == (COMPARED, COMPARED)


@pytest.mark.parametrize("there", ["largest.onnx", "largest.toml"])
def test_what_is_there_is_never_replaced(there: str, models: Path, pictures: list[bytes]) -> None:
    # Given
    export(Largest(), models, pictures)
    for file in models.iterdir():
        if file.name != there:
            file.unlink()
    before = (models / there).read_bytes()

    # When
    with pytest.raises(ExportRefused, match="already"):
        export(Largest(wrong=BOUND / 2), models, pictures)

    # Then
    assert (models / there).read_bytes() == before


@pytest.mark.parametrize("name", ["mobilenetv2-int8", "../up", "Largest", "", "a" * 65])
def test_a_name_that_cannot_be_is_refused(name: str, models: Path, pictures: list[bytes]) -> None:
    with pytest.raises(ExportRefused, match="name"):
        export(Largest(draft(name=name)), models, pictures)
    assert not models.exists()


def test_an_export_carries_the_vectors_of_the_self_test(models: Path, pictures: list[bytes]) -> None:
    spec, _ = export(Largest(), models, pictures)
    assert spec.check is not None
    assert check.held(Encoder(spec, models / spec.file))


def test_titles_may_hold_any_character(models: Path, pictures: list[bytes]) -> None:
    title = 'both "quotes", \\ a backslash,\na line,\ta tab, \x7f and éü日'
    spec, _ = export(Largest(draft(title=title)), models, pictures)
    assert find("largest", models).title == spec.title == title


def test_drawn_pictures_can_be_told_apart_and_are_always_the_same() -> None:
    first, second = list(export_pictures.drawn()), list(export_pictures.drawn())
    assert first == second
    assert len(set(first)) == 8


def test_drawn_pictures_are_pictures(models: Path) -> None:
    _, agreement = export(Largest(), models, export_pictures.drawn())
    assert agreement.pictures == 8


def test_a_folder_is_read_in_order_with_its_folders(tmp_path: Path) -> None:
    files = {"b": b"4", "a": b"3", "in/d": b"5"}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert list(export_pictures.of_folder(tmp_path)) == [b"3", b"4", b"5"]


def test_a_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"12345")
    assert list(export_pictures.of_folder(tmp_path, Limits(max_file_bytes=4))) == []
