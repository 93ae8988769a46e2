"""Pictures to compare an export on: those of a folder, or drawn ones where there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.opening import Limits

#: Pixels of a drawn picture, as [height, width].
_SIZE: Final = (240, 320)


def of_folder(folder: Path, limits: Limits | None = None) -> Iterator[bytes]:
    """The files under `folder` in the order of their names; those that cannot be read or are too large are left out."""
    most = (limits or Limits()).max_file_bytes
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            try:
                if (file := Path(parent, name)).is_file() and file.stat().st_size <= most:
                    yield file.read_bytes()
            except OSError:
                continue


def drawn() -> Iterator[bytes]:
    """Eight pictures as PPM files, the same every time: waves, discs and noise in several colours."""
    chance = np.random.default_rng(8)
    y, x = np.mgrid[0 : _SIZE[0], 0 : _SIZE[1]] / _SIZE[0]
    for _ in range(8):
        pixels = np.stack([_wave(x, y, chance) for _ in range(3)], axis=-1)
        disc = (x - chance.uniform(0.3, 1)) ** 2 + (y - chance.uniform(0.2, 0.8)) ** 2 < chance.uniform(0.02, 0.1)
        pixels[disc] = chance.uniform(0, 255, 3)
        pixels += chance.normal(0, chance.uniform(0, 40), pixels.shape)
        yield b"P6 %d %d 255\n" % _SIZE[::-1] + pixels.clip(0, 255).astype(np.uint8).tobytes()


def _wave(x: NDArray[np.float64], y: NDArray[np.float64], chance: np.random.Generator) -> NDArray[np.float64]:
    """Levels from 0 to 255 of one channel."""
    across, along, phase = chance.uniform(-20, 20), chance.uniform(-20, 20), chance.uniform(0, 6)
    return 127.5 + 127.5 * np.sin(across * x + along * y + phase)
