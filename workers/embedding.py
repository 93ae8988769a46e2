"""From files to rows, a micro-batch at a time.

A path and its vector travel in one object from the moment that the file is read, so that a broken picture cannot shift
a vector to a neighbour.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from models.errors import ImageError
from models.preprocess import Picture
from workers.clocks import Clocks
from workers.contract import Failure, Image
from workers.failure_policy import POLICIES
from workers.image_root import ImageRoot, RootUnavailable
from workers.prefetch import Prefetch
from workers.store import Row, Vector

T = TypeVar("T")


class Encoder(Protocol):
    """Pictures in, unit vectors out. `prepare` may be called by several threads at once, also while `encode` runs."""

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
    #: As it was read.
    image: Image
    #: Hash of the bytes.
    content: str
    picture: Picture


@dataclass(frozen=True, slots=True)
class _NotRead:
    image: Image
    error: ImageError


@dataclass(frozen=True, slots=True)
class _NotDecoded:
    #: As it was read.
    image: Image
    error: ImageError


@dataclass(frozen=True, slots=True)
class _NoRoot:
    """Not even looked for: the image root is away."""

    image: Image


_Made = _Decoded | _NotRead | _NotDecoded


@dataclass(slots=True)
class Embedding:
    """One batch on its way from files to rows; what fails for good goes into the result."""

    encoder: Encoder
    root: ImageRoot
    patience: Patience
    beat: Callable[[], None]
    clocks: Clocks
    result: BatchResult
    rows: list[Row] = field(default_factory=list)
    #: Times that what is read now was read, this one included.
    tries: int = 1
    #: What is to be read again, and how long to wait for it.
    again: list[Image] = field(default_factory=list)
    pause: float = 0.0

    def embed(self, images: Sequence[Image], micro_batch: int, threads: int) -> None:
        """Files that may be readable in a moment get it: they are read again after all others."""
        while images:
            with closing(Prefetch(self._try, threads).chunks(images, micro_batch)) as chunks:
                for _ in range(0, len(images), micro_batch):
                    self.beat()
                    self._encode(self._next(chunks), micro_batch)
            time.sleep(self.pause)
            images, self.again, self.pause, self.tries = self.again, [], 0.0, self.tries + 1

    def _next(self, chunks: Iterator[list[_Made | _NoRoot]]) -> list[_Decoded]:
        """The decoded ones of the next chunk; what became of the others is noted."""
        with self.clocks.during("decode"):
            made = [self._waited_for(item) for item in next(chunks)]
        again = len(self.again)
        for item in made:
            if not isinstance(item, _Decoded):
                self._note(item)
        self.clocks.count(images=len(made) - (len(self.again) - again))
        return [item for item in made if isinstance(item, _Decoded)]

    # In whatever thread decodes: neither of these two changes anything here.

    def _try(self, image: Image) -> _Made | _NoRoot:
        try:
            return self._make(image)
        except RootUnavailable:
            return _NoRoot(image)

    def _make(self, image: Image) -> _Made:
        try:
            file = self.root.read(image.path)
        except ImageError as error:
            return _NotRead(image, error)
        as_read = Image(image.path, file.size, file.mtime_ns)
        try:
            content = hashlib.blake2b(file.data, digest_size=16).hexdigest()
            return _Decoded(as_read, content, self.encoder.prepare(file.data))
        except ImageError as error:
            return _NotDecoded(as_read, error)

    def _waited_for(self, item: _Made | _NoRoot) -> _Made:
        """Patience is the main thread's: it may end in an exception that ends the batch."""
        return self.patience(lambda: self._make(item.image)) if isinstance(item, _NoRoot) else item

    def _note(self, item: _NotRead | _NotDecoded) -> None:
        if isinstance(item, _NotDecoded):
            self.result.fail(item.image, item.error)
            return
        policy = POLICIES[item.error.kind]  # type: ignore[index]
        if policy.tries > self.tries:
            self.again.append(item.image)
            self.pause = max(self.pause, policy.pause)
        else:
            self.result.fail(item.image, item.error)

    def _encode(self, decoded: Sequence[_Decoded], micro_batch: int) -> None:
        if not decoded:
            return
        with self.clocks.during("session"):
            vectors = self.encoder.encode([item.picture for item in decoded])
        self.clocks.count(pictures=len(decoded), places=micro_batch)
        for item, vector in zip(decoded, vectors, strict=True):
            if isinstance(vector, ImageError):
                self.result.fail(item.image, vector)
            else:
                self.rows.append(_row(item, vector))


def _row(item: _Decoded, vector: Vector) -> Row:
    return Row(
        path=item.image.path,
        size=item.image.size,
        mtime_ns=item.image.mtime_ns,
        content=item.content,
        width=item.picture.width,
        height=item.picture.height,
        indexed_at=int(time.time()),
        vector=vector,
    )
