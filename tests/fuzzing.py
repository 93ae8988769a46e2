"""Files made from good pictures by seeded damage: the same seed gives the same bytes wherever Pillow is the same.

`python -m tests.fuzzing FOLDER` decodes what lies there, one after the other, and says what the slowest took.
"""

from __future__ import annotations

import contextlib
import io
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import ExifTags, Image

from models.errors import ImageError
from models.opening import Limits
from models.preprocess import thumbnail
from tests.data import IMAGES
from workers.local.samples import motif

#: Bytes; of larger files of the shared collections few bits would be changed.
SHARED_MAX = 64 * 1024
#: Numbers that sizes, counts and offsets in headers are made.
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)

Mutation = Callable[[bytes, bytes, random.Random], bytes]


def good_pictures() -> list[tuple[str, bytes]]:
    """Suffix and bytes: every format that is allowed, in several modes and compressions, and whatever is shared."""
    drawn = [(suffix, _saved(picture, form, **how)) for suffix, picture, form, how in _kinds()]
    shared = [file for name in ("odd-pillow", "pngsuite") for file in sorted((IMAGES / name).rglob("*.*"))]
    small = [file for file in shared if file.is_file() and file.stat().st_size <= SHARED_MAX]
    return drawn + [(file.suffix.lower(), file.read_bytes()) for file in small if file.suffix.lower() in SUFFIXES]


SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".jp2", ".ppm", ".pgm", ".pbm")


def _kinds() -> list[tuple[str, Image.Image, str, dict[str, object]]]:
    """The samples' motifs, small, in everything that Pillow writes of the allowed formats."""
    plain, other = (motif(seed).resize((96, 72)) for seed in (1, 2))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    grey, palette, clear = plain.convert("L"), plain.quantize(64), plain.convert("RGBA")
    clear.putalpha(grey)
    deep = Image.new("I;16", (40, 30), 40_000)
    several: dict[str, object] = {"append_images": [other, other]}
    tiffs = ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg")
    return [
        (".jpg", plain, "JPEG", {"quality": 85}),
        (".jpg", plain, "JPEG", {"progressive": True, "exif": exif}),
        (".jpg", grey, "JPEG", {"subsampling": 0, "optimize": True}),
        (".jpeg", plain.convert("CMYK"), "JPEG", {}),
        (".jpg", plain, "MPO", several),
        (".png", plain, "PNG", {}),
        (".png", palette, "PNG", {"transparency": 3}),
        (".png", clear, "PNG", {"compress_level": 1}),
        (".png", deep, "PNG", {}),
        (".png", plain, "PNG", several),
        (".gif", palette, "GIF", {"comment": b"a comment"}),
        (".gif", palette, "GIF", several),
        (".webp", plain, "WEBP", {"exif": exif}),
        (".webp", clear, "WEBP", {"lossless": True}),
        (".webp", plain, "WEBP", several),
        *((".tif", plain, "TIFF", {"compression": name}) for name in tiffs),
        (".tif", grey.convert("1"), "TIFF", {"compression": "group4"}),
        (".tif", grey.convert("F"), "TIFF", {}),
        (".tiff", plain, "TIFF", several),
        (".bmp", plain, "BMP", {}),
        (".bmp", palette, "BMP", {}),
        (".avif", plain, "AVIF", {"speed": 10}),
        (".avif", clear, "AVIF", {"speed": 10}),
        (".avif", plain, "AVIF", {"speed": 10, **several}),
        (".jp2", plain, "JPEG2000", {}),
        (".jp2", grey, "JPEG2000", {"irreversible": True}),
        (".ppm", plain, "PPM", {}),
        (".pgm", grey, "PPM", {}),
        (".pbm", grey.convert("1"), "PPM", {}),
    ]


def _saved(picture: Image.Image, form: str, append_images: Sequence[Image.Image] = (), **how: object) -> bytes:
    """Of copies, since Pillow keeps in a picture what it needed for one format."""
    if append_images:
        how |= {"save_all": True, "append_images": [frame.copy() for frame in append_images]}
    out = io.BytesIO()
    picture.copy().save(out, form, **how)
    return out.getvalue()


# --- damage


def _flipped(data: bytes, _: bytes, chance: random.Random) -> bytes:
    """Some bits the other way round."""
    changed = bytearray(data)
    for _number in range(2 ** chance.randrange(8)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(data: bytes, _: bytes, chance: random.Random) -> bytes:
    """Ends too early, mostly somewhere, sometimes in the first bytes."""
    return data[: chance.randrange(1, len(data) if chance.random() < 0.7 else min(len(data), 64))]


def _header(data: bytes, _: bytes, chance: random.Random) -> bytes:
    """Fields among the first bytes are extreme."""
    changed = bytearray(data)
    for _number in range(chance.randrange(1, 4)):
        width = chance.choice((1, 2, 4))
        at = chance.randrange(max(1, min(len(changed), 256) - width))
        number = chance.choice(EXTREMES) % 256**width
        changed[at : at + width] = number.to_bytes(width, chance.choice(("big", "little")))
    return bytes(changed)


def _spliced(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Begins as one file and goes on as another."""
    return data[: chance.randrange(1, len(data))] + other[chance.randrange(len(other)) :]


def _repeated(data: bytes, _: bytes, chance: random.Random) -> bytes:
    """A part of it comes many times."""
    begin = chance.randrange(len(data))
    part = data[begin : begin + chance.randrange(1, 512)]
    return data[:begin] + part * chance.randrange(2, 64) + data[begin:]


def _without(data: bytes, _: bytes, chance: random.Random) -> bytes:
    """A part is missing in the middle."""
    begin = chance.randrange(len(data))
    return data[:begin] + data[begin + chance.randrange(1, 256) :] or b"\0"


def _filled(data: bytes, _: bytes, chance: random.Random) -> bytes:
    """A part is all one byte, or noise."""
    begin, length = chance.randrange(len(data)), chance.randrange(1, 256)
    fill = chance.choice((b"\0" * length, b"\xff" * length, chance.randbytes(length)))
    return data[:begin] + fill + data[begin + length :]


def _renamed(data: bytes, _: bytes, chance: random.Random) -> bytes:
    """Whole, and under the name of another format."""
    return data


MUTATIONS: Sequence[Mutation] = (_flipped, _cut, _header, _header, _spliced, _repeated, _without, _filled, _renamed)


def write(folder: Path, count: int, seed: int) -> None:
    """`count` damaged files, in sub-folders of 500."""
    chance, pictures = random.Random(seed), good_pictures()
    for number in range(count):
        (suffix, data), (_, other) = chance.choice(pictures), chance.choice(pictures)
        mutation = chance.choice(MUTATIONS)
        damaged = mutation(data, other, chance)
        if mutation is not _renamed and chance.random() < 0.25:
            damaged = chance.choice(MUTATIONS)(damaged, other, chance)
        if mutation is _renamed or chance.random() < 0.1:
            suffix = chance.choice(SUFFIXES)
        file = folder / f"{number // 500:02}" / f"{number:05}{mutation.__name__}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(damaged)


def main(folder: Path) -> None:
    slowest, name, limits = 0.0, "", Limits()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for file in sorted(folder.rglob("*.*")):
        begun = time.perf_counter()
        with contextlib.suppress(ImageError):
            thumbnail(file.read_bytes(), 224, limits)
        if (took := time.perf_counter() - begun) > slowest:
            slowest, name = took, file.name
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    print(f"slowest {slowest:.3f} s ({name}); grown by {grown} MiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
