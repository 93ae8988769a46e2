"""What failed is remembered by the commit of its batch, for its file as it was, and for a bounded time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from workers.contract import BatchMessage, Failure, FailureKind, Image
from workers.failure_memory import FailureMemory
from workers.failure_policy import POLICIES
from workers.job_state import JobSpec
from workers.leases import Leases
from workers.ledger import Ledger, connect

BROKEN = Image("a/broken\udcff.jpg", 10, 1_700_000_000_000_000_000)
FAILURE = Failure(path=BROKEN.path, kind="unreadable", reason='It is "cut" short: ü.')


class Bench:
    """One job, and batches of one image that fail."""

    def __init__(self, url: str) -> None:
        self.redis = connect(url)
        self.ledger = Ledger(self.redis)
        self.job = self.ledger.create_job(JobSpec("images", "colour", ("a",)))
        self.leases = Leases(self.redis, "tests")

    def memory(self, library: str = "images", fingerprint: str = "f1", **options: object) -> FailureMemory:
        return FailureMemory(self.redis, library, fingerprint, **options)  # type: ignore[arg-type]

    def message(self) -> BatchMessage:
        number = self.ledger.open_batch(self.job, [BROKEN])
        assert number is not None
        return BatchMessage(job=self.job, batch=number, count=1)

    def commit(self, memory: FailureMemory, failure: Failure = FAILURE, image: Image = BROKEN) -> bool:
        notes = memory.notes(self.job, [(image, failure)])
        return self.leases.commit(self.message(), 0, 0, [failure], notes=notes)


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    made = Bench(redis_url)
    yield made
    made.redis.close()


def test_a_failure_is_remembered_with_its_reason_its_job_and_its_time(bench: Bench) -> None:
    memory = bench.memory()
    other = Image("a/other.jpg", 1, 1)
    bench.commit(memory)

    found = memory.recall([other, BROKEN])

    assert list(found) == [BROKEN.path]
    remembered = found[BROKEN.path]
    assert (remembered.failure, remembered.job, remembered.stands) == (FAILURE, bench.job, True)
    assert abs(remembered.when - time.time()) < 60
    assert memory.recall([]) == {}


@pytest.mark.parametrize("now", [BROKEN._replace(size=11), BROKEN._replace(mtime_ns=BROKEN.mtime_ns + 1)])
def test_it_is_not_the_same_when_size_or_time_have_changed(bench: Bench, now: Image) -> None:
    memory = bench.memory()
    bench.commit(memory)
    assert not memory.recall([now])[BROKEN.path].same


def test_it_is_not_the_same_under_other_limits(bench: Bench) -> None:
    bench.commit(bench.memory(limits="128 megapixels"))
    assert not bench.memory(limits="200 megapixels").recall([BROKEN])[BROKEN.path].same


def test_libraries_and_fingerprints_do_not_share_it(bench: Bench) -> None:
    bench.commit(bench.memory())
    assert bench.memory(library="other").recall([BROKEN]) == {}
    assert bench.memory(fingerprint="f2").recall([BROKEN]) == {}


@pytest.mark.parametrize("kind", POLICIES)
def test_what_is_remembered_is_what_the_policy_says(bench: Bench, kind: FailureKind) -> None:
    memory = bench.memory()
    bench.commit(memory, Failure(path=BROKEN.path, kind=kind, reason="."))
    found = memory.recall([BROKEN])
    assert (BROKEN.path in found) == POLICIES[kind].remembered == (kind != "not_found")
    assert not found or found[BROKEN.path].stands == POLICIES[kind].final


def test_a_batch_that_was_counted_before_leaves_nothing(bench: Bench) -> None:
    memory, message = bench.memory(), bench.message()
    notes = memory.notes(bench.job, [(BROKEN, FAILURE)])
    assert bench.leases.commit(message, 1, 0, [])
    assert not bench.leases.commit(message, 0, 0, [FAILURE], notes=notes)
    assert memory.recall([BROKEN]) == {}


def test_what_is_indexed_at_last_is_forgotten(bench: Bench) -> None:
    memory = bench.memory()
    bench.commit(memory)
    bench.leases.commit(bench.message(), 1, 0, [], notes=memory.notes(bench.job, [], [BROKEN.path]))
    assert memory.recall([BROKEN]) == {}


def test_it_lasts_for_one_period_and_the_next_and_redis_drops_it_after_that(bench: Bench) -> None:
    memory = bench.memory(days=7)
    bench.commit(memory)
    (key, reasons) = sorted(bench.redis.keys("imagefleet:failed:*"))
    assert {bench.redis.ttl(key), bench.redis.ttl(reasons)} <= {14 * 86_400, 14 * 86_400 - 1}

    place, _, period = key.decode().rpartition(":")

    def found_after(periods: int) -> bool:
        older = f"{place}:{int(period) - periods}"
        bench.redis.rename(key, older)
        bench.redis.rename(reasons, f"{older}:reasons")
        found = memory.recall([BROKEN])
        bench.redis.rename(older, key)
        bench.redis.rename(f"{older}:reasons", reasons)
        return BROKEN.path in found

    assert [found_after(1), found_after(2)] == [True, False]


def test_the_newest_failure_wins(bench: Bench) -> None:
    memory = bench.memory()
    bench.commit(memory)
    later = Failure(path=BROKEN.path, kind="too_large", reason="Later.")
    bench.commit(memory, later, BROKEN._replace(size=99))
    found = memory.recall([BROKEN._replace(size=99)])[BROKEN.path]
    assert (found.failure, found.stands) == (later, True)


def test_values_that_nobody_of_this_version_wrote_are_passed_over(bench: Bench) -> None:
    memory = bench.memory()
    bench.commit(memory)
    (_, reasons) = sorted(bench.redis.keys("imagefleet:failed:*"))
    for value in (b"nonsense", b"[]", b'{"kind": "no such class", "reason": ""}'):
        bench.redis.hset(reasons, mapping=dict.fromkeys(bench.redis.hkeys(reasons), value))
        assert memory.recall([BROKEN]) == {}


def test_one_image_costs_about_a_hundred_bytes(bench: Bench) -> None:
    memory = bench.memory()
    images = [Image(f"{number}.jpg", number, number) for number in range(1000)]
    pairs = [(image, Failure(path=image.path, kind="unreadable", reason="It is cut short.")) for image in images]
    bench.leases.commit(bench.message(), 0, 0, [], notes=memory.notes(bench.job, pairs))
    assert len(memory.recall(images)) == 1000
    used = sum(bench.redis.memory_usage(key, samples=0) for key in bench.redis.keys("imagefleet:failed:*"))
    assert used / 1000 < 130, used
