"""The audit that every case ends with: counts, rows, vectors, and what is left in Redis."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np

from models import weights
from models.encoder import Encoder
from models.opening import Limits
from models.spec import find
from tests.faults.city import City
from workers.app import make_app
from workers.ledger import JobState
from workers.milvus import MilvusStore
from workers.settings import Settings
from workers.store import Collection, Known

#: Keys that may be there when all is quiet; each is in the table of keys of workers.ledger, or Celery's own.
REMAINS = (
    "imagefleet:jobs",
    "imagefleet:job:????????????",
    "imagefleet:job:????????????:done",
    "imagefleet:job:????????????:failures",
    "imagefleet:failed:*",
    "imagefleet:waiting",  # cleared by the next look
    "imagefleet:again:*",  # expires
    "imagefleet:nodes",  # a word of each worker that lives
    "imagefleet:workers",  # a word of each process that lives
    "imagefleet:worker:*",  # expires
    "imagefleet:reconciler",  # expires
    "imagefleet:watchdog",  # expires
    "_kombu.binding*",  # names of queues
    "celery-task-meta-*",  # results, and what became of messages for unknown tasks; expire
    "unacked_mutex",  # expires
)


def audit(city: City) -> None:
    """Raises AssertionError about the first thing that is not as promised."""
    jobs = {job: counted(city, job) for job in city.jobs}
    failures = {failure.path: failure.kind for job in city.jobs for failure in city.client.failures(job)}
    assert Counter(failures.values()) == Counter(dict(city.case.failed)), failures
    if not city.case.mended_by_indexing_again:
        for collection in collections(city):
            check_rows(city, rows(collection), failures, jobs)
    deliver_again(city)
    assert {job: counted(city, job) for job in city.jobs} == jobs, "a second delivery was counted"
    for again in index_again(city):
        check_again(city, again, failures)
    for (_, model), collection in zip(city.places, collections(city), strict=True):
        present = rows(collection)
        assert set(present) == wanted(city, failures)
        check_vectors(city, model, collection, present)
    check_redis(city)


def counted(city: City, job: str) -> tuple[int, ...]:
    """The counts of a job, which add up."""
    state = city.client.status(job)
    assert state.done == state.queued, state
    assert state.open_batches == 0, state
    failures = list(city.client.failures(job))
    assert len(failures) == state.failed, failures
    return state.queued, state.indexed, state.unchanged, state.failed, state.cancelled


def wanted(city: City, failures: Mapping[str, str]) -> set[str]:
    """Paths that must have a row once everything was indexed: all pictures that are there and did not fail."""
    files = (file for file in city.root.rglob("*.png") if file.is_file())
    return {str(file.relative_to(city.root)) for file in files} - set(failures)


def check_rows(
    city: City, present: Mapping[str, Known], failures: Mapping[str, str], jobs: Mapping[str, tuple[int, ...]]
) -> None:
    """A row for each image that counts as indexed; all of them, unless something was cancelled or broken off."""
    complete = not any(cancelled for *_, cancelled in jobs.values()) and not city.producers
    paths = {str(file.relative_to(city.root)) for file in city.pictures}
    if complete:
        assert set(present) == paths - set(failures)
        return
    assert set(present) <= paths
    most = max((indexed + unchanged for _, indexed, unchanged, *_ in jobs.values()), default=0)
    assert len(present) >= most, (len(present), jobs)


def collections(city: City) -> Iterator[Collection]:
    """The collections of the case, in the order of its places; asked past the proxies."""
    for library, model in city.places:
        store = MilvusStore.from_settings(city.client.settings)
        try:
            collection = store.collection(library, find(model, city.client.settings.model_dir), create=True)
            assert collection is not None
            yield collection
        finally:
            store.close()


def rows(collection: Collection) -> dict[str, Known]:
    """Every row by its path; no path has two."""
    found: list[Known] = []
    after = ""
    while page := collection.scan("", after, 1000):
        after = page[-1][0]
        found += [known for _, known in page]
    by_path = {known.path: known for known in found}
    assert len(by_path) == len(found) == collection.count()
    return by_path


def check_vectors(city: City, model: str, collection: Collection, present: Mapping[str, Known]) -> None:
    """What is stored for a path is what its file gives."""
    for path, known in present.items():
        file = city.root / path
        status = file.stat()
        assert (known.size, known.mtime_ns) == (status.st_size, status.st_mtime_ns), path
        stored = collection.vector(path)
        assert stored is not None
        np.testing.assert_allclose(stored, embedded(file, model), atol=1e-4, err_msg=path)


def embedded(file: Path, model: str) -> np.ndarray:
    encoder = encoder_of(model)
    (vector,) = encoder.encode([encoder.prepare(file.read_bytes())])
    assert isinstance(vector, np.ndarray)
    return vector


@cache
def encoder_of(model: str) -> Encoder:
    settings = Settings()
    spec = find(model, settings.model_dir)
    limits = Limits(settings.formats, settings.max_file_bytes, settings.max_pixels)
    return Encoder(spec, weights.locate(spec, settings.model_dir), limits=limits)


def deliver_again(city: City) -> None:
    """Hand out whatever was not acknowledged, as the broker does when its visibility timeout is over."""
    if not city.workers:
        city.start_worker()
    for worker in city.workers:
        worker.wait_ready()
    give_back(city)

    def quiet() -> bool:
        with city.asked() as connection:
            return not connection.exists(*city.queues, "unacked", "unacked_index")

    city.wait(quiet, "the queues and the unacknowledged messages being gone")


def give_back(city: City) -> None:
    with make_app(city.client.settings).connection() as connection:
        qos = connection.default_channel.qos
        vars(qos)["visibility_timeout"] = 0
        qos.restore_visible(num=None, interval=1)


def index_again(city: City) -> list[JobState]:
    before = list(city.jobs)
    jobs = city.index()
    city.jobs = before
    city.wait(lambda: all(map(city.is_over, jobs)), "the end of indexing again")
    return [city.client.status(job) for job in jobs]


def check_again(city: City, again: JobState, failures: Mapping[str, str]) -> None:
    """Nothing is embedded twice, unless something had been taken away, broken off or cancelled."""
    assert again.done == again.queued, again
    assert again.indexed + again.unchanged == len(wanted(city, failures)), again
    if not (city.case.mended_by_indexing_again or city.producers or any(c[-1] for c in _counts(city))):
        assert again.indexed == 0, again


def _counts(city: City) -> list[tuple[int, ...]]:
    return [counted(city, job) for job in city.jobs]


def check_redis(city: City) -> None:
    what = f"an empty Redis instead of {left_in_redis(city)}"
    city.wait(lambda: not left_in_redis(city), what, 20)


def left_in_redis(city: City) -> list[str]:
    with city.asked() as connection:
        keys = [key.decode() for key in connection.scan_iter(count=1000)]
    return [key for key in keys if not any(fnmatch.fnmatch(key, pattern) for pattern in REMAINS)]
