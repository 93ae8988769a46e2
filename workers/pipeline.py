"""From paths to rows, and from a question to hits: plain functions of an encoder, a collection and the image root.

A path and its vector travel in one object from the moment that the file is read, so that a broken picture cannot shift
a vector to a neighbour.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from models.errors import ImageError, TextError
from models.preprocess import Picture
from workers.contract import Answer, Failure, Hit, Image, Query, SearchRequest
from workers.image_root import File, ImageRoot, RootUnavailable
from workers.store import Collection, Known, Match, Row, Vector

T = TypeVar("T")


class Encoder(Protocol):
    """Pictures in, unit vectors out."""

    def prepare(self, data: bytes) -> Picture:
        """Decode the bytes of a file; raises ImageError."""

    def encode(self, pictures: Sequence[Picture]) -> Sequence[Vector | ImageError]:
        """One entry per picture: float32 [dimension] of unit length, or the error of that picture alone.

        Raises ModelError if the session fails.
        """


class Patience(Protocol):
    """Calls something that may be away, again and again until it answers or the batch must be given back."""

    def __call__(self, call: Callable[[], T]) -> T: ...


@dataclass(slots=True)
class BatchResult:
    """What became of the images of one batch."""

    indexed: int = 0
    unchanged: int = 0
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Decoded:
    path: str
    file: File
    picture: Picture


def index_batch(
    images: Sequence[Image],
    *,
    encoder: Encoder,
    collection: Collection,
    root: ImageRoot,
    patience: Patience,
    micro_batch: int,
    beat: Callable[[], None],
) -> BatchResult:
    """Bring the collection up to date with these files. Idempotent: done twice, it leaves the same rows.

    `beat` is called between micro-batches of `micro_batch` images; what it raises ends the work, and nothing is stored.
    """
    result = BatchResult()
    rows: list[Row] = []
    known = patience(lambda: collection.known([image.path for image in images]))
    changed = [image for image in images if not _is_unchanged(image, known.get(image.path))]
    result.unchanged = len(images) - len(changed)
    for start in range(0, len(changed), micro_batch):
        beat()
        chunk = changed[start : start + micro_batch]
        decoded = list(_decode(chunk, encoder, root, patience, result.failures))
        rows += _encode(decoded, encoder, result.failures)
    if rows:
        beat()
        patience(lambda: collection.upsert(rows))
    result.indexed = len(rows)
    return result


def _is_unchanged(image: Image, known: Known | None) -> bool:
    return known is not None and (known.size, known.mtime_ns) == (image.size, image.mtime_ns)


def _decode(
    images: Sequence[Image], encoder: Encoder, root: ImageRoot, patience: Patience, failures: list[Failure]
) -> Iterator[_Decoded]:
    for image in images:
        try:
            file = patience(lambda path=image.path: root.read(path))  # type: ignore[misc]
            yield _Decoded(image.path, file, encoder.prepare(file.data))
        except ImageError as error:
            failures.append(_failure(image.path, error))


def _encode(decoded: Sequence[_Decoded], encoder: Encoder, failures: list[Failure]) -> Iterator[Row]:
    if not decoded:
        return
    for item, vector in zip(decoded, encoder.encode([item.picture for item in decoded]), strict=True):
        if isinstance(vector, ImageError):
            failures.append(_failure(item.path, vector))
        else:
            yield _row(item, vector)


def _row(item: _Decoded, vector: Vector) -> Row:
    return Row(
        path=item.path,
        size=item.file.size,
        mtime_ns=item.file.mtime_ns,
        content=hashlib.blake2b(item.file.data, digest_size=16).hexdigest(),
        width=item.picture.width,
        height=item.picture.height,
        indexed_at=int(time.time()),
        vector=vector,
    )


def _failure(path: str, error: ImageError) -> Failure:
    return Failure(path=path, kind=error.kind, reason=str(error))  # type: ignore[arg-type]


def search(
    request: SearchRequest,
    *,
    encoder: Encoder,
    collection: Collection,
    root: ImageRoot,
    read: Callable[[str], Vector],
    thumbnail: Callable[[bytes, int], bytes],
) -> list[Answer]:
    """Answer the queries in their order; one that cannot be answered says why and does not spoil the others.

    `read` makes a unit vector of a text; raises TextError. `thumbnail` makes a JPEG of a given longer side from the
    bytes of a picture; raises ImageError.
    """
    found = [_query_vector(query, encoder, collection, read) for query in request.queries]
    askable = [item for item in found if not isinstance(item, str)]
    matches = iter(collection.search(np.stack(askable), request.limit) if askable else [])

    def shrink(data: Callable[[], bytes]) -> str | None:
        if not request.thumbnail:
            return None
        try:
            return base64.b64encode(thumbnail(data(), request.thumbnail)).decode("ascii")
        except (ImageError, RootUnavailable):
            return None

    def hit(rank: int, match: Match) -> Hit:
        small = shrink(lambda: root.read(match.path).data)
        return Hit(path=match.path, score=match.score, rank=rank, thumbnail=small)

    answers = []
    for query, item in zip(request.queries, found, strict=True):
        if isinstance(item, str):
            answers.append(Answer(query=query.name, error=item))
            continue
        hits = [hit(rank, match) for rank, match in enumerate(next(matches), start=1)]
        own = None if query.text else shrink(lambda query=query: _query_bytes(query, root))  # type: ignore[misc]
        answers.append(Answer(query=query.name, hits=hits, thumbnail=own))
    return answers


def _query_vector(
    query: Query, encoder: Encoder, collection: Collection, read: Callable[[str], Vector]
) -> Vector | str:
    """The vector to search with, or the sentence that says why there is none."""
    if query.like is not None:
        stored = collection.vector(query.like)
        return stored if stored is not None else "This image is not indexed; run `imagefleet index` on its folder."
    try:
        if query.text is not None:
            return read(query.text)
        picture = encoder.prepare(base64.b64decode(query.picture or "", validate=True))
    except binascii.Error:
        return "The picture in the message is not base64; send it again with this version of imagefleet."
    except (ImageError, TextError) as error:
        return str(error)
    (vector,) = encoder.encode([picture])
    return str(vector) if isinstance(vector, ImageError) else vector


def _query_bytes(query: Query, root: ImageRoot) -> bytes:
    return base64.b64decode(query.picture) if query.picture is not None else root.read(query.like or "").data
