"""The list of images of one batch, as it lies in Redis: three columns, JSON, compressed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers.contract import BATCH_MAX, Bytes, Image, ImagePath, Nanoseconds

#: Bytes; a batch of the most images with the longest paths, every byte of them escaped, stays below.
UNPACKED_MAX = 32 * 2**20
#: Of zlib; 6 takes two thirds more time and saves half a byte for each image.
LEVEL = 3


class BlobRefused(Exception):
    """The bytes are no list of images; whoever wrote them is not a producer of this version."""


class _Columns(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    paths: list[ImagePath] = Field(min_length=1, max_length=BATCH_MAX)
    sizes: list[Bytes]
    mtimes: list[Nanoseconds]


def pack(images: Sequence[Image]) -> bytes:
    """Columns compress better than rows: neighbours in a folder share most of their paths and times."""
    paths, sizes, mtimes = zip(*images, strict=True)
    text = json.dumps({"paths": paths, "sizes": sizes, "mtimes": mtimes}, separators=(",", ":"))
    return zlib.compress(text.encode("ascii"), LEVEL)


def unpack(blob: bytes) -> list[Image]:
    """The images in their order; raises BlobRefused, also for what would not stay below UNPACKED_MAX."""
    try:
        text = zlib.decompressobj().decompress(blob, UNPACKED_MAX)
        columns = _Columns.model_validate(json.loads(text))
        rows = zip(columns.paths, columns.sizes, columns.mtimes, strict=True)
        return [Image(*row) for row in rows]
    except (zlib.error, ValueError, ValidationError, RecursionError) as error:
        raise BlobRefused(f"A batch in the ledger is not one of this version's ({type(error).__name__}).") from None
