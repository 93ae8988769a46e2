"""The life of one batch on a real Redis: what is waited for, given back, split, taken over."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from models.errors import InferenceFailed
from tests.waiting import wait_until
from workers import batch
from workers.batch import Context, Waiter
from workers.contract import BatchMessage, Failure, Image
from workers.image_root import RootUnavailable
from workers.job_state import JobSpec, JobState
from workers.leases import Begun, Leases
from workers.ledger import Ledger, LedgerUnavailable, connect
from workers.pipeline import BatchResult
from workers.store import StoreRejected, StoreUnavailable

IMAGES = [Image(f"{n}.jpg", n, n) for n in range(4)]
Work = Callable[[Begun, Waiter, Callable[[], None]], BatchResult]


class Bench:
    """One job with one queued batch, and a way to run deliveries of it."""

    def __init__(self, url: str, images: list[Image] = IMAGES) -> None:
        self.redis = connect(url)
        self.ledger = Ledger(self.redis)
        self.job = self.ledger.create_job(JobSpec("images", "colour", ("",)))
        self.sent: list[BatchMessage] = []
        number = self.ledger.open_batch(self.job, images)
        assert number is not None
        self.message = BatchMessage(job=self.job, batch=number, count=len(images))
        self.ledger.close_walk(self.job, {})

    def run(
        self,
        work: Work,
        message: BatchMessage | None = None,
        *,
        holder: str = "a",
        patience: float = 0.0,
        redelivered: bool = False,
    ) -> str:
        context = Context(
            leases=Leases(self.redis, holder),
            ledger=self.ledger,
            work=work,
            send=lambda model, half: self.sent.append(half),
            max_attempts=2,
            patience=patience,
        )
        return batch.run(message or self.message, context, redelivered=redelivered)

    @property
    def state(self) -> JobState:
        state = self.ledger.job(self.job)
        assert state is not None
        return state

    @property
    def due(self) -> list[BatchMessage]:
        return [item.message for item in Leases(self.redis, "reconciler").revive()]


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    made = Bench(redis_url)
    yield made
    made.redis.close()


def all_indexed(begun: Begun, waiter: Waiter, beat: Callable[[], None]) -> BatchResult:
    return BatchResult(indexed=len(begun.images))


def raising(error: BaseException) -> Work:
    def work(begun: Begun, waiter: Waiter, beat: Callable[[], None]) -> BatchResult:
        def call() -> BatchResult:
            raise error

        return waiter(call)

    return work


def test_a_batch_is_taken_worked_on_and_accounted_for(bench: Bench) -> None:
    assert bench.run(all_indexed) == "4 indexed, 0 unchanged, 0 failed"
    assert (bench.state.indexed, bench.state.phase) == (4, "finished")


def test_a_second_delivery_after_the_first_does_nothing(bench: Bench) -> None:
    bench.run(all_indexed)
    assert bench.run(all_indexed, redelivered=True) == "gone"
    assert bench.state.indexed == 4


def test_two_workers_on_one_batch_count_it_once(bench: Bench) -> None:
    def overtaken(begun: Begun, waiter: Waiter, beat: Callable[[], None]) -> BatchResult:
        bench.run(all_indexed, holder="b", redelivered=True)
        return BatchResult(indexed=4)

    assert bench.run(overtaken) == "was accounted for before"
    assert bench.state.indexed == 4


def test_a_worker_that_lost_its_batch_stops_at_the_next_beat(bench: Bench) -> None:
    def overtaken(begun: Begun, waiter: Waiter, beat: Callable[[], None]) -> BatchResult:
        Leases(bench.redis, "b").begin(bench.message, redelivered=True)
        beat()
        raise AssertionError("it went on")

    assert bench.run(overtaken) == "taken over by another worker"
    assert bench.state.done == 0


@pytest.mark.parametrize(
    "error", [StoreUnavailable("Milvus is away."), StoreRejected("Wrong token."), RootUnavailable("No disk.")]
)
def test_what_is_away_for_too_long_gives_the_batch_back_and_fails_no_image(bench: Bench, error: Exception) -> None:
    assert bench.run(raising(error)) == f"given back: {error}"
    assert (bench.state.failed, bench.state.done) == (0, 0)
    assert bench.due == [bench.message]
    assert bench.run(all_indexed) == "4 indexed, 0 unchanged, 0 failed"


def test_giving_back_never_uses_up_the_attempts(bench: Bench) -> None:
    for _ in range(5):
        bench.run(raising(StoreUnavailable("Milvus is away.")))
    assert bench.run(all_indexed) == "4 indexed, 0 unchanged, 0 failed"


def test_what_is_away_for_a_moment_is_waited_for_and_named(bench: Bench) -> None:
    calls = []

    def work(begun: Begun, waiter: Waiter, beat: Callable[[], None]) -> BatchResult:
        def call() -> BatchResult:
            calls.append(bench.state.waiting)
            if len(calls) < 3:
                raise StoreUnavailable("Milvus is away.")
            return BatchResult(indexed=4)

        return waiter(call)

    assert bench.run(work, patience=30) == "4 indexed, 0 unchanged, 0 failed"
    assert calls == [None, "Milvus is away.", "Milvus is away."]


def test_a_session_that_fails_counts_as_an_attempt(bench: Bench) -> None:
    assert "given back" in bench.run(raising(InferenceFailed("Out of memory.")))
    assert bench.due == [bench.message]
    begun = Leases(bench.redis, "b").begin(bench.message, redelivered=False)
    assert isinstance(begun, Begun)
    assert begun.attempt == 2


def died(begun: Begun, waiter: Waiter, beat: Callable[[], None]) -> BatchResult:
    """As if the process were killed: nothing is told to anybody."""
    raise KeyboardInterrupt


def test_an_image_that_kills_its_process_is_found_by_halves_and_named(bench: Bench) -> None:
    culprit = IMAGES[2]

    def fragile(begun: Begun, waiter: Waiter, beat: Callable[[], None]) -> BatchResult:
        return died(begun, waiter, beat) if culprit in begun.images else all_indexed(begun, waiter, beat)

    waiting = [bench.message]
    deliveries = 0
    while waiting:
        message = waiting.pop()
        deliveries += 1
        assert deliveries < 30, "this goes round for ever"
        try:
            bench.run(fragile, message, holder=str(deliveries), redelivered=True)
        except KeyboardInterrupt:
            waiting.append(message)
        waiting += bench.sent
        bench.sent.clear()

    failures = list(bench.ledger.failures(bench.job))
    assert [(failure.path, failure.kind) for failure in failures] == [(culprit.path, "crashed")]
    assert (bench.state.indexed, bench.state.failed, bench.state.phase) == (3, 1, "finished")


def test_a_batch_that_takes_too_long_is_halved_at_once(bench: Bench) -> None:
    assert bench.run(raising(SoftTimeLimitExceeded())) == "split in halves"
    assert [half.count for half in bench.sent] == [2, 2]


def test_an_image_that_takes_too_long_alone_is_named(redis_url: str) -> None:
    bench = Bench(redis_url, IMAGES[:1])
    bench.run(raising(SoftTimeLimitExceeded()))
    failure = next(bench.ledger.failures(bench.job))
    assert (failure.path, failure.kind) == ("0.jpg", "timeout")
    assert isinstance(failure, Failure)


def test_a_list_of_images_that_no_producer_wrote_ends_as_failed_and_holds_up_nothing(bench: Bench) -> None:
    bench.redis.hset(f"imagefleet:job:{bench.job}:batch:0", "images", b"\x80\x04pickle")
    assert "failed" in bench.run(all_indexed)
    assert (bench.state.failed, bench.state.phase) == (4, "finished")


def test_a_redis_that_is_away_is_waited_for_not_lost(bench: Bench) -> None:
    answers = iter([LedgerUnavailable("Redis is away."), None])

    def work(begun: Begun, waiter: Waiter, beat: Callable[[], None]) -> BatchResult:
        def call() -> BatchResult:
            if error := next(answers):
                raise error
            return BatchResult(indexed=4)

        return waiter(call)

    assert wait_until(lambda: bench.run(work, patience=30), 10, "the run") == "4 indexed, 0 unchanged, 0 failed"
