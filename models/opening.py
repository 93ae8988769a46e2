"""From the bytes of an image to a picture that is open and not yet decoded, within limits.

Whatever Pillow raises leaves as an ImageError with a one-sentence reason; its warnings are silenced. The bytes are
hostile: their number, the format and the header's pixel count are checked before anything is decoded, and what
decoding takes is bounded (see models.bounds).
"""

from __future__ import annotations

import ctypes
import importlib
import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, ImageCms, UnidentifiedImageError

from models.bounds import CLOCK, MEMORY
from models.errors import ImageError, ImageTooLarge, InvalidLimits, UnreadableImage, UnsupportedImage

#: Formats that Pillow decodes by itself, in memory; each is common enough for a folder of pictures.
FORMATS: Final = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM")
#: Formats that may be asked for beside these, and the plugins of all. Pillow has more; those run another program (EPS),
#: work on one system alone (WMF), read nothing by themselves (BUFR) or are found in no folder of pictures.
PLUGINS: Final[Mapping[str, str]] = {
    **{name: f"{name.title()}ImagePlugin" for name in ("JPEG", "MPO", "PNG", "GIF", "TIFF", "BMP", "AVIF", "PPM")},
    **{name: f"{name.title()}ImagePlugin" for name in ("DDS", "ICNS", "ICO", "PCX", "PSD", "QOI", "SGI", "TGA")},
    "WEBP": "WebPImagePlugin",
    "JPEG2000": "Jpeg2KImagePlugin",
}
#: Formats whose header says how many frames there are; in others Pillow would have to walk through them.
_COUNTED: Final = ("AVIF", "MPO", "PNG", "WEBP")
#: Bytes that Pillow takes for a pixel, where it is not four.
_PIXEL_BYTES: Final = {"1": 1, "L": 1, "P": 1, "I;16": 2}
#: What decoders raise on damaged input (seen or read in Pillow). Not `Exception`: a time limit that strikes in the
#: middle of a decode is an exception too, and is not the picture's fault.
DECODER_ERRORS: Final = (
    ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, LookupError, MemoryError, OSError,
    RuntimeError, SyntaxError, TypeError, ValueError, struct.error, zlib.error,
    Image.DecompressionBombError, ImageCms.PyCMSError,
)  # fmt: skip
#: The files of these formats are JPEG files, and Pillow opens them as such.
_OPENED_AS: Final = {"MPO": "JPEG"}


@dataclass(frozen=True)
class Limits:
    """What a picture may be, and take; raises InvalidLimits for a format that is none of PLUGINS.

    Loads the plugins of its formats and no others.
    """

    formats: tuple[str, ...] = FORMATS
    max_file_bytes: int = 256 * 2**20
    #: Width times height, as the header says. Decoding takes up to 18 bytes a pixel (WebP and deep greys; JPEG least).
    max_pixels: int = 128_000_000
    #: As the header says, where it does. The first alone is decoded, whatever the format.
    max_frames: int = 100_000
    #: Seconds after which a picture that is still not decoded ends the process; 0 for never.
    seconds: float = 30.0
    #: Bytes by which the process may grow while it decodes; 0 for no bound.
    memory: int = 4 * 2**30

    def __post_init__(self) -> None:
        for name in self.formats:
            _load_plugin(name)


def _load_plugin(name: str) -> None:
    if name not in PLUGINS:
        raise InvalidLimits(f"No format {name!r} is opened here; choose among {', '.join(sorted(PLUGINS))}.")
    if _OPENED_AS.get(name, name) not in Image.OPEN:
        importlib.import_module(f"PIL.{PLUGINS[name]}")
    if _OPENED_AS.get(name, name) not in Image.OPEN:
        raise InvalidLimits(f"This Pillow was built without {name}; leave it out.")
    if name == "TIFF":
        _hush_libtiff()


def _hush_libtiff() -> None:
    """libtiff writes to standard error what it thinks of a file: thousands of lines for one, if its maker likes.

    Pillow has no switch for it, so the library that it loaded is asked itself; where that cannot be found, it talks.
    """
    with suppress(OSError, AttributeError):
        mapped = {line.split(maxsplit=5)[-1].strip() for line in Path("/proc/self/maps").read_text().splitlines()}
        for file in mapped:
            if Path(file).name.startswith("libtiff"):
                ctypes.CDLL(file).TIFFSetErrorHandler(None)


@contextmanager
def opened(data: bytes, limits: Limits) -> Iterator[Image.Image]:
    """The opened but not yet decoded picture; whatever a decoder raises in the block becomes an ImageError."""
    _check_bytes(data, limits)
    # For what a header hides: tiles and frames larger than the canvas. The canvas itself is checked below.
    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    try:
        with (
            _QUIET.kept(),
            CLOCK.running(limits.seconds),
            MEMORY.bound(limits.memory),
            Image.open(io.BytesIO(data), formats=_openers(limits)) as image,
        ):
            _check_header(image, limits)
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError:
        allowed = ", ".join(limits.formats)
        raise UnsupportedImage(f"The file is no intact picture in one of the formats {allowed}.") from None
    except (MemoryError, Image.DecompressionBombError):
        raise ImageTooLarge("The picture does not fit into memory when decoded; make it smaller.") from None
    except DECODER_ERRORS as error:
        raise UnreadableImage(f"The picture is damaged ({_one_line(error)}); replace the file.") from None


class _Quiet:
    """Silence as long as anybody decodes: what `warnings` itself has for this knows nothing of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pictures: set[object] = set()
        self._before: warnings.catch_warnings[None] | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        picture = object()  # as in models.bounds
        try:
            with self._lock:
                self._pictures.add(picture)
                if self._before is None:
                    self._before = warnings.catch_warnings()
                    self._before.__enter__()
                    warnings.simplefilter("ignore")
            yield
        finally:
            with self._lock:
                self._pictures.discard(picture)
                if not self._pictures and self._before is not None:
                    self._before.__exit__(None, None, None)
                    self._before = None


_QUIET = _Quiet()


def _check_bytes(data: bytes, limits: Limits) -> None:
    if not data:
        raise UnreadableImage("The file is empty; replace it.")
    if len(data) > limits.max_file_bytes:
        raise ImageTooLarge(
            f"The file has {len(data):,} bytes and the limit is {limits.max_file_bytes:,}; "
            "make it smaller or raise max_file_bytes."
        )


def _check_header(image: Image.Image, limits: Limits) -> None:
    if image.format not in limits.formats:
        raise UnsupportedImage(f"The format {image.format} is not among {', '.join(limits.formats)}.")
    if image.width * image.height > limits.max_pixels:
        raise ImageTooLarge(
            f"The picture has {image.width} x {image.height} pixels and the limit is {limits.max_pixels:,}; "
            "make it smaller or raise max_pixels."
        )
    # Not every decoder says it when it gets no memory, so the least that a picture takes is asked for here.
    least = image.width * image.height * _PIXEL_BYTES.get(image.mode, 4)
    if limits.memory and least > limits.memory and image.format not in ("JPEG", "MPO"):
        raise ImageTooLarge(
            f"The picture takes {least:,} bytes of memory and more, and the limit is {limits.memory:,}; "
            "make it smaller or raise picture_memory."
        )
    frames = getattr(image, "n_frames", 1) if image.format in _COUNTED else 1
    if frames > limits.max_frames:
        raise ImageTooLarge(
            f"The file holds {frames:,} pictures and the limit is {limits.max_frames:,}; split it or raise max_frames."
        )


def _openers(limits: Limits) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_OPENED_AS.get(name, name) for name in limits.formats))


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
