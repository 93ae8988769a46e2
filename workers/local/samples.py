"""Sample pictures whose right answers are known: `python -m workers.local.samples FOLDER`.

Families of procedural pictures. The members of a family are one motif, cropped, turned, brighter, smaller or badly
compressed; one more variant of each family is held out as a query. Drawn from seeds: the same pictures on every
machine that has the same Pillow.

Uses Pillow to draw, where `models.preprocess` uses it to read; run as a process of its own by the demo, since
producers have no Pillow.
"""

from __future__ import annotations

import argparse
import colorsys
import io
import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

#: Pixels.
SIZE = (320, 240)
#: Families, and so queries.
FAMILIES = 60
#: Quality of a JPEG that shows its blocks.
POOR = 12

Colour = tuple[int, int, int]
Variant = Callable[[Image.Image], Image.Image]


def motif(seed: int) -> Image.Image:
    """One picture: a gradient between two colours, a texture, and shapes in a palette of its own."""
    chance = random.Random(seed)  # noqa: S311 -- pictures, no secrets
    palette = _palette(chance)
    picture = _gradient(palette[0], palette[1], chance.random() < 0.5)
    pen = ImageDraw.Draw(picture)
    _stripes(pen, palette[2], chance)
    for _ in range(chance.randint(3, 7)):
        _shape(pen, chance.choice(palette[2:]), chance)
    return picture.filter(ImageFilter.GaussianBlur(chance.uniform(0, 1.2)))


def _palette(chance: random.Random) -> list[Colour]:
    hue, spread = chance.random(), chance.uniform(0.05, 0.5)

    def colour(turn: float) -> Colour:
        channels = colorsys.hls_to_rgb((hue + turn) % 1, chance.uniform(0.2, 0.8), chance.uniform(0.3, 1))
        return tuple(round(255 * channel) for channel in channels)  # type: ignore[return-value]

    return [colour(spread * turn) for turn in (0, 0.3, 1, -0.6, 1.6)]


def _gradient(first: Colour, second: Colour, sideways: bool) -> Image.Image:
    ramp = Image.linear_gradient("L").resize(SIZE)
    if sideways:
        ramp = Image.linear_gradient("L").rotate(90).resize(SIZE)
    return Image.composite(Image.new("RGB", SIZE, first), Image.new("RGB", SIZE, second), ramp)


def _stripes(pen: ImageDraw.ImageDraw, colour: Colour, chance: random.Random) -> None:
    width, height = SIZE
    step, slant = chance.randint(24, 80), chance.randint(-160, 160)
    for x in range(-200, width + 200, step):
        pen.line((x, 0, x + slant, height), fill=colour, width=chance.randint(1, 6))


def _shape(pen: ImageDraw.ImageDraw, colour: Colour, chance: random.Random) -> None:
    x, y, size = chance.randint(20, 260), chance.randint(20, 190), chance.randint(25, 75)
    kind = chance.randrange(3)
    if kind == 0:
        pen.ellipse((x - size, y - size, x + size, y + size * chance.uniform(0.2, 1)), fill=colour)
    elif kind == 1:
        pen.rectangle((x - size, y - size * chance.uniform(0.2, 1), x + size, y + size), fill=colour)
    else:
        corners = [(x + chance.randint(-size, size), y + chance.randint(-size, size)) for _ in range(5)]
        pen.polygon(corners, fill=colour)


def _cropped(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.crop((width // 10, height // 12, width - width // 14, height - height // 10))


def _turned(picture: Image.Image) -> Image.Image:
    """By a few degrees; the corners that come from outside are cut off."""
    turned = picture.rotate(7, Image.Resampling.BICUBIC)
    width, height = picture.size
    return turned.crop((width // 10, height // 10, width - width // 10, height - height // 10))


def _brighter(picture: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(picture).enhance(1.25)


def _smaller(picture: Image.Image) -> Image.Image:
    return picture.resize((SIZE[0] // 2, SIZE[1] // 2), Image.Resampling.LANCZOS)


def _poor(picture: Image.Image) -> Image.Image:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=POOR)
    return Image.open(data).convert("RGB")


def _held_out(picture: Image.Image) -> Image.Image:
    """Several changes at once, none of which the indexed variants have in this way."""
    width, height = picture.size
    shifted = picture.crop((0, 0, width - width // 9, height - height // 9))
    return _poor(ImageEnhance.Contrast(shifted.resize((260, 195), Image.Resampling.BILINEAR)).enhance(0.85))


VARIANTS: Mapping[str, Variant] = {
    "plain": lambda picture: picture,
    "cropped": _cropped,
    "turned": _turned,
    "brighter": _brighter,
    "smaller": _smaller,
    "poor": _poor,
}


def make(folder: Path, families: int) -> None:
    """Write `families` x 6 pictures to `pictures/FAMILY/VARIANT.jpg` and a query each to `queries/FAMILY.jpg`.

    Files that are there stay as they are, so that indexing them again finds them unchanged.
    """
    for number in range(families):
        picture, family = motif(number), f"family-{number:03}"
        for name, variant in VARIANTS.items():
            _save(variant(picture), folder / "pictures" / family / f"{name}.jpg")
        _save(_held_out(picture), folder / "queries" / f"{family}.jpg")


def _save(picture: Image.Image, file: Path) -> None:
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_suffix(".part")
    picture.save(half, "JPEG", quality=90)
    half.replace(file)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw sample pictures.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--families", type=int, default=FAMILIES)
    arguments = parser.parse_args()
    try:
        make(arguments.folder, arguments.families)
    except OSError as error:
        sys.exit(f"The sample pictures cannot be written to {arguments.folder} ({error.strerror or error}).")


if __name__ == "__main__":
    main()
