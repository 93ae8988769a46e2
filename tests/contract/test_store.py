"""What every vector store promises."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.contract.conftest import DIMENSION, unit
from tests.specs import tiny_spec
from workers.milvus_rows import REQUEST_MAX
from workers.store import Collection, Known, Row, StoreRejected, VectorStore, image_id

MakeRow = Callable[..., Row]

ODD_PATHS = [
    "plain.jpg",
    "with space/and, comma.jpg",
    "new\nline\r\ttab.jpg",
    "bell\x07 and \x01.jpg",
    "quote\"s and 'apostrophes'.jpg",
    "back\\slash\\\\n.jpg",
    "looks\\x0aescaped.jpg",
    "100%_[abc]*?.jpg",
    "{curly} $dollar.jpg",
    '" or id != "',
    '"] or path like "%',
    "emoji 🐈‍⬛ and ünïcödé.jpg",
    "right \u202e to left \u2028.jpg",
    "not utf-8 \udcff\udc80.jpg",
    "half of \udcc3.jpg",
    "é".encode("latin-1").decode("utf-8", "surrogateescape"),
    "/".join(["d" * 255] * 16)[:4096],
    "\udcff" * 4096,
    "\\" * 4096,
]


def test_a_row_comes_back_as_it_was_written(collection: Collection, row: MakeRow) -> None:
    written = row("a/b.jpg", size=2**40, mtime_ns=1_700_000_000_123_456_789)
    collection.upsert([written])

    assert collection.known(["a/b.jpg"]) == {"a/b.jpg": Known("a/b.jpg", 2**40, 1_700_000_000_123_456_789)}
    vector = collection.vector("a/b.jpg")
    assert vector is not None
    assert vector.dtype == np.float32
    np.testing.assert_array_equal(vector, written.vector)


def test_writing_twice_leaves_one_row(collection: Collection, row: MakeRow) -> None:
    for _ in range(2):
        collection.upsert([row("a.jpg"), row("b.jpg")])

    assert collection.count() == 2


def test_a_row_of_the_same_path_is_replaced(collection: Collection, row: MakeRow) -> None:
    old, new = row("a.jpg", size=1), row("a.jpg", size=2)
    collection.upsert([old, row("b.jpg")])
    collection.upsert([new])

    assert collection.known(["a.jpg"])["a.jpg"].size == 2
    [hits] = collection.search(new.vector[np.newaxis], 10)
    assert [hit.path for hit in hits].count("a.jpg") == 1
    assert hits[0].path == "a.jpg"
    assert hits[0].score == pytest.approx(1, abs=1e-5)


def test_of_equal_paths_in_one_batch_the_last_wins(collection: Collection, row: MakeRow) -> None:
    collection.upsert([row("a.jpg", size=1), row("b.jpg"), row("a.jpg", size=3)])

    assert collection.count() == 2
    assert collection.known(["a.jpg"])["a.jpg"].size == 3


@pytest.mark.parametrize("path", ODD_PATHS, ids=[ascii(path[:24]) for path in ODD_PATHS])
def test_any_file_name_is_kept(collection: Collection, row: MakeRow, path: str) -> None:
    neighbour = row("neighbour.jpg")
    written = row(path)
    collection.upsert([written, neighbour])

    assert collection.known([path]) == {path: Known(path, 10, 20)}
    assert [hit.path for hit in collection.search(written.vector[np.newaxis], 1)[0]] == [path]
    assert {known.path for _, known in collection.scan("", "", 10)} == {path, "neighbour.jpg"}

    collection.delete([path])
    assert collection.vector(path) is None
    assert collection.count() == 1


def test_paths_that_look_alike_when_escaped_stay_apart(collection: Collection, row: MakeRow) -> None:
    paths = ["a\nb", "a\\nb", "a\\x0ab", "a\\\\x0ab", "a\udcffb", "a\\xffb", "a\\\\xffb"]
    collection.upsert([row(path, size=size) for size, path in enumerate(paths)])

    assert {known.path: known.size for known in collection.known(paths).values()} == {
        path: size for size, path in enumerate(paths)
    }


def test_a_search_finds_the_image_itself_first_and_the_rest_by_nearness(collection: Collection, row: MakeRow) -> None:
    near, middle, far = (unit([1, tilt, 0, 0, 0, 0, 0, 0]) for tilt in (0, 0.3, 2))
    collection.upsert([row("far", far), row("near", near), row("middle", middle)])

    [hits] = collection.search(near[np.newaxis], 3)

    assert [hit.path for hit in hits] == ["near", "middle", "far"]
    assert [hit.score for hit in hits] == pytest.approx(
        [float(near @ other) for other in (near, middle, far)], abs=1e-5
    )


def test_several_vectors_are_answered_in_their_order(collection: Collection, row: MakeRow) -> None:
    rows = [row(f"{number}.jpg") for number in range(30)]
    collection.upsert(rows)

    answers = collection.search(np.stack([row.vector for row in rows]), 1)

    assert [hits[0].path for hits in answers] == [row.path for row in rows]


def test_a_limit_above_the_number_of_rows_gives_all(collection: Collection, row: MakeRow) -> None:
    collection.upsert([row(f"{number}.jpg") for number in range(5)])

    [hits] = collection.search(row("query").vector[np.newaxis], 1000)

    assert len(hits) == 5


def test_an_empty_collection_answers(collection: Collection, row: MakeRow) -> None:
    assert collection.count() == 0
    assert collection.known(["a.jpg"]) == {}
    assert collection.known([]) == {}
    assert collection.vector("a.jpg") is None
    assert list(collection.scan("", "", 10)) == []
    assert collection.search(np.stack([row("q").vector] * 2), 5) == [[], []]
    collection.delete(["a.jpg"])
    collection.delete([])
    collection.upsert([])


def test_a_thousand_paths_are_looked_up_at_once(collection: Collection, row: MakeRow) -> None:
    collection.upsert([row(f"known/{number}.jpg") for number in range(1030)])

    asked = [f"{folder}/{number}.jpg" for number in range(1030) for folder in ("known", "unknown")]

    assert set(collection.known(asked)) == {f"known/{number}.jpg" for number in range(1030)}


def test_pages_of_a_scan_give_every_row_once_in_the_order_of_ids(collection: Collection, row: MakeRow) -> None:
    paths = [f"{number}.jpg" for number in range(600)]
    collection.upsert([row(path) for path in paths])
    collection.upsert([row(path) for path in paths[:200]])  # in parts, as a server keeps them
    after, ids, pages = "", [], 0

    while page := collection.scan("", after, 250):
        after, pages = page[-1][0], pages + 1
        ids += [id_ for id_, _ in page]

    assert ids == sorted(image_id(path) for path in paths)
    assert pages == 3


@pytest.mark.parametrize("folder", ["a", "a_b", "a%", "a\\", 'a"b', "a\nb", "ü", "a\udcff", "a/b"])
def test_a_scan_keeps_to_its_folder(collection: Collection, row: MakeRow, folder: str) -> None:
    inside = [f"{folder}/1.jpg", f"{folder}/deep/down/2.jpg", f"{folder}/\uffff.jpg"]
    beside = [
        folder,
        f"{folder}b/1.jpg",
        f"{folder}0.jpg",
        f"{folder}.jpg",
        f"x/{folder}/1.jpg",
        f"{folder.upper()}/1.jpg",
    ]
    wild = ["axb/1.jpg", "abc/1.jpg", "a\\\\/1.jpg", "a\\x0ab/1.jpg", "0", "zzz"]
    outside = [path for path in beside + wild if not path.startswith(f"{folder}/")]
    collection.upsert([row(path) for path in inside + outside])

    assert {known.path for _, known in collection.scan(folder, "", 100)} == set(inside)
    assert {known.path for _, known in collection.scan(folder + "/", "", 100)} == set(inside)


def test_deleted_rows_are_gone_and_others_stay(collection: Collection, row: MakeRow) -> None:
    rows = [row(f"{number}.jpg") for number in range(10)]
    collection.upsert(rows)

    collection.delete(["3.jpg", "4.jpg", "never.jpg"])

    assert collection.count() == 8
    assert collection.known(["3.jpg", "5.jpg"]).keys() == {"5.jpg"}
    assert "3.jpg" not in {hit.path for hit in collection.search(rows[3].vector[np.newaxis], 10)[0]}
    collection.upsert([rows[3]])
    assert collection.count() == 9


def test_two_fingerprints_are_kept_apart(store: VectorStore, library: str, row: MakeRow) -> None:
    first, second = (store.collection(library, tiny_spec(sha256=sha256 * 64), create=True) for sha256 in ("0", "1"))
    assert first is not None
    assert second is not None

    first.upsert([row("a.jpg")])

    assert (first.count(), second.count()) == (1, 0)


def test_libraries_whose_names_look_alike_are_kept_apart(store: VectorStore, library: str, row: MakeRow) -> None:
    names = [f"{library}{end}" for end in ("", "-x", ".x", "-2dx")]
    collections = [store.collection(name, tiny_spec(), create=True) for name in names]

    for number, made in enumerate(collections):
        assert made is not None
        made.upsert([row(f"{step}.jpg") for step in range(number)])

    assert [made and made.count() for made in collections] == list(range(len(names)))


def test_a_collection_that_was_never_made_is_none(store: VectorStore, library: str) -> None:
    assert store.collection(library, tiny_spec(), create=False) is None
    assert store.collection(library, tiny_spec(), create=True) is not None
    assert store.collection(library, tiny_spec(), create=False) is not None


@pytest.mark.parametrize(
    "vector",
    [
        np.full(DIMENSION, np.nan, np.float32),
        np.full(DIMENSION, np.inf, np.float32),
        np.zeros(DIMENSION, np.float32),
        np.full(DIMENSION, 1, np.float32),
        unit([1] * (DIMENSION + 1)),
    ],
    ids=["nan", "infinite", "zero", "not of unit length", "wrong dimension"],
)
def test_a_vector_that_is_none_is_refused_and_nothing_of_its_batch_is_written(
    collection: Collection, row: MakeRow, vector: np.ndarray
) -> None:
    with pytest.raises(StoreRejected, match=r"bad\.jpg"):
        collection.upsert([row("good.jpg"), row("bad.jpg", vector)])
    with pytest.raises(StoreRejected, match="query"):
        collection.search(vector[np.newaxis], 1)

    assert collection.count() == 0


def test_a_batch_of_more_bytes_than_a_request_takes_is_written(store: VectorStore, library: str, row: MakeRow) -> None:
    wide = store.collection(library, tiny_spec(dimension=16_384), create=True)
    assert wide is not None
    vectors = np.eye(16_384, dtype=np.float32)[:300]
    assert vectors.nbytes > REQUEST_MAX

    wide.upsert([row(f"{number}.jpg", vector) for number, vector in enumerate(vectors)])

    assert wide.count() == 300


def test_the_first_collection_is_in_service_until_another_is_put_there(store: VectorStore, library: str) -> None:
    old, new = tiny_spec(), tiny_spec("tiny-2", sha256="1" * 64)
    assert store.in_service(library, "tiny") is None
    for spec in (old, new):
        assert store.collection(library, spec, create=True) is not None
    assert store.in_service(library, "tiny") == old.fingerprint

    store.point(library, "tiny", new)
    store.point(library, "tiny", new)
    assert store.in_service(library, "tiny") == new.fingerprint

    store.point(library, "tiny", old)
    assert store.in_service(library, "tiny") == old.fingerprint
    assert store.in_service(library, "tiny-2") == new.fingerprint


def test_a_collection_that_is_not_there_is_not_put_into_service(store: VectorStore, library: str) -> None:
    assert store.collection(library, tiny_spec(), create=True) is not None
    with pytest.raises(StoreRejected):
        store.point(library, "tiny", tiny_spec(sha256="2" * 64))
    assert store.in_service(library, "tiny") == tiny_spec().fingerprint
