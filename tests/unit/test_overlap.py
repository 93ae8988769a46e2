"""Decoding and inference at the same time inside a worker, with a session that is as slow as the test wants."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from models.errors import ImageError, InferenceFailed
from models.preprocess import Picture
from tests.fake_encoder import BLANK, BROKEN, FakeEncoder, vector_of
from tests.fakes import InMemoryStore
from tests.specs import tiny_spec
from workers.clocks import Clocks
from workers.contract import Image
from workers.image_root import File, ImageRoot, RootUnavailable
from workers.pipeline import BatchResult, index_batch
from workers.store import Collection, Vector

#: Seconds after which something that must happen did not.
SOON = 20.0


class SlowSession(FakeEncoder):
    """Its n-th run ends only when the pictures of the run after it are decoded: alone it would never end."""

    def __init__(self, size: int, total: int) -> None:
        super().__init__()
        self._size, self._total = size, total
        self.decoded = threading.Semaphore(0)
        self.threads: set[str] = set()

    def prepare(self, data: bytes) -> Picture:
        picture = super().prepare(data)
        self.threads.add(threading.current_thread().name)
        self.decoded.release()
        return picture

    def encode(self, pictures: Sequence[Picture]) -> list[Vector | ImageError]:
        vectors = super().encode(pictures)
        done = sum(self.runs)
        # The first run waits for its own pictures too.
        wanted = min(self._size, self._total - done) + (len(pictures) if len(self.runs) == 1 else 0)
        for _ in range(wanted):
            assert self.decoded.acquire(timeout=SOON), "the next micro-batch was not decoded during this run"
        return vectors


@pytest.fixture
def collection() -> Collection:
    found = InMemoryStore().collection("images", tiny_spec(), create=True)
    assert found is not None
    return found


def files(folder: Path, *contents: bytes) -> list[Image]:
    for number, data in enumerate(contents):
        (folder / f"{number:03}").write_bytes(data)
    return [Image(f"{number:03}", len(data), 1) for number, data in enumerate(contents)]


def index(
    images: list[Image], encoder: FakeEncoder, collection: Collection, root: ImageRoot, threads: int = 2
) -> BatchResult:
    def patience(call):  # type: ignore[no-untyped-def]
        while True:
            try:
                return call()
            except RootUnavailable:
                continue

    return index_batch(
        images,
        encoder=encoder,
        collection=collection,
        root=root,
        recall=lambda _: {},
        retry_failed=False,
        patience=patience,
        micro_batch=4,
        decode_threads=threads,
        beat=lambda: None,
        clocks=Clocks(),
    )


def test_the_next_micro_batch_is_decoded_while_the_session_runs(tmp_path: Path, collection: Collection) -> None:
    contents = [b"%d" % number for number in range(18)]
    encoder = SlowSession(size=4, total=18)

    result = index(files(tmp_path, *contents), encoder, collection, ImageRoot(tmp_path, 100))

    assert (result.indexed, encoder.runs) == (18, [4, 4, 4, 4, 2])
    assert threading.current_thread().name not in encoder.threads
    for number, data in enumerate(contents):
        vector = collection.vector(f"{number:03}")
        assert vector is not None
        assert (vector == vector_of(data)).all(), "a vector went to another path"


def test_failures_are_in_the_order_of_the_images(tmp_path: Path, collection: Collection) -> None:
    contents = [BROKEN, b"1", BLANK, b"x" * 200, b"4", BROKEN, b"6", b"7", BROKEN]
    images = files(tmp_path, *contents)
    inline, threaded = (
        index(images, FakeEncoder(), collection_of(), ImageRoot(tmp_path, 100), threads) for threads in (0, 4)
    )
    assert [failure.path for failure in threaded.failures] == [failure.path for failure in inline.failures]
    assert (threaded.indexed, len(threaded.failures)) == (4, 5)


def collection_of() -> Collection:
    found = InMemoryStore().collection("images", tiny_spec(), create=True)
    assert found is not None
    return found


@pytest.mark.parametrize("threads", [0, 2])
def test_a_session_that_fails_ends_the_batch(tmp_path: Path, collection: Collection, threads: int) -> None:
    class Failing(FakeEncoder):
        def encode(self, pictures: Sequence[Picture]) -> list[Vector | ImageError]:
            raise InferenceFailed("The model tiny failed.")

    images = files(tmp_path, *(b"%d" % number for number in range(20)))
    with pytest.raises(InferenceFailed):
        index(images, Failing(), collection, ImageRoot(tmp_path, 100), threads)
    assert collection.count() == 0


@pytest.mark.parametrize("threads", [0, 2])
def test_what_nobody_expects_of_a_decoder_is_not_an_images_failure(
    tmp_path: Path, collection: Collection, threads: int
) -> None:
    class Odd(FakeEncoder):
        def prepare(self, data: bytes) -> Picture:
            raise ZeroDivisionError("a mistake in a program")

    with pytest.raises(ZeroDivisionError):
        index(files(tmp_path, b"1"), Odd(), collection, ImageRoot(tmp_path, 100), threads)


@pytest.mark.parametrize("threads", [0, 2])
def test_a_root_that_goes_away_is_waited_for_by_the_main_thread(
    tmp_path: Path, collection: Collection, threads: int
) -> None:
    class Away(ImageRoot):
        """Not there for the first ten reads."""

        def __init__(self) -> None:
            super().__init__(tmp_path, 100)
            self.reads: list[str] = []

        def read(self, path: str) -> File:
            self.reads.append(threading.current_thread().name)
            if len(self.reads) <= 10:
                raise RootUnavailable("The disk is not mounted.")
            return super().read(path)

    root = Away()
    images = files(tmp_path, *(b"%d" % number for number in range(6)))
    assert index(images, FakeEncoder(), collection, root, threads).indexed == 6
    assert threading.current_thread().name in root.reads
