"""What the pipeline may rely on, held by the real encoder and by the fake that stands in for it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from models.encoder import Encoder as RealEncoder
from models.errors import ImageError, NoVector
from tests.fake_encoder import BLANK, BROKEN, FakeEncoder
from tests.tiny_models import tiny
from workers.embedding import Encoder


class Case(NamedTuple):
    encoder: Encoder
    #: Bytes that cannot be decoded, bytes that have no vector, and good ones by number.
    broken: bytes
    blank: bytes
    good: Callable[[int], bytes]


def picture(red: int, green: int = 0, blue: int = 0) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (4, 3), (red, green, blue)).save(out, "PNG")
    return out.getvalue()


def real(folder: Path, batch: int | str) -> Case:
    model = tiny(folder, batch=batch)
    return Case(RealEncoder(*model), b"no picture", picture(0), lambda number: picture(number * 40 + 20, 200 - number))


@pytest.fixture(params=["fake", "free batch axis", "fixed batch axis"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    if request.param == "fake":
        return Case(FakeEncoder(), BROKEN, BLANK, lambda number: b"%d" % number)
    return real(tmp_path, 2 if request.param == "fixed batch axis" else "n")


def encode(case: Case, *files: bytes) -> list[np.ndarray]:
    vectors = case.encoder.encode([case.encoder.prepare(data) for data in files])
    assert all(isinstance(vector, np.ndarray) for vector in vectors)
    return list(vectors)  # type: ignore[arg-type]


def test_vectors_are_float32_and_of_unit_length(case: Case) -> None:
    for vector in encode(case, *(case.good(number) for number in range(3))):
        assert vector.dtype == np.float32
        assert vector.ndim == 1
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_a_vector_does_not_depend_on_its_neighbours(case: Case) -> None:
    # Given five pictures encoded together, which divides into no fixed batch of two
    files = [case.good(number) for number in range(5)]
    together = encode(case, *files)

    # When each is encoded alone, then it has the same vector, and no two share one
    for file, vector in zip(files, together, strict=True):
        assert np.array_equal(encode(case, file)[0], vector)
    assert len({vector.tobytes() for vector in together}) == 5


def test_no_pictures_give_no_vectors(case: Case) -> None:
    assert list(case.encoder.encode([])) == []


def test_bytes_that_are_no_picture_are_that_images_failure(case: Case) -> None:
    with pytest.raises(ImageError):
        case.encoder.prepare(case.broken)


def test_a_picture_without_a_vector_spoils_only_itself(case: Case) -> None:
    # Given a picture that the model makes nothing of, between two good ones
    files = [case.good(1), case.blank, case.good(2)]

    # When they are encoded together
    first, blank, second = case.encoder.encode([case.encoder.prepare(data) for data in files])

    # Then the neighbours are what they would be without it
    assert isinstance(blank, NoVector)
    assert np.array_equal([first, second], encode(case, files[0], files[2]))
