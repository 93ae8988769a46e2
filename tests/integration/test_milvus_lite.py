"""Our Milvus Lite as a server: it loses no acknowledged row, ends when told to, and says why it cannot start."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest

from tests.services import ROOT, Service, free_port, start_milvus_lite
from tests.specs import tiny_spec
from tests.waiting import wait_until
from workers.milvus import MilvusStore
from workers.store import Collection, Row, StoreError, StoreRejected, StoreUnavailable

DIMENSION = 512
SPEC = tiny_spec(dimension=DIMENSION)


def rows(prefix: str, count: int) -> list[Row]:
    """Rows whose vectors are drawn at random from their prefix."""
    vectors = np.random.default_rng(zlib.crc32(prefix.encode())).normal(size=(count, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [Row(f"{prefix}/{number}.jpg", 1, 2, "c" * 32, 4, 3, 5, vector) for number, vector in enumerate(vectors)]


def opened(store: MilvusStore) -> Collection:
    collection = store.collection("images", SPEC, create=True)
    assert collection is not None
    return collection


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Service]]:
    """Starts servers on the one folder; whatever still runs at the end is killed."""
    started: list[Service] = []

    def begin(port: int | None = None) -> Service:
        started.append(start_milvus_lite(folder, port))
        return started[-1]

    yield begin
    for service in started:
        service.kill()


def write_until_it_dies(uri: str, name: str, acknowledged: str, begun: Event) -> None:
    """Upsert batch after batch, noting each that was acknowledged, until the server is gone."""
    store = MilvusStore(uri)
    collection = opened(store)
    with Path(acknowledged).open("w", encoding="utf-8") as notes:
        for batch in range(100_000):
            try:
                collection.upsert(rows(f"{name}/{batch}", 32))
            except StoreError:
                return
            print(batch, file=notes, flush=True)
            if batch == 3:
                begun.set()


@pytest.mark.parametrize("round_", range(3))
def test_no_acknowledged_row_is_lost_when_the_server_is_killed(
    start: Callable[..., Service], tmp_path: Path, round_: int
) -> None:
    # Given three processes that write at once
    server = start()
    context = multiprocessing.get_context("spawn")
    notes = {f"writer-{number}": tmp_path / f"{number}.txt" for number in range(3)}
    begun = {name: context.Event() for name in notes}
    writers = [
        context.Process(target=write_until_it_dies, args=(server.url, name, str(file), begun[name]))
        for name, file in notes.items()
    ]
    for writer in writers:
        writer.start()
    wait_until(lambda: all(event.is_set() for event in begun.values()), 60, "the first batches of all writers")
    wait_until(lambda: sum(map(lines, notes.values())) >= 30 + 15 * round_, 60, "some more batches")

    # When the server is killed, and started again on the same folder
    server.kill()
    for writer in writers:
        writer.join(60)
    server = start(server.port)

    # Then every batch that was acknowledged is there, whole
    collection = opened(MilvusStore(server.url))
    paths = [
        row.path
        for name, file in notes.items()
        for batch in file.read_text(encoding="utf-8").split()
        for row in rows(f"{name}/{batch}", 32)
    ]
    assert len(paths) >= 30 * 32
    assert set(paths) - set(collection.known(paths)) == set()


def lines(file: Path) -> int:
    return file.read_text(encoding="utf-8").count("\n") if file.exists() else 0


def test_a_store_outlives_a_killed_server(start: Callable[..., Service]) -> None:
    server = start()
    collection = opened(MilvusStore(server.url, timeout=6))
    collection.upsert(rows("before", 10))

    server.kill()
    with pytest.raises(StoreUnavailable, match="does not answer"):
        collection.count()
    start(server.port)

    assert collection.count() == 10  # the same object, loaded again
    [hits] = collection.search(rows("before", 10)[4].vector[np.newaxis], 1)
    assert hits[0].path == "before/4.jpg"
    collection.upsert(rows("after", 10))
    assert collection.count() == 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_closes_its_folder_when_told_to_end(start: Callable[..., Service], folder: Path, number: int) -> None:
    server = start()
    opened(MilvusStore(server.url)).upsert(rows("a", 100))

    server.process.send_signal(number)

    assert server.process.wait(20) == 0
    assert list(folder.rglob("wal_data_*")) == []  # written out
    assert opened(MilvusStore(start().url)).count() == 100


def test_it_ends_on_sigint_even_where_that_was_ignored(folder: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "workers.local.milvus_lite", "--data-dir", str(folder), "--port", str(port)]
    shell = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]  # as for what a shell puts in the background
    with subprocess.Popen(shell, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"answers on" in process.stdout.readline()

        process.send_signal(signal.SIGINT)

        assert process.wait(20) == 0


def test_rows_are_written_out_by_themselves_when_it_is_quiet(start: Callable[..., Service], folder: Path) -> None:
    server = start()
    opened(MilvusStore(server.url)).upsert(rows("a", 10))

    wait_until(lambda: list(folder.rglob("data_*.parquet")), 20, "the writing out of ten rows")


def test_searches_and_counts_are_right_while_others_write(start: Callable[..., Service]) -> None:
    server = start()
    stores = [MilvusStore(server.url) for _ in range(2)]
    wanted = rows("wanted", 50)
    opened(stores[0]).upsert(wanted)
    written = threading.Event()

    def write() -> None:
        for batch in range(120):  # 16 MB of rows: written out several times meanwhile
            opened(stores[1]).upsert(rows(f"other/{batch}", 64))
        written.set()

    writer = threading.Thread(target=write)
    writer.start()
    reader, last = opened(stores[0]), 0
    while not written.is_set():
        [hits] = reader.search(wanted[0].vector[np.newaxis], 1)
        assert hits[0].path == "wanted/0.jpg"
        assert len(reader.known([row.path for row in wanted])) == 50
        last, before = reader.count(), last
        assert last >= before
    writer.join()
    assert reader.count() == 50 + 120 * 64


def test_a_damaged_collection_does_not_take_the_others_away(start: Callable[..., Service], folder: Path) -> None:
    server = start()
    store = MilvusStore(server.url)
    opened(store).upsert(rows("a", 10))
    assert store.collection("damaged", SPEC, create=True)
    server.stop()
    [schema] = folder.glob("collections/damaged__*/schema.json")
    schema.write_text("{")

    server = start(server.port)

    assert opened(store).count() == 10
    assert "the others are served" in server.log.read_text()
    with pytest.raises(StoreRejected):
        MilvusStore(server.url).collection("damaged", SPEC, create=True)
    assert server.stop() == 0


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workers.local.milvus_lite", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_a_second_server_on_one_folder_is_refused(start: Callable[..., Service], folder: Path) -> None:
    start()

    result = run("--data-dir", str(folder), "--port", "0")

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"Another Milvus Lite serves {folder}; stop it or choose another --data-dir.\n"


def test_a_used_port_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        result = run("--data-dir", str(tmp_path / "data"), "--port", str(port))

    assert result.returncode == 2
    assert result.stderr.endswith(f"127.0.0.1:{port} cannot be listened on; free the port or choose another --port.\n")
    assert "Traceback" not in result.stderr


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    result = run("--data-dir", str(tmp_path / "file" / "data"), "--port", "0")

    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "name a folder with --data-dir that may be written to" in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    result = run("--data-dir", str(tmp_path / "data"), "--port", "0")

    assert result.returncode == 2
    assert "name a folder with --data-dir that may be written to" in result.stderr
