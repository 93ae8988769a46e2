"""Real models and real pictures: vectors of an independent script, cameras held in every way, and hostile files."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import weights
from models.encoder import Encoder
from models.errors import ImageError, ImageTooLarge
from models.opening import Limits
from models.preprocess import Picture, prepare, thumbnail
from models.spec import find, read
from tests.data import GOLDEN, IMAGES, MODELS, needs_shared_data

pytestmark = needs_shared_data

SPECS = Path(__file__).parents[1] / "specs"
#: Cosine distance between the orientations of one photo, by model. Each was compressed by itself and bears its number;
#: without loss they are equal to the last bit, which the unit tests show. Ignored orientations are 0.15 and more away.
ORIENTATION_BOUND = {"colour": 0.005, "gradient": 0.02, "mobilenetv2-assembled": 0.07}
#: Cosine distance that decoding a JPEG at a reduced size may add; the most seen is 0.0055.
DRAFT_BOUND = 0.01
#: The PNG suite's wrong checksum of pixels, which Pillow does not look at.
UNSEEN_DAMAGE = "xcsn0g01.png"
#: Seconds for one small file on a busy machine.
SECONDS = 10.0


def encoder(name: str) -> Encoder:
    file = SPECS / f"{name}.toml"
    spec = read(file) if file.exists() else find(name)
    return Encoder(spec, weights.locate(spec, MODELS / Path(spec.file).stem))


@pytest.mark.parametrize(
    ("name", "golden", "bound"),
    [
        ("squeezenet1.1-assembled", "squeezenet1.1-fp32", 1e-4),
        ("mobilenetv2-assembled", "mobilenetv2-12-fp32", 1e-4),
        ("mobilenetv2-int8", "mobilenetv2-12-qdq", 1e-2),
    ],
)
def test_vectors_agree_with_those_of_an_independent_script(name: str, golden: str, bound: float) -> None:
    # Given the vectors that another program made of six pictures
    with np.load(GOLDEN) as stored:
        paths, expected = stored["paths"], stored[golden]
    model = encoder(name)

    # When ours are made of the same files
    vectors = model.encode([model.prepare((IMAGES / str(path)).read_bytes()) for path in paths])

    # Then each points the same way
    assert len(vectors) == len(expected) == 6
    for vector, other in zip(vectors, expected, strict=True):
        assert 1 - float(vector @ other) < bound


@pytest.mark.parametrize("name", ORIENTATION_BOUND)
def test_a_photo_has_one_vector_however_the_camera_was_held(name: str) -> None:
    # Given one photo in all orientations, and another
    photos = [(IMAGES / "exif-orientation" / f"Landscape_{number}.jpg").read_bytes() for number in range(9)]
    model = encoder(name)

    # When they are encoded
    pictures = [model.prepare(data) for data in photos]
    vectors = np.stack(model.encode(pictures))  # type: ignore[arg-type]

    # Then all stand upright and are the same picture
    assert {(picture.width, picture.height) for picture in pictures} == {(1800, 1200)}
    assert 1 - float((vectors @ vectors.T).min()) < ORIENTATION_BOUND[name]


@pytest.mark.parametrize("name", ["colour", "gradient", "mobilenetv2-assembled"])
def test_decoding_photos_at_a_reduced_size_stays_within_the_bound(name: str) -> None:
    # Given photos, and what they hold when decoded whole
    files = [file for folder in ("caltech101", "grocery") for file in sorted((IMAGES / folder).rglob("*.jpg"))[::20]]
    photos = [file.read_bytes() for file in [*files, IMAGES / "exif-orientation" / "Landscape_1.jpg"]]
    model = encoder(name)

    # When both are encoded, then no vector moved by more than the bound
    for data in photos:
        quick, whole = model.encode([model.prepare(data), model.prepare(decoded_whole(data))])
        assert 1 - float(quick @ whole) < DRAFT_BOUND  # type: ignore[operator]


def decoded_whole(data: bytes) -> bytes:
    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as jpeg:
        jpeg.convert("RGB").save(out, "BMP")
    return out.getvalue()


def odd_files() -> Iterator[Path]:
    for folder in ("odd-pillow", "pngsuite"):
        yield from sorted(file for file in (IMAGES / folder).rglob("*") if file.is_file())


def test_every_odd_file_is_a_picture_or_a_reason() -> None:
    # Given every odd, broken and hostile file of the collections, and limits
    spec, limits = find("gradient"), Limits()
    outcomes: dict[Path, Picture | ImageError] = {}

    # When each is prepared
    for file in odd_files():
        began = time.monotonic()
        try:
            outcomes[file] = prepare(file.read_bytes(), spec, limits)
        except ImageError as error:
            outcomes[file] = error
        assert time.monotonic() - began < SECONDS, file

    # Then it came to one or the other, and every reason is one sentence
    reasons = [str(outcome) for outcome in outcomes.values() if isinstance(outcome, ImageError)]
    assert len(outcomes) > 900
    assert len(outcomes) - len(reasons) > 500
    assert all(reason.endswith(".") and "\n" not in reason and "0x" not in reason for reason in reasons)


def test_what_is_corrupt_on_purpose_is_refused() -> None:
    # Given the corrupt files of the PNG suite, whose names begin with x
    corrupt = sorted((IMAGES / "pngsuite").rglob("x*.png"))
    assert len(corrupt) == 14
    corrupt = [file for file in corrupt if file.name != UNSEEN_DAMAGE]
    for file in corrupt:
        with pytest.raises(ImageError):
            prepare(file.read_bytes(), find("colour"), Limits())


def test_a_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(ImageTooLarge):
        prepare((IMAGES / "odd-pillow" / "l2rgb_read.bmp").read_bytes(), find("colour"), Limits())


def test_thumbnails_are_made_of_all_that_can_be_prepared() -> None:
    for file in odd_files():
        data = file.read_bytes()
        try:
            prepare(data, find("colour"), Limits())
        except ImageError:
            continue
        assert thumbnail(data, 64, Limits()).startswith(b"\xff\xd8"), file
