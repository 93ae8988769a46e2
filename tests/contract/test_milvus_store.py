"""What only a store on a server can get wrong: races, outages, collections that others made or dropped."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.services import Service, free_port, start
from tests.specs import tiny_spec
from workers.milvus import MilvusStore
from workers.milvus_rows import alias_name, collection_name
from workers.store import Collection, Row, StoreRejected, StoreUnavailable

MakeRow = Callable[..., Row]

PLAIN_LITE = """
import sys
from milvus_lite.adapter.grpc.server import run_server
run_server(sys.argv[1], host="127.0.0.1", port=int(sys.argv[2]))
"""


def made(store: MilvusStore, library: str, sha256: str = "0") -> Collection:
    collection = store.collection(library, tiny_spec(sha256=sha256 * 64), create=True)
    assert collection is not None
    return collection


def test_where_nobody_listens_a_sentence_comes_soon() -> None:
    store = MilvusStore(f"http://user:secret@127.0.0.1:{free_port()}")
    begun = time.monotonic()

    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:\d+ does not answer.*start it") as caught:
        store.ping()

    assert time.monotonic() - begun < 8
    assert "secret" not in str(caught.value)


def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = MilvusStore(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=2)
        begun = time.monotonic()

        with pytest.raises(StoreUnavailable):
            store.ping()

        assert time.monotonic() - begun < 6


@pytest.mark.parametrize("uri", ["", "milvus.db", "/tmp/milvus.db", "127.0.0.1:19530", "http://", "redis://host:1"])
def test_an_address_that_is_none_is_refused(uri: str) -> None:
    with pytest.raises(StoreRejected, match="IMAGEFLEET_MILVUS_URI as http://host:19530"):
        MilvusStore(uri)


@pytest.fixture
def plain_lite(tmp_path: Path) -> Iterator[Service]:
    port = free_port()
    command = [sys.executable, "-c", PLAIN_LITE, str(tmp_path / "data"), str(port)]
    service = start(command, f"http://127.0.0.1:{port}", port, tmp_path / "log")
    yield service
    service.kill()


def test_a_milvus_lite_that_loses_rows_is_refused(plain_lite: Service) -> None:
    store = MilvusStore(plain_lite.url)

    for _ in range(2):
        with pytest.raises(StoreRejected, match=r"loses rows.*python -m workers\.local\.milvus_lite --data-dir"):
            store.ping()


def test_many_may_make_a_collection_at_once(uri: str, library: str, row: MakeRow) -> None:
    stores = [MilvusStore(uri) for _ in range(4)]
    begin = threading.Barrier(len(stores))

    def make_and_write(number: int) -> None:
        begin.wait(10)
        made(stores[number], library).upsert([row(f"{number}.jpg")])

    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(make_and_write, range(len(stores))))

    assert made(stores[0], library).count() == 4
    for store in stores:
        store.close()


def test_a_collection_without_its_index_is_not_there_yet_and_can_be_finished(
    milvus: MilvusStore, uri: str, library: str, row: MakeRow
) -> None:
    # Given a process that died after making the collection and before making the index
    name = collection_name(library, tiny_spec())
    made(milvus, library)
    milvus.call(lambda client: client.release_collection(name, timeout=10))
    milvus.call(lambda client: client.drop_index(name, "vector", timeout=10))

    # When another one comes
    other = MilvusStore(uri)

    # Then it finds nothing to search in, and can finish the work
    assert other.collection(library, tiny_spec(), create=False) is None
    finished = made(other, library)
    finished.upsert([row("a.jpg")])
    assert finished.count() == 1
    other.close()


def test_the_alias_points_to_the_first_and_is_not_moved(milvus: MilvusStore, library: str) -> None:
    made(milvus, library, "0")
    made(milvus, library, "1")

    alias = alias_name(library, tiny_spec().name)
    description = milvus.call(lambda client: client.describe_collection(alias, timeout=10))

    assert description["collection_name"] == collection_name(library, tiny_spec(sha256="0" * 64))


def test_a_collection_of_another_dimension_is_refused(milvus: MilvusStore, library: str) -> None:
    name = collection_name(library, tiny_spec())
    milvus.call(lambda client: client.create_collection(name, 5, timeout=30))

    with pytest.raises(StoreRejected, match=r"holds vectors of 5 numbers, the model gives 8; drop"):
        milvus.collection(library, tiny_spec(), create=False)


def test_a_collection_of_another_metric_is_refused(milvus: MilvusStore, uri: str, library: str) -> None:
    made(milvus, library)
    other = MilvusStore(uri, metric="L2")

    with pytest.raises(StoreRejected, match=r"metric COSINE, the settings say L2; set IMAGEFLEET_METRIC=COSINE"):
        other.collection(library, tiny_spec(), create=True)
    other.close()


@pytest.mark.parametrize("index_type", ["FLAT", "IVF_FLAT", "AUTOINDEX"])
@pytest.mark.parametrize("metric", ["IP", "L2"])
def test_other_metrics_and_indexes_find_the_image_itself(
    uri: str, library: str, row: MakeRow, metric: str, index_type: str
) -> None:
    store = MilvusStore(uri, metric=metric, index_type=index_type)
    rows = [row(f"{number}.jpg") for number in range(100)]
    collection = made(store, library)
    collection.upsert(rows)

    [hits] = collection.search(rows[7].vector[np.newaxis], 3)

    assert hits[0].path == "7.jpg"
    assert hits[0].score == pytest.approx({"IP": 1, "L2": 0}[metric], abs=1e-5)
    store.close()


def drop(store: MilvusStore, library: str) -> None:
    name = collection_name(library, tiny_spec())
    alias = alias_name(library, tiny_spec().name)
    store.call(lambda client: client.drop_alias(alias, timeout=10))
    store.call(lambda client: client.drop_collection(name, timeout=10))


def test_a_worker_makes_a_dropped_collection_anew(milvus: MilvusStore, uri: str, library: str, row: MakeRow) -> None:
    collection = made(milvus, library)
    collection.upsert([row("a.jpg")])
    other = MilvusStore(uri)

    drop(other, library)

    assert collection.known(["a.jpg"]) == {}
    collection.upsert([row("b.jpg")])
    assert collection.count() == 1
    other.close()


def test_a_searcher_says_that_a_collection_was_dropped(
    milvus: MilvusStore, uri: str, library: str, row: MakeRow
) -> None:
    made(milvus, library)
    searcher = MilvusStore(uri)
    collection = searcher.collection(library, tiny_spec(), create=False)
    assert collection is not None

    drop(milvus, library)

    with pytest.raises(StoreRejected, match=r"was dropped.*index its images again"):
        collection.search(row("q").vector[np.newaxis], 1)
    assert searcher.collection(library, tiny_spec(), create=False) is None
    searcher.close()


def test_a_released_collection_is_loaded_again(milvus: MilvusStore, library: str, row: MakeRow) -> None:
    collection = made(milvus, library)
    collection.upsert([row("a.jpg")])
    name = collection_name(library, tiny_spec())

    milvus.call(lambda client: client.release_collection(name, timeout=10))

    assert collection.count() == 1


def test_a_closed_store_connects_again_when_asked(milvus: MilvusStore) -> None:
    milvus.ping()
    milvus.close()
    milvus.ping()
