"""From paths to rows, and from a question to hits: plain functions of an encoder, a collection and the image root."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from models.errors import ImageError, TextError
from workers.clocks import Clocks
from workers.contract import Answer, Hit, Image, Query, SearchRequest
from workers.embedding import BatchResult as BatchResult
from workers.embedding import Embedding, Encoder, Patience
from workers.failure_memory import Remembered
from workers.image_root import ImageRoot, RootUnavailable
from workers.store import Collection, Known, Match, Vector


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
    decode_threads: int,
    beat: Callable[[], None],
    clocks: Clocks,
) -> BatchResult:
    """Bring the collection up to date with these files. Idempotent: done twice, it leaves the same rows.

    What failed for good and has not changed fails again without being read, unless `retry_failed`. `beat` is called
    between micro-batches of `micro_batch` images; what it raises ends the work, and nothing is stored. `decode_threads`
    make the next micro-batch while the session runs, so two are in memory; with 0, each is made when its turn comes.
    """
    result = BatchResult()
    with clocks.during("store"):
        known = patience(lambda: collection.known([image.path for image in images]))
    changed = [image for image in images if not _is_unchanged(image, known.get(image.path))]
    result.unchanged = len(images) - len(changed)
    before = patience(lambda: recall(changed))
    wanted = changed if retry_failed else _without_failed(changed, before, result)
    clocks.count(images=len(images) - len(wanted))
    work = Embedding(encoder, root, patience, beat, clocks, result)
    work.embed(wanted, micro_batch, decode_threads)
    if work.rows:
        beat()
        with clocks.during("store"):
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
