"""From paths to rows, and from a question to hits: plain functions of an encoder, a collection and the image root.

A path and its vector travel in one object from the moment that the file is read, so that a broken picture cannot shift
a vector to a neighbour.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from models.errors import ImageError, TextError
from models.preprocess import Picture
from workers.contract import Answer, Failure, Hit, Image, Query, SearchRequest
from workers.failure_memory import Remembered
from workers.failure_policy import POLICIES
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
    #: Of the failures, those that are remembered and were not tried again.
    failed_before: int = 0
    #: The others, each with its file as it was.
    failed_now: list[tuple[Image, Failure]] = field(default_factory=list)
    #: Paths that failed before and are indexed now.
    mended: list[str] = field(default_factory=list)

    def fail(self, image: Image, error: ImageError) -> None:
        failure = Failure(path=image.path, kind=error.kind, reason=str(error))  # type: ignore[arg-type]
        self.failures.append(failure)
        self.failed_now.append((image, failure))


@dataclass(frozen=True, slots=True)
class _Decoded:
    path: str
    file: File
    picture: Picture


class Recall(Protocol):
    """Looks up which of these failed before."""

    def __call__(self, images: Sequence[Image]) -> Mapping[str, Remembered]: ...


def index_batch(
    images: Sequence[Image],
    *,
    encoder: Encoder,
    collection: Collection,
    root: ImageRoot,
    recall: Recall,
    retry_failed: bool,
    patience: Patience,
    micro_batch: int,
    beat: Callable[[], None],
) -> BatchResult:
    """Bring the collection up to date with these files. Idempotent: done twice, it leaves the same rows.

    What failed for good and has not changed fails again without being read, unless `retry_failed`. `beat` is called
    between micro-batches of `micro_batch` images; what it raises ends the work, and nothing is stored.
    """
    result = BatchResult()
    known = patience(lambda: collection.known([image.path for image in images]))
    changed = [image for image in images if not _is_unchanged(image, known.get(image.path))]
    result.unchanged = len(images) - len(changed)
    before = patience(lambda: recall(changed))
    wanted = changed if retry_failed else _without_failed(changed, before, result)
    work = _Work(encoder, root, patience, beat, result)
    work.embed(wanted, micro_batch)
    if work.rows:
        beat()
        patience(lambda: collection.upsert(work.rows))
    result.indexed = len(work.rows)
    result.mended = [row.path for row in work.rows if row.path in before]
    return result


def _is_unchanged(image: Image, known: Known | None) -> bool:
    return known is not None and (known.size, known.mtime_ns) == (image.size, image.mtime_ns)


def _without_failed(images: Sequence[Image], before: Mapping[str, Remembered], result: BatchResult) -> list[Image]:
    standing = {path: item.failure for path, item in before.items() if item.stands}
    result.failures += [standing[image.path] for image in images if image.path in standing]
    result.failed_before = len(result.failures)
    return [image for image in images if image.path not in standing]


@dataclass(slots=True)
class _Work:
    """One batch on its way from files to rows; what fails for good goes into the result."""

    encoder: Encoder
    root: ImageRoot
    patience: Patience
    beat: Callable[[], None]
    result: BatchResult
    rows: list[Row] = field(default_factory=list)
    #: Times that what is read now was read, this one included.
    tries: int = 1
    #: What is to be read again, and how long to wait for it.
    again: list[Image] = field(default_factory=list)
    pause: float = 0.0

    def embed(self, images: Sequence[Image], micro_batch: int) -> None:
        """Files that may be readable in a moment get it: they are read again after all others."""
        while images:
            for start in range(0, len(images), micro_batch):
                self.beat()
                self._encode(list(self._decode(images[start : start + micro_batch])))
            time.sleep(self.pause)
            images, self.again, self.pause, self.tries = self.again, [], 0.0, self.tries + 1

    def _decode(self, images: Sequence[Image]) -> Iterator[_Decoded]:
        for image in images:
            try:
                file = self.patience(lambda path=image.path: self.root.read(path))  # type: ignore[misc]
            except ImageError as error:
                self._not_read(image, error)
                continue
            try:
                yield _Decoded(image.path, file, self.encoder.prepare(file.data))
            except ImageError as error:
                self.result.fail(_as_read(image.path, file), error)

    def _not_read(self, image: Image, error: ImageError) -> None:
        policy = POLICIES[error.kind]  # type: ignore[index]
        if policy.tries > self.tries:
            self.again.append(image)
            self.pause = max(self.pause, policy.pause)
        else:
            self.result.fail(image, error)

    def _encode(self, decoded: Sequence[_Decoded]) -> None:
        if not decoded:
            return
        vectors = self.encoder.encode([item.picture for item in decoded])
        for item, vector in zip(decoded, vectors, strict=True):
            if isinstance(vector, ImageError):
                self.result.fail(_as_read(item.path, item.file), vector)
            else:
                self.rows.append(_row(item, vector))


def _as_read(path: str, file: File) -> Image:
    return Image(path, file.size, file.mtime_ns)


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
    found = [query_vector(query, encoder, collection, read) for query in request.queries]
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
        ordered = _itself_first(query, next(matches))
        hits = [hit(rank, match) for rank, match in enumerate(ordered, start=1)]
        own = None if query.text else shrink(lambda query=query: _query_bytes(query, root))  # type: ignore[misc]
        answers.append(Answer(query=query.name, hits=hits, thumbnail=own))
    return answers


def _itself_first(query: Query, matches: list[Match]) -> list[Match]:
    """The image that was asked about stands before exact copies of it, however many there are."""
    if query.like is None or not matches or matches[0].path == query.like:
        return matches
    own = next((match for match in matches if match.path == query.like), None)
    others = [match for match in matches if match is not own]
    return [own or Match(query.like, matches[0].score), *others][: len(matches)]


def query_vector(query: Query, encoder: Encoder, collection: Collection, read: Callable[[str], Vector]) -> Vector | str:
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
