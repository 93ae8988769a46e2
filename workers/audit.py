"""How files stand to the collection, and all that is known of one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from workers.checks import (
    CheckAnswer,
    CheckRequest,
    Nearness,
    PastFailure,
    Standing,
    StoredImage,
    WhyAnswer,
    WhyRequest,
)
from workers.contract import LIMIT_MAX, Image, Query
from workers.failure_memory import Remembered
from workers.pipeline import Recall
from workers.store import Collection, Known, Vector

#: Turns a query into a unit vector, or into the sentence that says why it cannot be one.
ToVector = Callable[[Query, Collection], Vector | str]


def check(request: CheckRequest, *, collection: Collection | None, recall: Recall) -> CheckAnswer:
    """Three ways: the file as the asker sees it, its row by its id, and its failure."""
    images = request.images
    known = collection.known(request.paths) if collection and images else {}
    others = [image for image in images if not _is_same(image, known.get(image.path))]
    before = recall(others)
    return CheckAnswer(
        standings=[_standing(image, known, before) for image in images],
        failures=[item.failure for item in before.values() if item.same],
        exists=collection is not None,
    )


def why(
    request: WhyRequest, *, collection: Collection | None, recall: Recall, to_vector: ToVector, metric: str
) -> WhyAnswer:
    """Row, failure and nearness of one image; `metric` is the collection's, as the settings name it."""
    path = request.path
    row = collection.known([path]).get(path) if collection else None
    before = recall([Image(path, request.size, request.mtime_ns)]).get(path)
    answer = WhyAnswer(row=_stored(row), failure=_past(before))
    if request.query is None or collection is None or row is None:
        return answer
    asked = to_vector(request.query, collection)
    if isinstance(asked, str):
        return answer.model_copy(update={"query_error": asked})
    return answer.model_copy(update={"nearness": _nearness(collection, path, asked, metric)})


def _is_same(image: Image, row: Known | None) -> bool:
    return row is not None and (row.size, row.mtime_ns) == (image.size, image.mtime_ns)


def _standing(image: Image, known: Mapping[str, Known], before: Mapping[str, Remembered]) -> Standing:
    if _is_same(image, known.get(image.path)):
        return "indexed"
    if image.path in before and before[image.path].stands:
        return "failed"
    return "stale" if image.path in known else "missing"


def _stored(row: Known | None) -> StoredImage | None:
    if row is None:
        return None
    return StoredImage(size=row.size, mtime_ns=row.mtime_ns, indexed_at=row.indexed_at)


def _past(before: Remembered | None) -> PastFailure | None:
    if before is None:
        return None
    failure = before.failure
    return PastFailure(kind=failure.kind, reason=failure.reason, job=before.job, when=before.when, same=before.same)


def _nearness(collection: Collection, path: str, asked: Vector, metric: str) -> Nearness | None:
    own = collection.vector(path)
    if own is None:  # deleted in this moment
        return None
    (matches,) = collection.search(asked[np.newaxis], LIMIT_MAX)
    ranks = {match.path: rank for rank, match in enumerate(matches, start=1)}
    score, last = similarity(asked, own, metric), matches[-1].score if matches else None
    rank = ranks.get(path)
    nearer = last is not None and (score < last if metric == "L2" else score > last)
    found = matches[rank - 1].score if rank else score
    return Nearness(rank=rank, score=found, last_score=last, hits=len(matches), overlooked=rank is None and nearer)


def similarity(one: Vector, other: Vector, metric: str) -> float:
    """What a search gives as the score of two unit vectors: the square of their distance for L2, else their cosine."""
    if metric == "L2":
        return float(np.sum((one - other) ** 2))
    return float(np.dot(one, other))
