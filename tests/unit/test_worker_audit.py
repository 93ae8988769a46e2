"""How files stand to the collection and what is known of one image, with a store and a memory in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from pydantic import ValidationError

from tests.fake_encoder import DIMENSION, vector_of
from tests.fakes import InMemoryStore
from tests.specs import tiny_spec
from workers.audit import check, similarity, why
from workers.checks import CHECK_MAX, CheckRequest, WhyAnswer, WhyRequest
from workers.contract import LIMIT_MAX, Failure, FailureKind, Image, Query
from workers.failure_memory import Remembered
from workers.store import Collection, Match, Row, Vector

IMAGES = [Image(f"{number}.jpg", 10, 100) for number in range(4)]


def row(image: Image, data: bytes = b"") -> Row:
    return Row(image.path, image.size, image.mtime_ns, "c" * 32, 4, 3, 77, vector_of(data or image.path.encode()))


@pytest.fixture
def collection() -> Collection:
    found = InMemoryStore().collection("images", tiny_spec(), create=True)
    assert found is not None
    return found


class Memory:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.failed: dict[str, Remembered] = {}
        self.asked: list[Image] = []

    def note(self, image: Image, kind: FailureKind, *, same: bool = True) -> Failure:
        failure = Failure(path=image.path, kind=kind, reason="It was so.")
        self.failed[image.path] = Remembered(failure, "0" * 12, 55, same)
        return failure

    def __call__(self, images: Sequence[Image]) -> Mapping[str, Remembered]:
        self.asked += images
        return {image.path: self.failed[image.path] for image in images if image.path in self.failed}


@pytest.fixture
def memory() -> Memory:
    return Memory()


def asked(images: Sequence[Image]) -> CheckRequest:
    return CheckRequest.about(images, "tiny", "images")


def test_files_stand_as_their_rows_and_their_failures_say(collection: Collection, memory: Memory) -> None:
    indexed, changed, failed, _ = IMAGES
    collection.upsert([row(indexed), row(changed._replace(mtime_ns=99)), row(failed._replace(size=9))])
    failure = memory.note(failed, "unreadable")

    answer = check(asked(IMAGES), collection=collection, recall=memory)

    assert answer.standings == ["indexed", "stale", "failed", "missing"]
    assert answer.failures == [failure]
    assert answer.exists
    assert indexed not in memory.asked, "what is indexed need not be looked up"


def test_what_would_be_tried_again_is_no_failure_but_its_reason_is_told(collection: Collection, memory: Memory) -> None:
    linked, changed, *_ = IMAGES
    refused = memory.note(linked, "refused")
    memory.note(changed, "unreadable", same=False)

    answer = check(asked([linked, changed]), collection=collection, recall=memory)

    assert answer.standings == ["missing", "missing"]
    assert answer.failures == [refused]


def test_without_a_collection_everything_is_missing(memory: Memory) -> None:
    answer = check(asked(IMAGES), collection=None, recall=memory)
    assert (set(answer.standings), answer.exists) == ({"missing"}, False)


def test_a_page_of_no_files_asks_whether_there_is_a_collection(collection: Collection, memory: Memory) -> None:
    assert check(asked([]), collection=collection, recall=memory).exists


@pytest.mark.parametrize(
    "fields",
    [
        {"paths": ["a"], "sizes": [], "mtimes": [1]},
        {"paths": ["a"] * (CHECK_MAX + 1), "sizes": [1] * (CHECK_MAX + 1), "mtimes": [1] * (CHECK_MAX + 1)},
        {"paths": [""], "sizes": [1], "mtimes": [1]},
        {"paths": ["a"], "sizes": ["1"], "mtimes": [1]},
        {"paths": ["a"], "sizes": [1], "mtimes": [1], "extra": 1},
    ],
)
def test_requests_that_are_none_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CheckRequest.model_validate({"model": "tiny", "library": "images"} | fields)


def explained(
    collection: Collection | None, memory: Memory, image: Image, query: Query | None = None, metric: str = "COSINE"
) -> WhyAnswer:
    request = WhyRequest(
        model="tiny", library="images", path=image.path, size=image.size, mtime_ns=image.mtime_ns, query=query
    )

    def to_vector(query: Query, _: Collection) -> Vector | str:
        return "No words." if query.text == "nonsense" else vector_of((query.text or "").encode())

    return why(request, collection=collection, recall=memory, to_vector=to_vector, metric=metric)


def test_row_and_failure_of_one_image_are_told(collection: Collection, memory: Memory) -> None:
    collection.upsert([row(IMAGES[0])])
    memory.note(IMAGES[0], "crashed", same=False)

    answer = explained(collection, memory, IMAGES[0])

    assert answer.row is not None
    assert (answer.row.size, answer.row.mtime_ns, answer.row.indexed_at) == (10, 100, 77)
    assert answer.failure is not None
    assert (answer.failure.kind, answer.failure.job, answer.failure.when) == ("crashed", "0" * 12, 55)
    assert not answer.failure.same
    assert answer.nearness is None
    assert explained(None, memory, IMAGES[1]) == WhyAnswer()


def test_an_image_has_its_rank_and_its_score_for_a_query(collection: Collection, memory: Memory) -> None:
    collection.upsert([row(image) for image in IMAGES])
    (matches,) = collection.search(vector_of(b"words")[np.newaxis], 10)
    third = matches[2]

    found = explained(collection, memory, Image(third.path, 10, 100), Query(name="q", text="words")).nearness

    assert found is not None
    assert (found.rank, found.hits, found.overlooked) == (3, 4, False)
    assert found.score == pytest.approx(third.score)
    assert found.last_score == matches[-1].score


def test_a_query_that_is_not_understood_leaves_the_rest(collection: Collection, memory: Memory) -> None:
    collection.upsert([row(IMAGES[0])])
    answer = explained(collection, memory, IMAGES[0], Query(name="q", text="nonsense"))
    assert (answer.query_error, answer.nearness) == ("No words.", None)
    assert answer.row is not None


class Crowded:
    """A collection whose search gives LIMIT_MAX others."""

    def __init__(self, inner: Collection, scores: float) -> None:
        self.inner, self.scores = inner, scores

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def search(self, vectors: Vector, limit: int) -> list[list[Match]]:
        assert limit == LIMIT_MAX
        return [[Match(f"other{number}", self.scores) for number in range(limit)] for _ in vectors]


@pytest.mark.parametrize(
    ("scores", "metric", "overlooked"),
    [(0.999, "COSINE", False), (-0.999, "COSINE", True), (-0.999, "L2", False), (9.0, "L2", True)],
)
def test_beyond_the_last_rank_the_score_is_computed_and_what_the_index_overlooked_is_named(
    collection: Collection, memory: Memory, scores: float, metric: str, overlooked: bool
) -> None:
    collection.upsert([row(IMAGES[0])])
    crowded: Collection = Crowded(collection, scores)  # type: ignore[assignment]
    found = explained(crowded, memory, IMAGES[0], Query(name="q", text="words"), metric).nearness
    assert found is not None
    assert (found.rank, found.overlooked) == (None, overlooked)
    own = similarity(vector_of(b"words"), vector_of(b"0.jpg"), metric)
    assert found.score == pytest.approx(own)


def test_scores_are_those_of_the_metrics() -> None:
    one, other = np.zeros(DIMENSION, np.float32), np.zeros(DIMENSION, np.float32)
    one[0], other[1] = 1, 1
    assert (similarity(one, one, "COSINE"), similarity(one, other, "IP")) == (1, 0)
    assert (similarity(one, one, "L2"), similarity(one, other, "L2")) == (0, 2)
