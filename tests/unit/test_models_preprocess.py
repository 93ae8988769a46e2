"""From bytes to numbers: every mode upright and in colour, and nothing decoded that the limits forbid."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from models import opening
from models.errors import ImageTooLarge, InvalidLimits, UnreadableImage, UnsupportedImage
from models.opening import FORMATS, Limits
from models.preprocess import prepare, thumbnail
from models.spec import FeatureSpec, InputSpec, ModelSpec, PreprocessSpec

LIMITS = Limits()


def spec(
    side: int = 8, layout: str = "NHWC", dtype: str = "uint8", width: int | None = None, **rule: object
) -> ModelSpec:
    """A specification of the input alone: pixels as they are, stretched to `side`, unless told otherwise."""
    return ModelSpec(
        name="pixels",
        title="Pixels",
        licence="Apache-2.0",
        source="a test",
        file="none.onnx",
        sha256="0" * 64,
        input=InputSpec.model_validate(
            {"tensor": "x", "layout": layout, "dtype": dtype, "height": side, "width": width or side}
        ),
        preprocess=PreprocessSpec.model_validate({"resize": "exact", "scale": 1.0, **rule}),
        feature=FeatureSpec(tensor="y", dimension=1),
    )


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def scene(width: int = 64, height: int = 48) -> Image.Image:
    """A smooth picture without any symmetry."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, (across * down) / 255], axis=2).astype(np.uint8))


def corner(data: bytes) -> tuple[int, ...]:
    """The first pixel of the picture as the model sees it."""
    return tuple(int(value) for value in prepare(data, spec(), LIMITS).array[0, 0])


# --- size


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (217, 300), (100, 100), (30, 20)])
def test_shorter_scales_the_shorter_side_and_cuts_the_centre(size: tuple[int, int]) -> None:
    # Given a picture and the rule in its plain words
    image = scene(*size)
    ratio = 64 / min(size)
    whole = image.resize((round(size[0] * ratio), round(size[1] * ratio)), Image.Resampling.BILINEAR)
    left, top = (whole.width - 56) // 2, (whole.height - 56) // 2

    # When it is prepared
    picture = prepare(saved(image), spec(56, resize="shorter", resize_to=64), LIMITS)

    # Then it is the rule's picture to the last bit
    assert np.array_equal(picture.array, np.asarray(whole.crop((left, top, left + 56, top + 56))))
    assert (picture.width, picture.height) == size


def test_exact_stretches_to_height_and_width() -> None:
    picture = prepare(saved(scene()), spec(10, width=20, interpolation="box"), LIMITS)
    assert np.array_equal(picture.array, np.asarray(scene().resize((20, 10), Image.Resampling.BOX)))


@pytest.mark.parametrize("size", [(2_000_000, 1), (1, 2_000_000)])
def test_a_picture_of_one_row_stays_small(size: tuple[int, int]) -> None:
    # Given a picture that would have 131 thousand million pixels when its shorter side had 256
    data = saved(Image.new("RGB", size, (10, 200, 30)))
    # When it is prepared, then its centre is there and nothing else was made
    picture = prepare(data, spec(224, resize="shorter", resize_to=256), LIMITS)
    assert np.array_equal(picture.array, np.full((224, 224, 3), (10, 200, 30)))


# --- numbers


