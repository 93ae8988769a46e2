"""Pictures for tests, drawn on the spot: each of its own colours, so that a model can tell them apart."""

from __future__ import annotations

import colorsys
from pathlib import Path

from PIL import Image, ImageDraw


def draw(file: Path, number: int, size: int = 96) -> Path:
    """A picture that depends on nothing but `number`."""
    hue = (number * 0.618034) % 1

    def colour(turn: float, light: float) -> tuple[int, int, int]:
        red, green, blue = colorsys.hls_to_rgb((hue + turn) % 1, light, 0.9)
        return int(red * 255), int(green * 255), int(blue * 255)

    picture = Image.new("RGB", (size, size), colour(0, 0.3 + 0.05 * (number % 9)))
    pen = ImageDraw.Draw(picture)
    at = number * 37 % (size // 2)
    pen.rectangle((at, at // 2, at + size // 3, size - 8), fill=colour(0.4, 0.6))
    pen.ellipse((size // 2, at, size - 4, at + size // 2), fill=colour(0.7, 0.5))
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file)
    return file


def draw_many(folder: Path, count: int) -> list[Path]:
    """`count` different pictures, `000.png` and on."""
    return [draw(folder / f"{number:03}.png", number) for number in range(count)]
