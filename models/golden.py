"""The pictures of the self-test: drawn by whole numbers only, and not compressed, so that all machines have the same.

They never change: reference vectors in specifications are of these.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Width and height in pixels: to be made smaller, to be made larger, and one so long that only its centre is resized.
SIZES: Final = ((400, 298), (90, 120), (800, 40))


def pictures() -> tuple[bytes, ...]:
    """One PPM file for each of `SIZES`: ramps, stripes, grain, a disc and a box, unlike in each channel and corner."""
    return tuple(_ppm(_draw(*size, number)) for number, size in enumerate(SIZES))


def _draw(width: int, height: int, number: int) -> NDArray[np.uint8]:
    """[height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    short = min(width, height)
    levels = np.stack([x * 180 // width, y * 150 // height + 40, (x + y) * 90 // (width + height)], axis=-1)
    stripes = (x * (number + 2) + y) // max(1, short // 8) % 2 == 0
    levels[stripes & (y < height // 2)] += np.array([0, 50, 110])
    # In the middle, which every crop keeps.
    across, along = x - width // 2 + short // 5, y - height // 2 + short // 8
    levels[across**2 + along**2 < (short // 4) ** 2] = np.roll([230, 60, 30], number)
    levels[(abs(across - short // 2) < short // 6) & (abs(along - short // 3) < short // 10)] = (20, 40, 200)
    levels += _grain(x, y)[..., np.newaxis]
    return levels.clip(0, 255).astype(np.uint8)


def _grain(x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.int64]:
    """0 to 31 without a pattern."""
    mixed = (x * 73_856_093 ^ y * 19_349_663) & 0xFFFF_FFFF
    return mixed * 2_654_435_761 >> 24 & 31


def _ppm(pixels: NDArray[np.uint8]) -> bytes:
    return b"P6 %d %d 255\n" % pixels.shape[1::-1] + pixels.tobytes()