def test_numbers_follow_the_formula_in_layout_order_and_type() -> None:
    # Given one colour, and a mean and a deviation for each channel
    data = saved(Image.new("RGB", (9, 9), (51, 102, 204)))
    rule = {"scale": 1 / 255, "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.25, 0.125)}
    expected = [(0.2 - 0.1) / 0.5, (0.4 - 0.2) / 0.25, (0.8 - 0.3) / 0.125]

    # When it is prepared for either layout, then channels lie where the layout says
    chw = prepare(data, spec(4, "NCHW", "float32", **rule), LIMITS).array
    hwc = prepare(data, spec(4, "NHWC", "float16", **rule), LIMITS).array
    assert (chw.shape, chw.dtype) == ((3, 4, 4), np.float32)
    assert (hwc.shape, hwc.dtype) == ((4, 4, 3), np.float16)
    assert np.allclose(chw[:, 1, 2], expected, atol=1e-6)
    assert np.allclose(hwc[1, 2], expected, atol=1e-2)


def test_bgr_turns_the_channels_round() -> None:
    data = saved(Image.new("RGB", (9, 9), (1, 2, 3)))
    assert prepare(data, spec(channels="BGR"), LIMITS).array[0, 0].tolist() == [3, 2, 1]


# --- upright

TURNED: dict[int, Callable[[Image.Image], Image.Image]] = {
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}


@pytest.mark.parametrize("form", ["PNG", "TIFF", "TIFF tiff_lzw", "WEBP"])
@pytest.mark.parametrize("orientation", TURNED)
def test_every_orientation_is_turned_upright(orientation: int, form: str) -> None:
    # Given a picture as a camera stores it that was held in this orientation, without loss
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    form, _, compression = form.partition(" ")
    how = {"lossless": True} if form == "WEBP" else {"compression": compression or None}
    data = saved(TURNED[orientation](scene()), form, exif=exif, **how)

    # When it is prepared, then it is the upright picture, size and all
    picture = prepare(data, spec(width=12), LIMITS)
    assert np.array_equal(picture.array, prepare(saved(scene()), spec(width=12), LIMITS).array)
    assert (picture.width, picture.height) == (64, 48)


def test_broken_metadata_beside_intact_pixels_is_no_failure() -> None:
    data = saved(Image.new("RGB", (9, 9), "red"), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert prepare(data, spec(), LIMITS).width == 9


# --- modes


def test_transparent_parts_are_white_whatever_colour_hides_there() -> None:
    assert corner(saved(Image.new("RGBA", (9, 9), (200, 10, 10, 0)))) == (255, 255, 255)
    assert corner(saved(Image.new("RGBA", (9, 9), (200, 10, 10, 255)))) == (200, 10, 10)
    assert corner(saved(Image.new("LA", (9, 9), (0, 0)))) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "I;16"])
def test_a_transparent_colour_is_white(mode: str) -> None:
    image = Image.new(mode, (9, 9), 0)
    assert corner(saved(image, transparency=(0, 0, 0) if mode == "RGB" else 0)) == (255, 255, 255)


def test_palettes_give_their_colours_and_partial_transparency_mixes_with_white() -> None:
    image = Image.new("P", (9, 9), 1)
    image.putpalette([0, 0, 0, 100, 50, 0])
    assert corner(saved(image)) == (100, 50, 0)
    assert corner(saved(image, transparency=bytes([255, 128]))) == pytest.approx((177, 152, 127), abs=1)


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    assert corner(saved(Image.new("I;16", (9, 9), 0x8000))) == (128, 128, 128)


@pytest.mark.parametrize(
    ("mode", "values", "expected"),
    [
        ("I", (0, 128 * 257), 128),
        ("I", (0, 200), 200),
        ("I", (-1000, 1000), 255),
        ("F", (0.0, 0.5), 127),
        ("F", (0.0, 100.0), 100),
        ("F", (-3.0, 70000.0), 255),
        ("F", (0.0, float("nan")), 0),
    ],
)
def test_greys_of_any_range_fit_into_eight_bits(mode: str, values: tuple[float, float], expected: int) -> None:
    # Given a picture whose first pixels have the second value, and whose last has the first
    image = Image.new(mode, (16, 16), values[1])
    image.putpixel((15, 15), values[0])
    assert corner(saved(image, "TIFF")) == (expected,) * 3


def test_print_colours_and_lab_become_rgb() -> None:
    assert corner(saved(Image.new("CMYK", (9, 9), (0, 255, 255, 0)), "TIFF")) == (255, 0, 0)
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(Image.new("RGB", (9, 9), (40, 120, 200)), to_lab)
    assert lab is not None
    assert corner(saved(lab, "TIFF")) == pytest.approx((40, 120, 200), abs=3)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_counts(form: str) -> None:
    first, second = Image.new("RGB", (9, 9), (255, 0, 0)), Image.new("RGB", (9, 9), (0, 0, 255))
    lossless = {"lossless": True} if form == "WEBP" else {}
    assert corner(saved(first, form, save_all=True, append_images=[second], **lossless)) == (255, 0, 0)


# --- limits


