"""An encoder without a model: vectors come from the bytes, and what the bytes say happens."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from models.errors import ImageError, NoVector, UnreadableImage
from models.preprocess import Picture
from workers.store import Vector

DIMENSION = 8
BROKEN = b"broken"
BLANK = b"blank"


def vector_of(data: bytes) -> Vector:
    """The unit vector that FakeEncoder gives for these bytes: equal for equal bytes, else almost surely far apart."""
    seed = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
    vector = np.random.default_rng(seed).normal(size=DIMENSION).astype(np.float32)
    unit: Vector = vector / np.linalg.norm(vector)
    return unit


class FakeEncoder:
    """BROKEN bytes cannot be decoded, BLANK ones have no vector; `runs` are the sizes of the session's runs."""

    def __init__(self) -> None:
        self.runs: list[int] = []

    def prepare(self, data: bytes) -> Picture:
        if data.startswith(BROKEN):
            raise UnreadableImage("The picture is damaged.")
        return Picture(np.frombuffer(data, np.uint8), 4, 3)

    def encode(self, pictures: Sequence[Picture]) -> list[Vector | ImageError]:
        self.runs.append(len(pictures))
        return [self._one(picture.array.tobytes()) for picture in pictures]

    @staticmethod
    def _one(data: bytes) -> Vector | ImageError:
        return NoVector("Nothing to see.") if data.startswith(BLANK) else vector_of(data)
