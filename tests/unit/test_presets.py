"""Each preset does to a picture what its training did, number by number."""

from __future__ import annotations

import json
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from models.opening import Limits
from models.preprocess import prepare
from models.presets import NAMES, preset
from models.spec import FeatureSpec, InputSpec, ModelSpec
from tests import reference_preprocessing as reference

#: How they were made is told in tests.reference_preprocessing.
NUMBERS: dict[str, list[list[float]]] = json.loads(reference.NUMBERS.read_text(encoding="utf-8"))
CASES = [(name, number) for name in NUMBERS for number in range(len(reference.PICTURES))]
#: What one level of 8 bits is worth, at most, after the preset.
LEVEL = {"imagenet": 1 / 255 / 0.224, "keras-caffe": 1.0, "keras-tf": 1 / 127.5, "clip": 1 / 255 / 0.26130258,
         "unit": 1 / 255, "pixels": 1.0}  # fmt: skip


def spec(name: str, height: int, width: int, layout: Literal["NCHW", "NHWC"] = "NHWC") -> ModelSpec:
    return ModelSpec(
        name="tiny",
        title="None",
        licence="None",
        source="None",
        file="tiny.onnx",
        sha256="0" * 64,
        input=InputSpec(tensor="x", layout=layout, height=height, width=width),
        preprocess=preset(name, height, width),
        feature=FeatureSpec(tensor="y", dimension=1),
    )


def ppm(rows: reference.Rows) -> bytes:
    body = bytes(channel for row in rows for pixel in row for channel in pixel)
    return b"P6 %d %d 255\n" % (len(rows[0]), len(rows)) + body


def ours(model: ModelSpec, rows: reference.Rows) -> NDArray[np.float64]:
    return prepare(ppm(rows), model, Limits()).array.astype(np.float64)


def cosine(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    return float((left * right).sum() / np.linalg.norm(left) / np.linalg.norm(right))


def test_there_are_numbers_for_every_preset() -> None:
    assert set(NUMBERS) == set(NAMES)


def test_the_numbers_are_those_of_the_reference() -> None:
    assert reference.numbers() == NUMBERS


@pytest.mark.parametrize(("name", "number"), CASES)
def test_a_preset_gives_the_numbers_that_are_written_down(name: str, number: int) -> None:
    side = reference.SIDE
    expected = np.array(NUMBERS[name][number]).reshape(side, side, 3)
    found = ours(spec(name, side, side), reference.picture(*reference.PICTURES[number]))
    assert cosine(found, expected) == pytest.approx(1, abs=1e-4)
    assert (abs(found - expected) <= LEVEL[name] + 2e-5).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [*reference.PICTURES, (90, 70)])
def test_a_preset_gives_exactly_what_the_reference_gives_in_one_of_the_two_orders(
    name: str, size: tuple[int, int]
) -> None:
    rows = reference.picture(*size)
    found = ours(spec(name, 64, 64, layout="NCHW"), rows).transpose(1, 2, 0)
    orders = (np.array(reference.prepared(name, rows, 64, columns_first)) for columns_first in (False, True))
    assert min(float(abs(found - expected).max()) for expected in orders) < 2e-5


def test_wrong_channels_mean_or_size_are_farther_off_than_the_bound() -> None:
    # So that the bound of the tests above means something
    side = reference.SIDE
    rows = reference.picture(*reference.PICTURES[0])
    right = {name: np.array(NUMBERS[name][0]).reshape(side, side, 3) for name in NAMES}
    assert cosine(ours(spec("imagenet", side, side), rows), right["unit"]) < 0.999
    assert cosine(right["keras-caffe"][..., ::-1], right["keras-caffe"]) < 0.999
    rounded = spec("clip", side, side)
    rounded = rounded.model_copy(update={"preprocess": rounded.preprocess.model_copy(update={"longer": "round"})})
    assert cosine(ours(rounded, rows), right["clip"]) < 0.999


@pytest.mark.parametrize(
    ("name", "sides", "expected"),
    [
        ("imagenet", (224, 224), 256),
        ("keras-tf", (299, 299), 342),
        ("clip", (336, 336), 336),
        ("unit", (160, 200), 229),
    ],
)
def test_the_side_before_the_crop_follows_the_input(name: str, sides: tuple[int, int], expected: int) -> None:
    assert preset(name, *sides).resize_to == expected