def png_header(width: int, height: int) -> bytes:
    """A PNG whose pixels are rubbish: whoever decodes it says that it is damaged."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"rubbish") + chunk(b"IEND", b"")


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(ImageTooLarge, match="100 x 101 pixels and the limit is 10,000"):
        prepare(png_header(100, 101), spec(), Limits(max_pixels=10_000))
    with pytest.raises(UnreadableImage):
        prepare(png_header(100, 100), spec(), Limits(max_pixels=10_000))


@pytest.mark.parametrize("side", [13_000, 60_000])
def test_a_bomb_is_too_large_and_not_damaged(side: int) -> None:
    with pytest.raises(ImageTooLarge):
        prepare(png_header(side, side), spec(), LIMITS)


def test_a_limit_above_pillows_own_is_kept_without_a_warning() -> None:
    with pytest.raises(UnreadableImage):
        prepare(png_header(20_000, 10_000), spec(), Limits(max_pixels=200_000_000))


def test_too_many_bytes_are_refused() -> None:
    data = saved(scene())
    with pytest.raises(ImageTooLarge, match="bytes and the limit is"):
        prepare(data, spec(), Limits(max_file_bytes=len(data) - 1))
    assert prepare(data, spec(), Limits(max_file_bytes=len(data))).width == 64


def test_only_listed_formats_are_opened() -> None:
    with pytest.raises(UnsupportedImage):
        prepare(saved(scene(), "TGA"), spec(), LIMITS)
    with pytest.raises(UnsupportedImage):
        prepare(saved(scene(), "PNG"), spec(), Limits(formats=("JPEG",)))


def test_a_file_of_several_jpegs_is_a_format_of_its_own() -> None:
    data = saved(scene(), "MPO", save_all=True, append_images=[scene()])
    assert prepare(data, spec(), LIMITS).width == 64
    assert prepare(data, spec(), Limits(formats=("MPO",))).width == 64
    with pytest.raises(UnsupportedImage, match="MPO"):
        prepare(data, spec(), Limits(formats=("JPEG",)))


def test_a_format_that_is_none_is_refused_when_the_limits_are_made() -> None:
    with pytest.raises(InvalidLimits, match="'JPG'"):
        Limits(formats=("PNG", "JPG"))


# --- damage


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "MPO"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_that_ends_too_early_is_refused(form: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (80, 80, 3), np.uint8))
    data = saved(noise, form)
    assert prepare(data, spec(), LIMITS).width == 80
    with pytest.raises((UnreadableImage, UnsupportedImage)):
        prepare(data[: int(len(data) * share)], spec(), LIMITS)


def test_what_is_no_picture_is_unsupported_and_an_empty_file_damaged() -> None:
    with pytest.raises(UnsupportedImage, match=r"^The file is no intact picture in one of the formats JPEG, [^\n]*$"):
        prepare(b"a shopping list, some lines of it\n" * 5, spec(), LIMITS)
    with pytest.raises(UnreadableImage, match="empty"):
        prepare(b"", spec(), LIMITS)


def test_no_warning_of_pillow_gets_out() -> None:
    # Given a palette with transparency in bytes, and a header between Pillow's first and second limit
    palette = saved(Image.new("P", (9, 9), 1), transparency=bytes([255, 128]))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        # When they are prepared, then nobody hears of what Pillow warns of
        prepare(palette, spec(), LIMITS)
        with pytest.raises(ImageTooLarge):
            prepare(png_header(100, 101), spec(), Limits(max_pixels=10_000))
    assert seen == []


class Interrupted(Exception):
    """As a time limit does it: an exception of somebody else, from the middle of a decode."""


@pytest.fixture
def _interrupted_format(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(opening, "PLUGINS", {"INTERRUPTED": ""})

    def interrupt(*_: object) -> Image.Image:
        raise Interrupted

    Image.register_open("INTERRUPTED", interrupt)
    yield
    del Image.OPEN["INTERRUPTED"]
    Image.ID.remove("INTERRUPTED")


@pytest.mark.usefixtures("_interrupted_format")
def test_an_exception_that_no_decoder_raises_is_not_the_pictures_fault() -> None:
    with pytest.raises(Interrupted):
        prepare(b"anything at all", spec(), Limits(formats=("INTERRUPTED",)))


# --- thumbnails


def test_a_thumbnail_is_a_small_upright_jpeg_without_metadata() -> None:
    # Given a large photo, stored on its side, with a comment
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.ImageDescription] = "secret"
    data = saved(TURNED[6](scene(1200, 800)), "JPEG", exif=exif, comment=b"secret")

    # When it is made small
    small = thumbnail(data, 96, LIMITS)

    # Then the longer side fits, it stands upright, and nothing but pixels is in it
    with Image.open(io.BytesIO(small)) as image:
        assert (image.format, image.size) == ("JPEG", (96, 64))
        assert dict(image.getexif()) == {}
        assert np.abs(np.asarray(image, int) - np.asarray(scene(96, 64), int)).mean() < 4
    assert b"secret" not in small


def test_a_thumbnail_never_grows_and_keeps_a_pixel() -> None:
    for size, expected in (((20, 10), (20, 10)), ((5000, 1), (96, 1))):
        with Image.open(io.BytesIO(thumbnail(saved(Image.new("RGB", size)), 96, LIMITS))) as image:
            assert image.size == expected


def test_a_thumbnail_keeps_the_limits() -> None:
    with pytest.raises(ImageTooLarge):
        thumbnail(png_header(13_000, 13_000), 96, LIMITS)
