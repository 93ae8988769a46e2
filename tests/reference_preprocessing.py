"""What the presets are to do to a picture, written a second time and without imagefleet, Pillow or NumPy.

    python -m tests.reference_preprocessing

writes `tests/unit/preset_numbers.json`: what comes of two small pictures. Sources:

- Resizing is Pillow's, since all of these trainings resized with Pillow or something as near: each result is a mean of
  the pixels under a triangle (bilinear), or Keys' cubic with a = -0.5 (bicubic), which is as wide as the scale if the
  picture becomes smaller; along the rows and along the columns, rounded to 8 bits after each, with weights rounded to
  multiples of 2 ** -22. (Pillow, src/libImaging/Resample.c.) Rows come first; since Pillow 13 columns do where it is
  less work (its pull request 9549), which moves a number by one level of 8 bits here and there. Rows come first in the
  numbers that are written down.
- Sizes: the shorter side becomes n, the longer n * longer / shorter, rounded; CLIP cuts off the fraction (torchvision,
  Resize; transformers, get_resize_output_image_size). The centre begins at half of what is left over, rounded down.
- Numbers: one formula for each preset, see below. (torchvision's documentation of its weights; Keras,
  keras/src/applications/imagenet_utils.py; OpenAI, clip/clip.py.)
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

NUMBERS = Path(__file__).with_name("unit") / "preset_numbers.json"
#: Pixels of both sides of what comes out.
SIDE = 8
#: Width and height of what goes in: lying and standing, and of odd sizes, so that each rounding shows.
PICTURES = ((37, 23), (20, 41))

Pixel = tuple[int, ...]
Rows = list[list[Pixel]]


def picture(width: int, height: int) -> Rows:
    """Ramps, parabolas and a pattern; its right and lower parts are unlike the others."""
    return [[((x * x + 5 * y) % 256, (11 * x + y * y) % 256, (3 * x * y) % 256) for x in range(width)]
            for y in range(height)]  # fmt: skip


# --- resizing


def triangle(x: float) -> float:
    return max(0.0, 1 - abs(x))


def cubic(x: float) -> float:
    x, a = abs(x), -0.5
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0


def line(pixels: list[Pixel], length: int, kernel: Callable[[float], float], radius: float) -> list[Pixel]:
    """One row or column with another number of pixels."""
    scale = len(pixels) / length
    wide = max(scale, 1)
    result = []
    for place in range(length):
        centre = (place + 0.5) * scale
        first = max(0, int(centre - radius * wide + 0.5))
        last = min(len(pixels), int(centre + radius * wide + 0.5))
        weights = [kernel((at - centre + 0.5) / wide) for at in range(first, last)]
        fixed = [math.floor(weight / sum(weights) * 2**22 + 0.5) for weight in weights]
        result.append(tuple(_mean(pixels[first:last], fixed, channel) for channel in range(3)))
    return result


def _mean(pixels: list[Pixel], weights: list[int], channel: int) -> int:
    total = sum(pixel[channel] * weight for pixel, weight in zip(pixels, weights, strict=True))
    return min(255, max(0, (total + 2**21) >> 22))


def resized(
    rows: Rows, width: int, height: int, kernel: Callable[[float], float], radius: float, columns_first: bool = False
) -> Rows:
    if columns_first:
        return turned(resized(turned(rows), height, width, kernel, radius))
    narrow = [line(row, width, kernel, radius) for row in rows]
    return turned([line(column, height, kernel, radius) for column in turned(narrow)])


def turned(rows: Rows) -> Rows:
    """Rows become columns."""
    return [list(column) for column in zip(*rows, strict=True)]


def centre(rows: Rows, side: int) -> Rows:
    top, left = (len(rows) - side) // 2, (len(rows[0]) - side) // 2
    return [row[left : left + side] for row in rows[top : top + side]]


def shorter_to(width: int, height: int, side: int, whole: Callable[[float], int]) -> tuple[int, int]:
    """Width and height in the same ratio, or nearly."""
    if width < height:
        return side, whole(side * height / width)
    return whole(side * width / height), side


# --- numbers


def imagenet(red: int, green: int, blue: int) -> list[float]:
    return [(red / 255 - 0.485) / 0.229, (green / 255 - 0.456) / 0.224, (blue / 255 - 0.406) / 0.225]


def keras_caffe(red: int, green: int, blue: int) -> list[float]:
    return [blue - 103.939, green - 116.779, red - 123.68]


def keras_tf(red: int, green: int, blue: int) -> list[float]:
    return [red / 127.5 - 1, green / 127.5 - 1, blue / 127.5 - 1]


def clip(red: int, green: int, blue: int) -> list[float]:
    return [
        (red / 255 - 0.48145466) / 0.26862954,
        (green / 255 - 0.4578275) / 0.26130258,
        (blue / 255 - 0.40821073) / 0.27577711,
    ]


def unit(red: int, green: int, blue: int) -> list[float]:
    return [red / 255, green / 255, blue / 255]


def pixels(red: int, green: int, blue: int) -> list[float]:
    return [float(red), float(green), float(blue)]


FORMULAS = {
    "imagenet": imagenet,
    "keras-caffe": keras_caffe,
    "keras-tf": keras_tf,
    "clip": clip,
    "unit": unit,
    "pixels": pixels,
}


def prepared(preset: str, rows: Rows, side: int = SIDE, columns_first: bool = False) -> list[list[list[float]]]:
    """[side, side, 3], in the order of channels that the model takes."""
    width, height = len(rows[0]), len(rows)
    if preset == "clip":
        size = shorter_to(width, height, side, math.floor)
        small = resized(rows, *size, cubic, 2, columns_first)
    else:
        size = shorter_to(width, height, round(side * 256 / 224), round)
        small = resized(rows, *size, triangle, 1, columns_first)
    return [[FORMULAS[preset](*pixel) for pixel in row] for row in centre(small, side)]


def numbers() -> dict[str, list[list[float]]]:
    """For each preset what comes of each of `PICTURES`, row by row, the channels of a pixel together; 5 decimals."""
    return {
        preset: [
            [round(number, 5) for row in prepared(preset, picture(*size)) for pixel in row for number in pixel]
            for size in PICTURES
        ]
        for preset in FORMULAS
    }


if __name__ == "__main__":
    lines = (f' "{preset}": {json.dumps(found)}' for preset, found in numbers().items())
    NUMBERS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
