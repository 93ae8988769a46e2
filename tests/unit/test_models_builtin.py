"""The models that ship: rebuilt byte for byte, and as good at their one thing as they say."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from models import weights
from models.builtin import build
from models.encoder import Encoder, Vector
from models.spec import BUILTIN, catalogue, find

NAMES = ("colour", "gradient")
#: Cosine distance that JPEG decoding at a reduced size may add; over real photos the most seen is 0.0055.
DRAFT_BOUND = 0.01


@pytest.fixture(scope="module", params=NAMES)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    spec = find(request.param)
    return Encoder(spec, weights.locate(spec))


def saved(image: Image.Image, form: str = "PNG") -> bytes:
    out = io.BytesIO()
    image.save(out, form, quality=95)
    return out.getvalue()


def vector(encoder: Encoder, data: bytes) -> Vector:
    (found,) = encoder.encode([encoder.prepare(data)])
    assert isinstance(found, np.ndarray)
    return found


def photo(seed: int, width: int = 1600, height: int = 1100) -> Image.Image:
    """Colourful blobs of all sizes, the smaller the fainter, as in photos."""
    dice = np.random.default_rng(seed)
    whole = np.zeros((height, width, 3), np.float32)
    for cells in (3, 9, 30, 90, 400):
        noise = Image.fromarray(dice.integers(0, 255, (cells, cells, 3), np.uint8))
        whole += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), np.float32) / cells
    whole -= whole.min()
    return Image.fromarray((whole * (255 / whole.max())).astype(np.uint8))


@pytest.mark.parametrize("name", NAMES)
def test_the_files_are_what_the_script_builds(name: str) -> None:
    builders: dict[str, Callable[[], bytes]] = {"colour": build.colour, "gradient": build.gradient}
    assert builders[name]() == (BUILTIN / f"{name}.onnx").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_the_files_are_small_and_the_ones_specified(name: str) -> None:
    spec = catalogue()[name]
    file = weights.locate(spec)
    assert len(weights.read(spec, file)) < 100_000
    assert spec.builtin


@pytest.mark.parametrize("shade", [0, 127, 255])
def test_an_empty_picture_has_a_vector(encoder: Encoder, shade: int) -> None:
    found = vector(encoder, saved(Image.new("RGB", (90, 60), (shade,) * 3)))
    assert found.shape == (encoder.spec.feature.dimension,)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_variants_of_a_picture_are_nearer_than_other_pictures(encoder: Encoder, seed: int) -> None:
    # Given a picture, other pictures, and the picture smaller, darker, cut a little and compressed
    image = photo(seed, 320, 240)
    others = [photo(other, 320, 240) for other in range(100, 110)]
    variants = [
        image.resize((160, 120)),
        ImageEnhance.Brightness(image).enhance(0.8),
        image.crop((8, 6, 312, 234)),
    ]
    # When all are encoded
    own = vector(encoder, saved(image))
    nearest_other = max(float(own @ vector(encoder, saved(other))) for other in others)
    similar = [float(own @ vector(encoder, saved(variant, "JPEG"))) for variant in variants]

    # Then every variant is nearer than every other picture
    assert min(similar) > nearest_other


def test_colour_tells_colours_and_gradient_tells_shapes() -> None:
    # Given two shapes in two colours each
    upright = np.indices((64, 64))[1] // 8 % 2
    stripes = {"upright": upright, "lying": upright.T}
    pictures = {
        (name, colour): saved(Image.fromarray((pattern[:, :, None] * np.array(colour)).astype(np.uint8)))
        for name, pattern in stripes.items()
        for colour in ((220, 30, 30), (30, 30, 220))
    }
    same_colour = ("upright", (220, 30, 30)), ("lying", (220, 30, 30))
    same_shape = ("upright", (220, 30, 30)), ("upright", (30, 30, 220))

    # When each model compares them, then each sees its own kind of likeness
    for name, alike, different in (("colour", same_colour, same_shape), ("gradient", same_shape, same_colour)):
        encoder = Encoder(find(name), weights.locate(find(name)))
        near, far = (float(vector(encoder, pictures[a]) @ vector(encoder, pictures[b])) for a, b in (alike, different))
        assert near > 0.95
        assert near > far + 0.3


@pytest.mark.parametrize("size", [(1600, 1100), (700, 2000), (1001, 777), (130, 4000)])
def test_decoding_at_a_reduced_size_stays_within_the_bound(encoder: Encoder, size: tuple[int, int]) -> None:
    # Given a large JPEG, and what it holds when decoded whole
    data = saved(photo(7, *size), "JPEG")
    with Image.open(io.BytesIO(data)) as jpeg:
        whole = saved(jpeg.convert("RGB"))
    # When both are encoded, then the vectors are as good as the same
    assert 1 - vector(encoder, data) @ vector(encoder, whole) < DRAFT_BOUND
