"""How many pictures a session takes at once: the most that fit and still gain, measured once per model and device."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from models.errors import OutOfDeviceMemory

#: Sizes that are tried, one after the other.
SIZES: Final = (8, 16, 32, 64, 128, 256, 512)
#: Pictures per second, of those of the size before, that a larger size must reach to be worth its memory.
GAIN: Final = 1.05
#: Runs of each size of which the quickest counts; one before them is not timed, since it may choose kernels.
RUNS: Final = 3
#: In the state folder.
FILE: Final = "batch-sizes.json"


def largest_gaining(seconds: Callable[[int], float], sizes: tuple[int, ...] = SIZES) -> int:
    """The last of `sizes` that fits and gained; `seconds` runs so many pictures and says how long that took.

    Raises OutOfDeviceMemory if not even the first size fits.
    """
    best, rate = 0, 0.0
    for size in sizes:
        try:
            now = size / max(min(_timed(seconds, size)), 1e-9)
        except OutOfDeviceMemory:
            if not best:
                raise
            break
        if best and now < GAIN * rate:
            break
        best, rate = size, now
    return best


def _timed(seconds: Callable[[int], float], size: int) -> Iterator[float]:
    seconds(size)
    yield from (seconds(size) for _ in range(RUNS))


class Remembered:
    """Sizes that were measured, in a file; one that cannot be read or written is as good as none."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def get(self, key: str) -> int | None:
        size = self._all().get(key)
        return size if isinstance(size, int) and size > 0 else None

    def put(self, key: str, size: int) -> None:
        """Of two processes that write at once, one is forgotten and measured again."""
        written = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(json.dumps({**self._all(), key: size}, indent=1, sort_keys=True))
            written.replace(self._file)

    def _all(self) -> dict[str, object]:
        with suppress(OSError, ValueError):
            found = json.loads(self._file.read_text())
            return found if isinstance(found, dict) else {}
        return {}
