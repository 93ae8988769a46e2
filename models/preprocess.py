"""From the bytes of an image to the array that a session takes.

Pure functions; whatever goes wrong with the picture is an ImageError.
"""

from __future__ import annotations

import io
import math
from typing import Any, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

from models.opening import DECODER_ERRORS, Limits, opened
from models.spec import InputSpec, ModelSpec, PreprocessSpec

#: A JPEG may be decoded at 1/2, 1/4 or 1/8 while both sides stay at least this many times what is needed.
DRAFT_MARGIN: Final = 2
#: Above this ratio of the sides only the centre is resized: a picture of one row would become one of millions. Not
#: always, since rounding then differs by one level here and there, which INT8 models feel.
ELONGATED: Final = 16

_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
Size = tuple[int, int]
Box = tuple[float, float, float, float]


class Picture(NamedTuple):
    """One image, ready for the session."""

    #: [H, W, 3] or [3, H, W] in the layout, channel order and dtype of the specification.
    array: NDArray[Any]
    #: Pixels of the upright original.
    width: int
    #: Pixels of the upright original.
    height: int


def prepare(data: bytes, spec: ModelSpec, limits: Limits) -> Picture:
    """Decode, turn upright, resize, crop and scale as `spec` says; raises ImageError."""
    with opened(data, limits) as image:
        upright, size = _upright_rgb(image, _needed_size(image.size, spec.preprocess, spec.input))
        pixels = np.asarray(_fit(upright, size, spec.preprocess, spec.input))
    return Picture(_to_array(pixels, spec.preprocess, spec.input), *size)


def thumbnail(data: bytes, side: int, limits: Limits, quality: int = 80) -> bytes:
    """A JPEG whose longer side is at most `side` pixels, upright, without metadata; raises ImageError."""
    with opened(data, limits) as image:
        upright, _ = _upright_rgb(image, _longer_side_to(image.size, side))
        upright.thumbnail((side, side), Image.Resampling.BICUBIC)
        # A fresh picture: the old one would carry comments and profiles into the file.
        bare = Image.new("RGB", upright.size)
        bare.paste(upright)
        out = io.BytesIO()
        bare.save(out, "JPEG", quality=quality)
    return out.getvalue()


# --- upright RGB


def _upright_rgb(image: Image.Image, needed: Size) -> tuple[Image.Image, Size]:
    """Decode to upright RGB; gives the upright size of the original too, since a draft is smaller.

    `needed` is the size, in the file's orientation, that the picture is about to be resized to.
    """
    original = image.size
    # Only JPEG files have drafts; others ignore the wish.
    image.draft(None, (DRAFT_MARGIN * needed[0], DRAFT_MARGIN * needed[1]))
    image.load()
    turn = _UPRIGHT.get(_orientation(image))
    rgb = _rgb(image)
    if turn is None:
        return rgb, original
    swapped = turn in (_UPRIGHT[5], _UPRIGHT[6], _UPRIGHT[7], _UPRIGHT[8])
    return rgb.transpose(turn), original[::-1] if swapped else original


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except DECODER_ERRORS:
        # Broken metadata beside intact pixels.
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB: alpha on white, deep greys scaled instead of clipped, Lab through its colour space."""
    if image.mode.startswith("I;16"):
        return _from_deep_grey(image)
    if image.mode in ("I", "F"):
        return Image.fromarray(_to_8_bit(np.asarray(image))).convert("RGB")
    if image.mode == "LAB":
        to_srgb = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        return cast(Image.Image, ImageCms.applyTransform(image, to_srgb))
    return _on_white(image) if image.has_transparency_data else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    white = Image.new("RGB", rgba.size, "white")
    white.paste(rgba, mask=rgba.getchannel("A"))
    return white


def _from_deep_grey(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _to_8_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Greys of unknown range: 0 to 1 (floats), 8 or 16 bits where they fit, else stretched from lowest to highest."""
    values = np.nan_to_num(values.astype(np.float32), copy=False, posinf=0, neginf=0)
    low, high = float(values.min()), float(values.max())
    for top in (1.0, 255.0, 65535.0):
        if low >= 0 and high <= top:
            return (values * (255 / top)).astype(np.uint8)
    return ((values - low) * (255 / (high - low))).astype(np.uint8)


# --- size


def _resized_size(size: Size, rule: PreprocessSpec, target: InputSpec) -> Size:
    """The size of the whole picture after resizing and before the crop."""
    if rule.resize == "exact":
        return (rule.resize_to, rule.resize_to) if rule.resize_to else (target.width, target.height)
    assert rule.resize_to is not None  # noqa: S101  the specification promises it
    width, height = size
    longer = rule.resize_to * max(size) / min(size)
    whole = max(rule.resize_to, math.floor(longer) if rule.longer == "floor" else round(longer))
    return (rule.resize_to, whole) if width <= height else (whole, rule.resize_to)


def _needed_size(size: Size, rule: PreprocessSpec, target: InputSpec) -> Size:
    """Like `_resized_size`, but good for either orientation: which one it is shows only after decoding."""
    if rule.resize == "exact":
        longest = rule.resize_to or max(target.width, target.height)
        return longest, longest
    return _resized_size(size, rule, target)


def _longer_side_to(size: Size, side: int) -> Size:
    ratio = side / max(size)
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))


def _fit(image: Image.Image, original: Size, rule: PreprocessSpec, target: InputSpec) -> Image.Image:
    """Resize, then cut out the centre."""
    resized = _resized_size(original, rule, target)
    left, top = (resized[0] - target.width) // 2, (resized[1] - target.height) // 2
    box = (left, top, left + target.width, top + target.height)
    resample = Image.Resampling[rule.interpolation.upper()]
    if max(resized) > ELONGATED * min(resized):
        source = tuple(edge * image.size[i % 2] / resized[i % 2] for i, edge in enumerate(box))
        return image.resize((target.width, target.height), resample, box=cast(Box, source))
    # In one call: which of rows and columns Pillow does first depends on the sizes, and changes pixels.
    return image.resize(resized, resample).crop(box)


# --- numbers


def _to_array(pixels: NDArray[np.uint8], rule: PreprocessSpec, target: InputSpec) -> NDArray[Any]:
    """[H, W, 3] of 8 bits to the layout, order, scale and dtype of the input; (pixel * scale - mean) / std."""
    if rule.channels == "BGR":
        pixels = pixels[:, :, ::-1]
    if target.layout == "NCHW":
        pixels = pixels.transpose(2, 0, 1)
    if target.dtype == "uint8":
        return np.ascontiguousarray(pixels)
    shape = (3, 1, 1) if target.layout == "NCHW" else (3,)
    std = np.array(rule.std, np.float32).reshape(shape)
    mean = np.array(rule.mean, np.float32).reshape(shape)
    numbers = np.ascontiguousarray(pixels).astype(np.float32)
    numbers *= np.float32(rule.scale) / std
    numbers -= mean / std
    return numbers.astype(target.dtype, copy=False)
