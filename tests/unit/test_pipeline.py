"""From paths to rows and from a question to hits, with a store in memory and an encoder without a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from models.errors import ImageError, TextError
from tests.fake_encoder import BLANK, BROKEN, FakeEncoder, vector_of
from tests.fakes import InMemoryStore
from tests.specs import tiny_spec
from workers.clocks import Clocks
from workers.contract import Failure, Image, Query, SearchRequest
from workers.failure_memory import Remembered
from workers.failure_policy import POLICIES
from workers.image_root import File, ImageChanging, ImageRoot, NoAccess
from workers.pipeline import BatchResult, index_batch, search
from workers.store import Collection, Vector

T = TypeVar("T")


def reads(text: str) -> Vector:
    if text == "nonsense":
        raise TextError("The model finds no meaning in this text.")
    return vector_of(text.encode())


def at_once(call: Callable[[], T]) -> T:
    return call()


@pytest.fixture
def collection() -> Collection:
    found = InMemoryStore().collection("images", tiny_spec(), create=True)
    assert found is not None
    return found


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


class Folder:
    """A folder of files and the batch that indexes them."""

    def __init__(self, path: Path, collection: Collection, encoder: FakeEncoder) -> None:
        self.path, self.collection, self.encoder = path, collection, encoder
        self.root = ImageRoot(path, max_bytes=1000)
        self.threads = 0
        self.failed: dict[str, tuple[Image, Failure]] = {}

    def write(self, **files: bytes) -> list[Image]:
        for name, data in files.items():
            (self.path / name).write_bytes(data)
        return self.images(*files)

    def images(self, *names: str) -> list[Image]:
        stats = [(name, (self.path / name).stat()) for name in names]
        return [Image(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]

    def index(self, images: list[Image], *, retry_failed: bool = False) -> BatchResult:
        return index_batch(
            images,
            encoder=self.encoder,
            collection=self.collection,
            root=self.root,
            recall=self.recall,
            retry_failed=retry_failed,
            patience=at_once,
            micro_batch=2,
            decode_threads=self.threads,
            beat=lambda: None,
            clocks=Clocks(),
        )

    def remember(self, result: BatchResult) -> None:
        self.failed |= {image.path: (image, failure) for image, failure in result.failed_now}

    def recall(self, images: Sequence[Image]) -> Mapping[str, Remembered]:
        found = ((image, *self.failed[image.path]) for image in images if image.path in self.failed)
        return {image.path: Remembered(failure, "0" * 12, 1, same=image == then) for image, then, failure in found}

    def ask(self, *queries: Query, limit: int = 10, thumbnail: int = 0) -> list[list[str] | str]:
        answers = search(
            SearchRequest(model="tiny", library="images", limit=limit, queries=list(queries), thumbnail=thumbnail),
            encoder=self.encoder,
            collection=self.collection,
            root=self.root,
            read=reads,
            thumbnail=lambda data, side: data[:side],
        )
        return [answer.error or [hit.path for hit in answer.hits] for answer in answers]


@pytest.fixture(params=[0, 3], ids=["no threads", "three threads"])
def folder(tmp_path: Path, collection: Collection, encoder: FakeEncoder, request: pytest.FixtureRequest) -> Folder:
    made = Folder(tmp_path, collection, encoder)
    made.threads = request.param
    return made


def test_a_broken_picture_shifts_no_vector_to_a_neighbour(folder: Folder) -> None:
    images = folder.write(a=b"1", b=BROKEN, c=b"3", d=BLANK, e=b"5")
    result = folder.index(images)
    assert (result.indexed, result.unchanged) == (3, 0)
    assert {failure.path for failure in result.failures} == {"b", "d"}
    for name, data in {"a": b"1", "c": b"3", "e": b"5"}.items():
        np.testing.assert_allclose(folder.collection.vector(name), vector_of(data))
    assert folder.collection.vector("b") is None


def test_unchanged_files_are_counted_and_not_read_again(folder: Folder, encoder: FakeEncoder) -> None:
    images = folder.write(a=b"1", b=b"2")
    folder.index(images)
    encoder.runs.clear()
    result = folder.index(images)
    assert (result.indexed, result.unchanged, encoder.runs) == (0, 2, [])


def test_a_changed_file_is_embedded_again_in_its_own_row(folder: Folder) -> None:
    folder.index(folder.write(a=b"1", b=b"2"))
    result = folder.index(folder.write(a=b"other", b=b"2"))
    assert result.indexed >= 1
    assert folder.collection.count() == 2
    np.testing.assert_allclose(folder.collection.vector("a"), vector_of(b"other"))


def test_the_session_sees_micro_batches(folder: Folder, encoder: FakeEncoder) -> None:
    folder.index(folder.write(a=b"1", b=b"2", c=b"3", d=BROKEN, e=b"5"))
    assert encoder.runs == [2, 1, 1]


def test_every_failure_has_its_class(folder: Folder) -> None:
    images = folder.write(broken=BROKEN, large=b"x" * 2000)
    missing, outside = Image("missing", 1, 1), Image("../outside", 1, 1)
    result = folder.index([*images, missing, outside])
    kinds = {failure.path: failure.kind for failure in result.failures}
    assert kinds == {"broken": "unreadable", "large": "too_large", "missing": "not_found", "../outside": "refused"}


def test_what_failed_and_has_not_changed_fails_again_without_being_read(folder: Folder) -> None:
    images = folder.write(good=b"1", broken=BROKEN, blank=BLANK)
    first = folder.index(images)
    folder.remember(first)
    (folder.path / "broken").write_bytes(b"2")
    os.utime(folder.path / "broken", ns=(images[1].mtime_ns, images[1].mtime_ns))

    again = folder.index(images)

    assert sorted(failure.path for failure in again.failures) == ["blank", "broken"]
    assert sorted(again.failures, key=repr) == sorted(first.failures, key=repr), "the reasons are the remembered ones"
    assert (again.unchanged, again.indexed, again.failed_before, again.failed_now) == (1, 0, 2, [])
    assert folder.collection.vector("broken") is None


def test_what_failed_is_tried_again_when_it_has_changed_or_when_that_is_asked_for(
    folder: Folder, encoder: FakeEncoder
) -> None:
    images = folder.write(broken=BROKEN, blank=BLANK)
    folder.remember(folder.index(images))
    encoder.runs.clear()

    forced = folder.index(images, retry_failed=True)
    assert (len(forced.failures), forced.failed_before, encoder.runs) == (2, 0, [1])

    changed = folder.index([*folder.write(broken=b"mended"), images[1]])
    assert (changed.indexed, changed.mended, changed.failed_before) == (1, ["broken"], 1)


def test_a_file_that_failed_is_remembered_as_it_was_read_and_not_as_it_was_listed(folder: Folder) -> None:
    folder.write(a=BROKEN)
    result = folder.index([Image("a", 1, 1)])
    assert [image for image, _ in result.failed_now] == folder.images("a")


def test_what_its_surroundings_are_to_blame_for_is_tried_every_time(folder: Folder) -> None:
    outside = Image("../outside", 1, 1)
    folder.remember(folder.index([outside]))
    result = folder.index([outside])
    assert (len(result.failures), result.failed_before, len(result.failed_now)) == (1, 0, 1)


class FlakyRoot(ImageRoot):
    """A root of which each file is written or unreachable for so many reads."""

    def __init__(self, root: ImageRoot, error: ImageError, times: int) -> None:
        super().__init__(root.folder, max_bytes=1000)
        self.error, self.times = error, times
        self.reads: list[str] = []

    def read(self, path: str) -> File:
        self.reads.append(path)
        if self.reads.count(path) <= self.times:
            raise self.error
        return super().read(path)


@pytest.mark.parametrize(("error", "tries"), [(NoAccess("A disk is slow."), 2), (ImageChanging("It grows."), 3)])
def test_what_may_pass_in_a_moment_is_read_again_after_the_others(
    folder: Folder, error: ImageError, tries: int
) -> None:
    assert POLICIES[error.kind].tries == tries  # type: ignore[index]
    images = folder.write(a=b"1", b=b"2", c=b"3")

    folder.root = once = FlakyRoot(folder.root, error, times=tries - 1)
    assert folder.index(images).indexed == 3
    # Threads of one pass may come in any order.
    passes = [sorted(once.reads[start : start + 3]) for start in range(0, len(once.reads), 3)]
    assert passes == [["a", "b", "c"]] * tries

    folder.root = always = FlakyRoot(folder.root, error, times=tries)
    changed = [Image(image.path, 0, 0) for image in images]
    result = folder.index(changed)
    assert ({failure.kind for failure in result.failures}, len(always.reads)) == ({error.kind}, 3 * tries)


def test_what_beat_raises_leaves_nothing_behind(folder: Folder) -> None:
    class Stopped(Exception):
        pass

    def beat() -> None:
        raise Stopped

    images = folder.write(a=b"1")
    with pytest.raises(Stopped):
        index_batch(
            images,
            encoder=folder.encoder,
            collection=folder.collection,
            root=folder.root,
            recall=folder.recall,
            retry_failed=False,
            patience=at_once,
            micro_batch=2,
            decode_threads=folder.threads,
            beat=beat,
            clocks=Clocks(),
        )
    assert folder.collection.count() == 0


def test_an_indexed_picture_finds_itself_first(folder: Folder) -> None:
    folder.index(folder.write(a=b"1", b=b"2", c=b"3"))
    by_picture, by_path = folder.ask(Query.of_picture("q", b"2"), Query(name="c", like="c"))
    assert by_picture[0] == "b"
    assert by_path[0] == "c"
    assert len(by_picture) == 3


def test_one_bad_query_does_not_spoil_the_others(folder: Folder) -> None:
    folder.index(folder.write(a=b"1"))
    answers = folder.ask(
        Query.of_picture("broken", BROKEN),
        Query.of_picture("good", b"1"),
        Query(name="no base64", picture="!"),
        Query(name="unknown", like="nowhere"),
        Query.of_picture("blank", BLANK),
    )
    assert answers[1] == ["a"]
    assert "damaged" in answers[0]
    assert "base64" in answers[2]
    assert "not indexed" in answers[3]
    assert "Nothing to see" in answers[4]


def test_an_indexed_picture_stands_before_its_copies(folder: Folder) -> None:
    folder.index(folder.write(a=b"1", b=b"1", c=b"1", d=b"2"))
    for name in "abc":
        (two,) = folder.ask(Query(name=name, like=name), limit=2)
        assert two[0] == name
        assert len(two) == 2


def test_a_text_finds_what_it_describes(folder: Folder) -> None:
    folder.index(folder.write(a=b"red", b=b"blue"))
    found, refused = folder.ask(Query(name="words", text="blue"), Query(name="words", text="nonsense"))
    assert found[0] == "b"
    assert "no meaning" in refused


def test_hits_carry_thumbnails_only_when_asked_and_only_of_files_that_are_there(folder: Folder) -> None:
    folder.index(folder.write(a=b"1", b=b"2"))
    (folder.path / "b").unlink()
    request = SearchRequest(
        model="tiny", library="images", limit=5, queries=[Query.of_picture("q", b"1")], thumbnail=64
    )

    def shrink(data: bytes, side: int) -> bytes:
        if data == b"2":
            raise ImageError("never reached")
        return b"small"

    (answer,) = search(
        request, encoder=folder.encoder, collection=folder.collection, root=folder.root, read=reads, thumbnail=shrink
    )
    assert {hit.path: hit.thumbnail for hit in answer.hits} == {"a": "c21hbGw=", "b": None}
    assert answer.thumbnail == "c21hbGw="
